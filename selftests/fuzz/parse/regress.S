/* SPDX-License-Identifier: GPL-2.0-only */
/* regress.S - what was once too much: a table of 2^64 names of no bytes, and lines beyond the last number. */
	.text
	.globl _start
	.type _start, @function
_start:
	nop
	nop
	nop
	ret
	.size _start, .-_start

	.section .debug_line, "", @progbits
	.long 2f - 1f
1:	.short 5			/* version */
	.byte 8, 0
	.long 4f - 3f
3:	.byte 1, 1, 1, -5, 14, 13
	.byte 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1
	.byte 0				/* no formats of directories, none of them */
	.byte 0
	.byte 0				/* no formats of files, and all there can be */
	.uleb128 0xffffffffffffffff
	.byte 0
4:	.byte 0, 9, 2			/* set_address */
	.quad _start
	.byte 4				/* set_file */
	.uleb128 0xffffffffffffff
	.byte 3				/* advance_line */
	.sleb128 0x7fffffffffffffff
	.byte 3
	.sleb128 0x7fffffffffffffff
	.byte 1				/* copy */
	.byte 2, 3			/* advance_pc */
	.byte 1
2:
