// SPDX-License-Identifier: GPL-2.0-only
/* seed.c - a file with a little of all that libgk's parsers read: what it does is of no use. */

static int table[64];

__attribute__((noinline)) int leaf(int n)
{
	return table[n & 63] * 3 + n;
}

/* Its frame is found by its pointer, and its registers are saved in it. */
__attribute__((noinline)) int middle(int n)
{
	volatile char space[n + 16];
	int i, sum = 0;

	for (i = 0; i < n; i++) {
		space[i] = leaf(i);
		sum += space[i] ^ leaf(sum);
	}
	return sum;
}

/* With what the linker's stubs and signal frames have. */
__asm__(".text\n\t.type odd, @function\n"
	"odd:\n\t"
	".cfi_startproc\n\t"
	".cfi_signal_frame\n\t"
	".cfi_escape 0x0f, 0x03, 0x77, 0x08, 0x06\n\t"
	".cfi_escape 0x10, 0x06, 0x02, 0x77, 0x10\n\t"
	".cfi_remember_state\n\t"
	"nop\n\t"
	".cfi_def_cfa 7, 16\n\t"
	".cfi_restore_state\n\t"
	"ret\n\t"
	".cfi_endproc\n\t"
	".size odd, .-odd");

int main(void)
{
	return middle(5);
}

void _start(void)
{
	main();
	for (;;)
		;
}
