/* SPDX-License-Identifier: MIT */
/*
 * The log, hosted and with sanitizers: fuzz-log DIRECTORY LIMIT FILES.
 * Standard input is what a container printed: stream (u32), length (u32), bytes, and so on.
 */
#include "log.h"
#include "sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

size_t decimal(char *to, uint64_t value)
{
	return (size_t)sprintf(to, "%llu", (unsigned long long)value);
}

int main(int argc, char **argv)
{
	static struct log log = {.fd = -1};
	uint32_t head[2];

	if (argc != 4)
		return 2;
	log.dir_fd = open(argv[1], O_DIRECTORY | O_CLOEXEC);
	log.limit = strtoull(argv[2], 0, 10);
	log.files = (unsigned)atoi(argv[3]);
	while (fread(head, sizeof(head), 1, stdin) == 1) {
		/* Exactly as large as the chunk, so that reading past it is seen. */
		char *chunk = malloc(head[1]);

		if (head[0] >= LOG_STREAMS || !chunk || fread(chunk, 1, head[1], stdin) != head[1])
			return 3;
		log_append(&log, (int)head[0], chunk, head[1]);
		free(chunk);
	}
	log_finish(&log);
	return 0;
}
