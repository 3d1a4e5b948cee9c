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

static int is_name(char c) { return is_word(c) || c == '_' || c == '+' || c == '.' || c == '-'; }

/* Whether the container's ID stands at `at`, and is no part of a longer name. */
static size_t id_at(const struct holed_text *in, size_t at)
{
	size_t n, end;

	if (at && is_name(in->text[at - 1]))
		return 0;
	n = strlen(in->id);
	end = at + n;
	if (n == 0 || end > in->bytes || memcmp(in->text + at, in->id, n))
		return 0;
	return end == in->bytes || !is_name(in->text[end]) ? n : 0;
}

/*
 * The length of a hole that begins at `at`, or 0 and how much begins there that is none. Only the beginning of a run
 * looks at all of it: a config.json may have runs of megabytes.
 */
static size_t hole_at(const struct holed_text *in, size_t at, size_t *plain)
{
	const char *text = in->text;
	size_t end = at, hole = id_at(in, at);

	*plain = 1;
	if (hole || !is_word(text[at]))
		return hole;
	if (at == 0 || !is_word(text[at - 1])) {
		while (end < in->bytes && is_word(text[end]))
			end++;
		if (is_id(text + at, end - at))
			return end - at;
		if (at >= in->words) {
			*plain = end - at;
			return 0;
		}
	}
	if (at < in->words && is_digit(text[at])) {
		*plain = number_at(text + at, in->bytes - at);
		return *plain >= NUMBER_MIN ? *plain : 0;
	}
	return 0;
}

long find_holes(const struct holed_text *in, struct holes *holes, char *skeleton)
{
	size_t out = 0;

	holes->count = 0;
	for (size_t at = 0; at < in->bytes;) {
		size_t plain, hole = hole_at(in, at, &plain);
		long marked;

		if (!hole) {
			for (; plain; plain--, at++) {
				if (in->text[at] == HOLE_MARK)
					return -1;
				skeleton[out++] = in->text[at];
			}
			continue;
		}
		marked = mark(holes, in->text + at, hole, skeleton + out);
		if (marked < 0)
			return -1;
		out += (size_t)marked;
		at += hole;
	}
	return (long)out;
}
