/* SPDX-License-Identifier: GPL-2.0-only */
/* compat.h - every kernel-version check of the module. */
#ifndef GK_COMPAT_H
#define GK_COMPAT_H

#include <linux/eventfd.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "gk needs Linux 6.1 or newer"
#endif
#ifndef CONFIG_PREEMPT_NOTIFIERS
#error "gk needs CONFIG_PREEMPT_NOTIFIERS (any kernel with KVM has it)"
#endif

/* Not runnable in a sched_out notifier means that the task blocks; runnable means that it is preempted. */
static inline bool gk_runnable(struct task_struct *p)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	return task_is_runnable(p);
#else
	return p->on_rq;
#endif
}

/* When the scheduler last gave @p a CPU, in the time of sched_clock_cpu(); the same as before if it did not look. */
static inline u64 gk_arrival(struct task_struct *p)
{
#ifdef CONFIG_SCHED_INFO
	return p->sched_info.last_arrival;
#else
	return 0;
#endif
}

static inline void gk_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

static inline void gk_hrtimer_setup(struct hrtimer *timer, enum hrtimer_restart (*fn)(struct hrtimer *),
				    enum hrtimer_mode mode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(timer, fn, CLOCK_MONOTONIC, mode);
#else
	hrtimer_init(timer, CLOCK_MONOTONIC, mode);
	timer->function = fn;
#endif
}

static inline void gk_vma_flags(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND);
#else
	vma->vm_flags |= VM_DONTCOPY | VM_DONTEXPAND;
#endif
}

#endif /* GK_COMPAT_H */
