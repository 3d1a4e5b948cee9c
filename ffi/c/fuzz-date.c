/* SPDX-License-Identifier: MIT */
/* Dates of the times in the arguments, SECONDS NANOSECONDS, hosted and with sanitizers: one a line. */
#include "date.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		char *to = malloc(DATE_BYTES);

		if (!to)
			return 3;
		date(to, strtoull(argv[i], 0, 10), (uint32_t)strtoul(argv[i + 1], 0, 10));
		printf("%.*s\n", DATE_BYTES, to);
		free(to);
	}
	return 0;
}
