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

/* What is looked for in: its first `words` bytes are the words, and `id` is the container's, wherever it stands as a name. */
struct holed_text {
	const char *text;
	size_t bytes, words;
	const char *id;
};

struct hole {
	const char *text;
	size_t bytes;
};

struct holes {
	struct hole hole[HOLES_MAX];
	unsigned count;
};

/*
 * find_holes - write a text without its holes to `skeleton`, which has room for three times as many bytes.
 *
 * Equal holes are one. Returns the skeleton's length, or -1 when there are too
 * many, or there is a mark in the text.
 */
long find_holes(const struct holed_text *in, struct holes *holes, char *skeleton);

#endif
