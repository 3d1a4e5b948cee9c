/* SPDX-License-Identifier: MIT */
/* The search for a home, hosted and with sanitizers: fuzz-home UID PIECE ROOM prints what it finds in standard input. */
#include "home.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct home_search search;
	size_t piece = argc == 4 ? strtoul(argv[2], 0, 10) : 0, room = argc == 4 ? strtoul(argv[3], 0, 10) : 0, n;
	/* Exactly as large as they are said to be, so that going past them is seen. */
	char *block = malloc(piece), *to = malloc(room);
	int is_found = 0;

	if (!piece || room < 2 || !block || !to)
		return 3;
	home_begin(&search, strtoull(argv[1], 0, 10), to, room);
	while (!is_found && (n = fread(block, 1, piece, stdin)))
		is_found = home_feed(&search, block, n);
	if (!is_found)
		home_end(&search);
	fputs(to, stdout);
	free(block);
	free(to);
	return 0;
}
