/* SPDX-License-Identifier: MIT */
/* call.h - x86-64: has the system call that a signal found end with EINTR. */
#ifndef GK_CALL_H
#define GK_CALL_H

#include <fcntl.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <errno.h>

enum call {
	CALL_NONE,		/* it is in no call that could end */
	CALL_FUTEX,		/* it ends a wait on a futex, from which the C library most often just begins anew */
	CALL_ENDED,
};

/*
 * Calls that the kernel begins anew after a handler with SA_RESTART, and that may fail with EINTR. Those that end with
 * it in any case (nanosleep, poll, select, epoll_wait, ...) need not be here.
 */
static inline enum call call_kind(long nr, long arg1)
{
	switch (nr) {
	case SYS_futex:
		switch (arg1 & FUTEX_CMD_MASK) {
		case FUTEX_WAIT:
		case FUTEX_WAIT_BITSET:
			return CALL_FUTEX;
		}
		return CALL_NONE;
	case SYS_fcntl:
		return arg1 == F_SETLKW || arg1 == F_OFD_SETLKW ? CALL_ENDED : CALL_NONE;
	case SYS_read:
	case SYS_write:
	case SYS_readv:
	case SYS_writev:
	case SYS_pread64:
	case SYS_pwrite64:
	case SYS_preadv:
	case SYS_pwritev:
	case SYS_preadv2:
	case SYS_pwritev2:
	case SYS_sendfile:
	case SYS_splice:
	case SYS_tee:
	case SYS_vmsplice:
	case SYS_copy_file_range:
	case SYS_open:
	case SYS_openat:
	case SYS_openat2:
	case SYS_creat:
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_sendmmsg:
	case SYS_ioctl:
	case SYS_flock:
	case SYS_wait4:
	case SYS_waitid:
	case SYS_msgrcv:
	case SYS_msgsnd:
	case SYS_mq_timedsend:
	case SYS_mq_timedreceive:
	case SYS_getrandom:
		return CALL_ENDED;
	}
	return CALL_NONE;
}

/*
 * Of a handler with SA_RESTART. The instruction `syscall` leaves its own return address in rcx, and the kernel shows it
 * there still when it has put rip back to begin the call anew, and rax to the call's number: instead of that the call
 * ends, with -EINTR. If it is just this call that comes next, by chance with the same rcx, it ends before it begins,
 * which is what a signal that comes a little later does.
 */
static inline enum call call_interrupt(void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	const unsigned char *ip = (void *)r[REG_RIP];
	enum call kind;

	if (r[REG_RCX] == r[REG_RIP] && r[REG_RAX] == -EINTR && ip[-2] == 0x0f && ip[-1] == 0x05)
		/* It has ended. With a timeout, a futex wait does so as well: mov $202, %eax; syscall. */
		return ip[-7] == 0xb8 && ip[-6] == SYS_futex && !ip[-5] && !ip[-4] && !ip[-3] ? CALL_FUTEX : CALL_ENDED;
	if (r[REG_RCX] != r[REG_RIP] + 2 || ip[0] != 0x0f || ip[1] != 0x05)
		return CALL_NONE;
	kind = call_kind(r[REG_RAX], r[REG_RSI]);
	if (kind != CALL_NONE) {
		r[REG_RIP] += 2;
		r[REG_RAX] = -EINTR;
	}
	return kind;
}

#endif /* GK_CALL_H */
