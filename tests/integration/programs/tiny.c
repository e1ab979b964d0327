/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * tiny - the smallest program that can be run: exits with the number that is its first argument.
 *
 * It has no C library where we know how to do without, so that an exec storm measures exec and not
 * the start of a C library.
 */
static int to_number(const char *text)
{
	int value = 0;

	while (text && *text >= '0' && *text <= '9')
		value = value * 10 + (*text++ - '0');
	return value & 255;
}

#if defined(KNELL_TINY_BARE) && (defined(__x86_64__) || defined(__aarch64__))

/* As the kernel leaves it: the number of arguments, then each of them. */
void tiny_main(char **stack) __attribute__((noreturn, used));

void tiny_main(char **stack)
{
	long status = to_number((long)stack[0] > 1 ? stack[2] : (char *)0);

#ifdef __x86_64__
	__asm__ volatile("syscall" : : "a"(231L), "D"(status) : "rcx", "r11", "memory");
#else
	register long x0 __asm__("x0") = status;
	register long x8 __asm__("x8") = 94;

	__asm__ volatile("svc 0" : : "r"(x0), "r"(x8) : "memory");
#endif
	__builtin_unreachable();
}

#ifdef __x86_64__
__asm__(".text\n.globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall tiny_main\n");
#else
__asm__(".text\n.globl _start\n_start:\n\tmov x0, sp\n\tbl tiny_main\n");
#endif
__asm__(".pushsection .note.GNU-stack,\"\",%progbits\n\t.popsection\n");

#else

int main(int argc, char *argv[])
{
	return to_number(argc > 1 ? argv[1] : 0);
}

#endif
