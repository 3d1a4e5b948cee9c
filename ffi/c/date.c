/* SPDX-License-Identifier: MIT */
/* A date as JavaScript's toISOString writes it; days are counted as in howardhinnant.github.io/date_algorithms.html. */
#include "date.h"

/* Two decimal digits and what follows them. */
static char *two(char *to, uint64_t value, char next)
{
	*to++ = (char)('0' + value / 10);
	*to++ = (char)('0' + value % 10);
	if (next)
		*to++ = next;
	return to;
}

void date(char to[DATE_BYTES], uint64_t seconds, uint32_t nanoseconds)
{
	/* Days since the first of March of the year 0: a year that begins in March ends with its leap day. */
	uint64_t days = seconds / 86400 + 719468, second = seconds % 86400;
	uint64_t era = days / 146097, of_era = days % 146097;
	uint64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * years + years / 4 - years / 100), month = (5 * of_year + 2) / 153;
	uint64_t year = era * 400 + years + (month > 9);

	to = two(to, year / 100, 0);
	to = two(to, year % 100, '-');
	to = two(to, month > 9 ? month - 9 : month + 3, '-');
	to = two(to, of_year - (153 * month + 2) / 5 + 1, 'T');
	to = two(to, second / 3600, ':');
	to = two(to, second / 60 % 60, ':');
	to = two(to, second % 60, '.');
	to = two(to, nanoseconds / 10000000, 0);
	to[0] = (char)('0' + nanoseconds / 1000000 % 10);
	to[1] = 'Z';
}
