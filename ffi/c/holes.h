/* SPDX-License-Identifier: MIT */
/*
 * holes.h - what differs between two commands of one kind.
 *
 * IDs do, and directories that are named after them: they are holes in a text
 * that is else the same. ffi/src/holes.ts finds the same ones; a test compares both.
 */
#ifndef BB_HOLES_H
#define BB_HOLES_H

#include <stddef.h>
#include <stdint.h>

#define HOLES_MAX 32
#define HOLE_MIN 12	   /* lower-case hexadecimal digits, with a letter and a decimal one among them */
#define HOLE_MAX 255
#define NUMBER_MIN 6	   /* decimal digits; only in the first `words` bytes, where no number means one */
#define HOLE_MARK 1	   /* in a skeleton: this, the hole's index, its length */

struct hole {
	const char *text;
	size_t bytes;
};

struct holes {
	struct hole hole[HOLES_MAX];
	unsigned count;
};

/*
 * find_holes - write `text` without its holes to `skeleton`, which has room for as many bytes.
 *
 * Equal holes are one. Returns the skeleton's length, or -1 when there are too
 * many, or `text` has a mark in it.
 */
long find_holes(const char *text, size_t bytes, size_t words, struct holes *holes, char *skeleton);

#endif
