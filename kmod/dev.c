// SPDX-License-Identifier: GPL-2.0-only
/*
 * dev.c - /dev/gk: the table of commands, the checks that all of them share, and mmap.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "gk.h"

/* Checked at compile time here and in libgk: nobody changes the ABI by accident. */
static_assert(sizeof(struct gk_info) == 24);
static_assert(sizeof(struct gk_setup) == 72);
static_assert(sizeof(struct gk_set) == 32);
static_assert(sizeof(struct gk_enter) == 16);
static_assert(sizeof(struct gk_group_page) == 128 && offsetof(struct gk_group_page, gq_len) == 64);
static_assert(sizeof(struct gk_core_page) == 448);
static_assert(offsetof(struct gk_core_page, word) == 64 && offsetof(struct gk_core_page, q_head) == 128);
static_assert(offsetof(struct gk_core_page, blocks) == 192);
static_assert(sizeof(struct gk_worker_page) == 128 && offsetof(struct gk_worker_page, switches) == 64);

union gk_arg {
	__u32 size;
	struct gk_info info;
	struct gk_setup setup;
	struct gk_set set;
	struct gk_enter enter;
};

static int do_info(struct file *file, struct gk_group *g, union gk_arg *arg)
{
	struct gk_info *info = &arg->info;

	if (info->flags)
		return -EINVAL;
	info->features = GK_FEAT_BOUND | GK_FEAT_EPOLL | GK_FEAT_PULL | GK_FEAT_STOP | GK_FEAT_NOPREEMPT |
			 GK_FEAT_MOVE;
	info->max_cores = min_t(u32, READ_ONCE(gk_max_cores), GK_MAX_CORES);
	info->max_workers = READ_ONCE(gk_max_workers);
	return 0;
}

static int do_setup(struct file *file, struct gk_group *g, union gk_arg *arg)
{
	int err;

	if (g)
		return -EBUSY;
	err = gk_group_setup(&g, &arg->setup);
	if (err)
		return err;
	if (cmpxchg_release(&file->private_data, NULL, g)) {
		gk_group_put(g);
		return -EBUSY;
	}
	return 0;
}

static int do_set(struct file *file, struct gk_group *g, union gk_arg *arg)
{
	return gk_group_set(g, &arg->set);
}

static int do_enter(struct file *file, struct gk_group *g, union gk_arg *arg)
{
	return gk_worker_enter(g, &arg->enter);
}

struct gk_command {
	unsigned int cmd;
	size_t size, min_size;
	bool no_group;		/* allowed before SETUP */
	int (*fn)(struct file *file, struct gk_group *g, union gk_arg *arg);
};

#define COMMAND(_cmd, _type, _last, _no_group, _fn)		\
	[_IOC_NR(_cmd) - 0x10] = {				\
		.cmd = (_cmd),					\
		.size = sizeof(struct _type),			\
		.min_size = offsetofend(struct _type, _last),	\
		.no_group = (_no_group),			\
		.fn = (_fn),					\
	}

static const struct gk_command commands[] = {
	COMMAND(GK_IOC_INFO, gk_info, max_workers, true, do_info),
	COMMAND(GK_IOC_SETUP, gk_setup, worker_stride, true, do_setup),
	COMMAND(GK_IOC_SET, gk_set, epoll_fd, false, do_set),
	COMMAND(GK_IOC_ENTER, gk_enter, id, false, do_enter),
};

/*
 * A command with a struct. Its number carries the size that the caller was compiled with, so only direction-free parts
 * of the number are compared: a longer struct of tomorrow is the same command.
 */
static long struct_command(struct file *file, struct gk_group *g, unsigned int cmd, void __user *user)
{
	unsigned int nr = _IOC_NR(cmd) - 0x10;
	const struct gk_command *c;
	union gk_arg arg = {};
	u32 size;
	int err;

	if (nr >= ARRAY_SIZE(commands))
		return -ENOTTY;
	c = &commands[array_index_nospec(nr, ARRAY_SIZE(commands))];
	if (_IOC_DIR(cmd) != _IOC_DIR(c->cmd))
		return -ENOTTY;
	if (!c->no_group && !g)
		return -EINVAL;
	if (g && !gk_group_mine(g) && c->fn != do_info)
		return -EPERM;
	if (g && gk_broken(g) && c->fn != do_info)
		return -EIO;
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < c->min_size)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	err = copy_struct_from_user(&arg, c->size, user, size);
	if (err)
		return err;
	/* Written to before anything is done: a bad pointer must not leave a worker or a group that nobody knows of. */
	if (_IOC_DIR(cmd) & _IOC_READ && copy_to_user(user, &arg, min_t(size_t, size, c->size)))
		return -EFAULT;
	err = c->fn(file, g, &arg);
	if (!err && _IOC_DIR(cmd) & _IOC_READ) {
		arg.size = size;
		if (copy_to_user(user, &arg, min_t(size_t, size, c->size)))
			return -EFAULT;
	}
	return err;
}

static long gk_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	/* Pairs with the release in do_setup(). */
	struct gk_group *g = smp_load_acquire(&file->private_data);
	struct gk_worker *w;
	struct gk_core *core;

	/* The one that is to be quick. */
	if (cmd == GK_IOC_PARK && g && gk_group_mine(g)) {
		long ret;

		w = gk_worker_of(current);
		ret = w && w->group == g ? gk_worker_park(w, arg) : -EPERM;
		return unlikely(gk_broken(g)) ? -EIO : ret;
	}
	if (_IOC_TYPE(cmd) != GK_IOC_MAGIC)
		return -ENOTTY;
	if (_IOC_NR(cmd) < 0x20)
		return struct_command(file, g, cmd, (void __user *)arg);
	if (_IOC_DIR(cmd) || _IOC_SIZE(cmd) || cmd < GK_IOC_EXIT || cmd > GK_IOC_MOVE)
		return -ENOTTY;
	if (!g)
		return -EINVAL;
	if (!gk_group_mine(g))
		return -EPERM;

	if (gk_broken(g))
		return -EIO;
	w = gk_worker_of(current);
	if (w && w->group != g)
		w = NULL;
	core = gk_core_of_id(g, arg);
	switch (cmd) {
	case GK_IOC_WAKE:
		return core ? gk_core_wake(core, false) : -ENOENT;
	case GK_IOC_ARM:
		if (!core)
			return -ENOENT;
		gk_core_kick(core);
		return 0;
	case GK_IOC_UNHOLD:
		return gk_worker_unhold(g, arg);
	case GK_IOC_PULL:
		if (!w)
			return -EPERM;
		return core ? gk_worker_pull(w, core) : -ENOENT;
	case GK_IOC_EXIT:
		if (arg)
			return -EINVAL;
		return w ? gk_worker_exit(w) : -EPERM;
	case GK_IOC_STOP:
		if (arg)
			return -EINVAL;
		gk_group_stop(g);
		return 0;
	case GK_IOC_MOVE:
		return core ? gk_core_move(core) : -ENOENT;
	}
	return -ENOTTY;
}

/* Only after madvise() or the like has taken a page out of the tables: mmap fills them all. */
static vm_fault_t gk_fault(struct vm_fault *vmf)
{
	struct gk_group *g = vmf->vma->vm_file->private_data;

	if (vmf->pgoff >= g->npages)
		return VM_FAULT_SIGBUS;
	vmf->page = g->pages[array_index_nospec(vmf->pgoff, g->npages)];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct gk_vm_ops = {
	.fault = gk_fault,
};

static int gk_mmap(struct file *file, struct vm_area_struct *vma)
{
	/* Pairs with the release in do_setup(). */
	struct gk_group *g = smp_load_acquire(&file->private_data);

	if (!g)
		return -EINVAL;
	if (!gk_group_mine(g))
		return -EPERM;
	if (vma->vm_pgoff || vma_pages(vma) != g->npages || !(vma->vm_flags & VM_SHARED) || vma->vm_flags & VM_EXEC)
		return -EINVAL;
	gk_vma_flags(vma);
	vma->vm_ops = &gk_vm_ops;
	return vm_map_pages(vma, g->pages, g->npages);
}

static int gk_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;
	return nonseekable_open(inode, file);
}

/* Each close of a descriptor. */
static int gk_flush(struct file *file, fl_owner_t id)
{
	/* Pairs with the release in do_setup(). */
	struct gk_group *g = smp_load_acquire(&file->private_data);

	if (g)
		gk_group_close(g, id);
	return 0;
}

static int gk_release(struct inode *inode, struct file *file)
{
	struct gk_group *g = file->private_data;

	if (g)
		gk_group_release(g);
	return 0;
}

const struct file_operations gk_fops = {
	.owner = THIS_MODULE,
	.open = gk_open,
	.flush = gk_flush,
	.release = gk_release,
	.unlocked_ioctl = gk_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = gk_mmap,
	.show_fdinfo = gk_show_fdinfo,
};
