/* SPDX-License-Identifier: MIT */
#ifndef BB_HOME_H
#define BB_HOME_H

#include <stddef.h>
#include <stdint.h>

/* A search through the text of /etc/passwd, which comes in pieces of any size. */
struct home_search {
	uint64_t wanted;
	char *to;
	size_t room;
	/* Of the line so far. */
	int field, is_bad, name_bytes, digits;
	uint64_t uid;
	size_t length;
};

/* home_begin - look for the home of user `wanted`; it goes to `to`, which has `room` bytes, 2 at least. */
void home_begin(struct home_search *search, uint64_t wanted, char *to, size_t room);

/* home_feed - the next `n` bytes. Returns 1 once it was found: then `to` ends with a zero byte, and nothing else follows. */
int home_feed(struct home_search *search, const char *text, size_t n);

/* home_end - there is no more: the last line need not have ended. Returns as home_feed; `to` is "/" when it was not found. */
int home_end(struct home_search *search);

#endif
