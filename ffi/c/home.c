/* SPDX-License-Identifier: MIT */
/* The home of a user as the container's own /etc/passwd has it: a file that whoever made the image wrote. */
#include "home.h"
#include "sys.h"

enum field { NAME, PASSWORD, UID, GID, COMMENT, HOME };

static void begin_line(struct home_search *s)
{
	s->field = NAME;
	s->is_bad = 0;
	s->name_bytes = s->digits = 0;
	s->uid = 0;
	s->length = 0;
}

void home_begin(struct home_search *s, uint64_t wanted, char *to, size_t room)
{
	s->wanted = wanted;
	s->to = to;
	s->room = room;
	begin_line(s);
}

static void take(struct home_search *s, char c)
{
	switch (s->field) {
	case NAME:
		s->name_bytes = 1;
		break;
	case UID:
		if (c < '0' || c > '9' || ++s->digits > 10)
			s->is_bad = 1;
		else
			s->uid = s->uid * 10 + (uint64_t)(c - '0');
		break;
	case HOME:
		/* One that has no room, or would end early, is nobody's. */
		if (!c || s->length + 1 >= s->room)
			s->is_bad = 1;
		else
			s->to[s->length++] = c;
		break;
	default:
		break;
	}
}

/* Whether the line that ends here is the wanted user's, and names a home. */
static int end_line(struct home_search *s)
{
	int is_found = s->field >= HOME && !s->is_bad && s->name_bytes && s->digits && s->uid == s->wanted && s->length;

	if (is_found)
		s->to[s->length] = 0;
	else
		begin_line(s);
	return is_found;
}

int home_feed(struct home_search *s, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\n') {
			if (end_line(s))
				return 1;
		} else if (text[i] == ':') {
			s->field += s->field <= HOME;
		} else {
			take(s, text[i]);
		}
	}
	return 0;
}

int home_end(struct home_search *s)
{
	if (end_line(s))
		return 1;
	memcpy(s->to, "/", 2);
	return 0;
}
