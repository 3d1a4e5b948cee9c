/* SPDX-License-Identifier: MIT */
/*
 * The decoder of remembered lines on standard input, hosted and with sanitizers: prints what it answers, and
 * fills what it accepted. fuzz-line FILE leaves the filled line there.
 */
#include "holes.h"
#include "line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the test fills in, too. */
static void fill(char *line)
{
	const struct line_header *header = (const void *)line;
	const struct line_fact *fact = (const void *)(line + header->facts);
	struct own own = {.address = 0xc0a80c7b, .link = 0x7fedcba9};
	struct holes holes = {.count = HOLES_MAX};
	char text[HOLE_MAX];

	memset(own.id, 'e', sizeof(own.id));
	memset(text, 'h', sizeof(text));
	for (unsigned i = 0; i < HOLES_MAX; i++) {
		holes.hole[i].text = text;
		holes.hole[i].bytes = sizeof(text);
	}
	fill_places(line, &holes, &own);
	fill_address(line, &own);
	/* Sanitizers look at what is read. */
	for (uint32_t i = 0; i < header->fact_count; i++) {
		uint8_t address[ADDRESS_BINARY] = {0};

		if (fact[i].kind == FACT_INTERFACE && read_digits(line + fact[i].detail, address) == 0)
			fprintf(stdout, "%u.%u.%u.%u\n", address[0], address[1], address[2], address[3]);
		else if (fact[i].kind == FACT_INTERFACE)
			fprintf(stdout, "no address\n");
		else if (fact[i].kind == FACT_ACCEPTS)
			fprintf(stdout, "%d messages\n", (int)count_messages(line + fact[i].value, fact[i].value_bytes));
	}
}

int main(int argc, char **argv)
{
	size_t bytes = 0;
	char *all = malloc(LINE_MAX_BYTES), *line;
	FILE *filled;
	int error;

	if (!all)
		return 3;
	bytes = fread(all, 1, LINE_MAX_BYTES, stdin);
	/* Exactly as large as the line, so that reading past it is seen. */
	line = malloc(bytes ? bytes : 1);
	if (!line)
		return 3;
	memcpy(line, all, bytes);
	free(all);
	error = line_decode(line, bytes);
	printf("%d\n", error);
	if (error == 0)
		fill(line);
	if (argc == 2) {
		filled = fopen(argv[1], "wb");
		if (!filled || fwrite(line, 1, bytes, filled) != bytes || fclose(filled))
			return 3;
	}
	free(line);
	return 0;
}
