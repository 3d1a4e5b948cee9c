/* SPDX-License-Identifier: MIT */
#ifndef BB_LEASE_H
#define BB_LEASE_H

#include "line.h"

/* Whether a container of this line has an address. */
static inline int has_lease(const struct line_header *header) { return header->lease_count != 0; }

/*
 * take_lease - an address for own->id, whose directory is there and locked, and an index for its link.
 *
 * Returns 0, or -1 if there is none to be had easily.
 */
int take_lease(const char *line, struct own *own);

/* return_lease - the same address back. */
void return_lease(const char *line, const struct own *own);

#endif
