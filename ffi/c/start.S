/* SPDX-License-Identifier: MIT */
/* The entry point: the kernel leaves argc, argv and envp on the stack; C wants its address as an argument. */
	.text
	.globl	_start
	.type	_start, %function
_start:
#if defined(__x86_64__)
	xor	%ebp, %ebp
	mov	%rsp, %rdi
	and	$-16, %rsp
	call	trampoline_main
	hlt
#elif defined(__aarch64__)
	mov	x29, #0
	mov	x30, #0
	mov	x0, sp
	bl	trampoline_main
#endif
	.section .note.GNU-stack, "", %progbits
