/* SPDX-License-Identifier: MIT */
#include "holes.h"
#include "sys.h"

static int is_digit(char c) { return c >= '0' && c <= '9'; }
static int is_hex_letter(char c) { return c >= 'a' && c <= 'f'; }

static int is_word(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int is_id(const char *text, size_t bytes)
{
	size_t digits = 0, letters = 0;

	if (bytes < HOLE_MIN || bytes > HOLE_MAX)
		return 0;
	for (size_t i = 0; i < bytes; i++) {
		digits += (size_t)is_digit(text[i]);
		letters += (size_t)is_hex_letter(text[i]);
	}
	return digits + letters == bytes && digits && letters;
}

static size_t number_at(const char *text, size_t bytes)
{
	size_t n = 0;

	while (n < bytes && is_digit(text[n]))
		n++;
	return n;
}

/* Writes a mark. Returns its length, or -1. */
static long mark(struct holes *holes, const char *text, size_t bytes, char *to)
{
	unsigned i = 0;

	while (i < holes->count && (holes->hole[i].bytes != bytes || memcmp(holes->hole[i].text, text, bytes)))
		i++;
	if (i == HOLES_MAX || bytes > HOLE_MAX)
		return -1;
	if (i == holes->count) {
		holes->hole[i].text = text;
		holes->hole[i].bytes = bytes;
		holes->count++;
	}
	to[0] = HOLE_MARK;
	to[1] = (char)i;
	to[2] = (char)bytes;
	return 3;
}

long find_holes(const char *text, size_t bytes, size_t words, struct holes *holes, char *skeleton)
{
	size_t out = 0;

	holes->count = 0;
	for (size_t at = 0; at < bytes;) {
		size_t end = at;

		while (end < bytes && is_word(text[end]))
			end++;
		if (end == at) {
			if (text[at] == HOLE_MARK)
				return -1;
			skeleton[out++] = text[at++];
			continue;
		}
		while (at < end) {
			size_t hole = is_id(text + at, end - at) && (at == 0 || !is_word(text[at - 1])) ? end - at : 0;
			size_t plain = 1;
			long marked;

			if (!hole && at < words && is_digit(text[at])) {
				plain = number_at(text + at, end - at);
				hole = plain >= NUMBER_MIN ? plain : 0;
			}
			if (!hole) {
				memcpy(skeleton + out, text + at, plain);
				out += plain;
				at += plain;
				continue;
			}
			marked = mark(holes, text + at, hole, skeleton + out);
			if (marked < 0)
				return -1;
			out += (size_t)marked;
			at += hole;
		}
	}
	return (long)out;
}
