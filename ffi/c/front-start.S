/* SPDX-License-Identifier: MIT */
/*
 * Where the executable begins. Its own entry point was put into `real_entry` when
 * the front was grafted on (scripts/graft.ts): it finds registers and stack as the
 * dynamic loader left them.
 */
	.section .text.start, "ax"
	.globl	real_entry, _start
real_entry:
	.quad	0
	.type	_start, %function
_start:
#if defined(__x86_64__)
	push	%rdx
	push	%rbp
	lea	16(%rsp), %rdi
	mov	%rsp, %rbp
	and	$-16, %rsp
	call	front_main
	mov	%rbp, %rsp
	pop	%rbp
	pop	%rdx
	jmp	*real_entry(%rip)
#elif defined(__aarch64__)
	stp	x0, x29, [sp, #-16]!
	mov	x29, sp
	add	x0, sp, #16
	bl	front_main
	mov	sp, x29
	ldp	x0, x29, [sp], #16
	ldr	x16, real_entry
	br	x16
#endif

	.section .rodata.trampoline, "a"
	.globl	trampoline, trampoline_end
	.balign	16
trampoline:
	.incbin	TRAMPOLINE
trampoline_end:
	.section .note.GNU-stack, "", %progbits
