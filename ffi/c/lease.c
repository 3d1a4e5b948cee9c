/* SPDX-License-Identifier: MIT */
/*
 * Leases of addresses, as packages/net/src/leases.ts has them: the name of a link
 * in a directory is the address, and what it points to is who has it.
 */
#include "lease.h"
#include "sys.h"

#define AT_FDCWD (-100)
#define DRAWS 8
#define PATH_BYTES 4096
#define FIRST_LINK (1u << 30) /* vethIndex in veth.ts */

/* Returns whether the path fits. */
static int lease_path(const char *line, uint32_t address, char path[PATH_BYTES])
{
	const struct line_header *header = (const void *)line;
	const char *directory = line + header->leases;
	size_t n = strlen(directory);

	if (*directory != '/' || n + 1 + ADDRESS_DIGITS >= PATH_BYTES)
		return 0;
	memcpy(path, directory, n);
	path[n] = '/';
	write_digits(path + n + 1, address);
	path[n + 1 + ADDRESS_DIGITS] = 0;
	return 1;
}

int take_lease(const char *line, struct own *own)
{
	const struct line_header *header = (const void *)line;
	char path[PATH_BYTES], owner[FRESH_DIGITS + 1];
	uint32_t random[DRAWS + 1];

	if (SYS_3(__NR_getrandom, random, sizeof(random), 0) != sizeof(random))
		return -1;
	memcpy(owner, own->id, FRESH_DIGITS);
	owner[FRESH_DIGITS] = 0;
	own->link = FIRST_LINK | random[DRAWS] >> 2;
	for (int i = 0; i < DRAWS; i++) {
		long error;

		own->address = header->lease_first + random[i] % header->lease_count;
		if (!lease_path(line, own->address, path))
			return -1;
		error = SYS_3(__NR_symlinkat, owner, AT_FDCWD, path);
		if (error != -EEXIST)
			return error ? -1 : 0;
	}
	return -1;
}

void return_lease(const char *line, const struct own *own)
{
	char path[PATH_BYTES];

	if (lease_path(line, own->address, path))
		SYS_3(__NR_unlinkat, AT_FDCWD, path, 0);
}
