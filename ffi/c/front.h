/* SPDX-License-Identifier: MIT */
#ifndef BB_FRONT_H
#define BB_FRONT_H

/* The trampoline's bytes, which front-start.S brings. */
extern const char trampoline[], trampoline_end[];

/*
 * front_main - becomes the trampoline if these arguments are on record, and else comes back.
 *
 * @stack: argc, argv and so on, as the kernel left them.
 */
void front_main(long *stack);

#endif
