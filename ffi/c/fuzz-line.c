/* SPDX-License-Identifier: MIT */
/* The decoder of remembered lines on standard input, hosted and with sanitizers: prints what it answers. */
#include "line.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	size_t bytes = 0;
	char *all = malloc(LINE_MAX_BYTES), *line;

	if (!all)
		return 3;
	bytes = fread(all, 1, LINE_MAX_BYTES, stdin);
	/* Exactly as large as the line, so that reading past it is seen. */
	line = malloc(bytes ? bytes : 1);
	if (!line)
		return 3;
	for (size_t i = 0; i < bytes; i++)
		line[i] = all[i];
	free(all);
	printf("%d\n", line_decode(line, bytes));
	free(line);
	return 0;
}
