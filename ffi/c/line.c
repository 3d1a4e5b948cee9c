/* SPDX-License-Identifier: MIT */
/* The one look at every offset of a remembered line. No system call, no writing: fuzz-line.c runs it on anything. */
#include "line.h"
#include "holes.h"
#include "sys.h"

static int is_range(const struct line_header *header, uint32_t offset, uint64_t bytes)
{
	return offset >= sizeof(*header) && offset <= header->bytes && bytes <= header->bytes - offset;
}

static int is_array(const struct line_header *header, uint32_t offset, uint32_t count, uint32_t size)
{
	return offset % 4 == 0 && is_range(header, offset, (uint64_t)count * size);
}

/* The file's last byte is zero, so whatever begins inside ends there at the latest. */
static int is_text(const struct line_header *header, uint32_t offset)
{
	return is_range(header, offset, 1);
}

static int are_facts(const struct line_header *header)
{
	const struct line_fact *fact = (const void *)((const char *)header + header->facts);

	if (!is_array(header, header->facts, header->fact_count, sizeof(*fact)))
		return 0;
	for (uint32_t i = 0; i < header->fact_count; i++, fact++) {
		if (fact->kind < FACT_TEXT || fact->kind > FACT_LAST)
			return 0;
		if (!is_text(header, fact->path) || !is_text(header, fact->detail))
			return 0;
		if (!is_range(header, fact->value, (uint64_t)fact->value_bytes + 1))
			return 0;
	}
	return 1;
}

static int are_files(const struct line_header *header)
{
	const struct line_file *file = (const void *)((const char *)header + header->files);

	if (!is_array(header, header->files, header->file_count, sizeof(*file)))
		return 0;
	for (uint32_t i = 0; i < header->file_count; i++, file++)
		if (!is_text(header, file->name) || !is_range(header, file->content.offset, file->content.bytes))
			return 0;
	return 1;
}

static int is_place(const struct line_header *header, const struct line_place *place)
{
	switch (place->hole) {
	case HOLE_FRESH:
		return place->bytes <= FRESH_DIGITS;
	case HOLE_ADDRESS:
		return header->lease_count && (place->bytes == ADDRESS_BINARY || place->bytes == ADDRESS_DIGITS ||
					       place->bytes == ADDRESS_TEXT);
	case HOLE_LINK:
		return header->lease_count && place->bytes == LINK_BYTES;
	default:
		return place->hole < HOLES_MAX;
	}
}

/* They lie between the tables in front and their own behind. */
static int are_places(const struct line_header *header)
{
	const struct line_place *place = (const void *)((const char *)header + header->places);
	uint64_t first = header->facts + (uint64_t)header->fact_count * sizeof(struct line_fact);
	uint64_t files_end = header->files + (uint64_t)header->file_count * sizeof(struct line_file);

	if (!is_array(header, header->places, header->place_count, sizeof(*place)))
		return 0;
	if (files_end > first)
		first = files_end;
	for (uint32_t i = 0; i < header->place_count; i++, place++) {
		if (place->offset < first || (uint64_t)place->offset + place->bytes > header->places)
			return 0;
		if (!is_place(header, place))
			return 0;
	}
	return 1;
}

int line_decode(const void *at, size_t bytes)
{
	const struct line_header *header = at;

	if (bytes <= sizeof(*header) || bytes > LINE_MAX_BYTES || ((uintptr_t)at & 3))
		return -EINVAL;
	if (header->magic != LINE_MAGIC || header->version != LINE_VERSION || header->bytes != bytes)
		return -EINVAL;
	if (((const char *)at)[bytes - 1] != 0)
		return -EINVAL;
	if (header->kind < LINE_MAKE || header->kind > LINE_MADE)
		return -EINVAL;
	if (!is_text(header, header->directory) || !is_text(header, header->record) || !is_text(header, header->leases))
		return -EINVAL;
	if (!is_range(header, header->skeleton.offset, header->skeleton.bytes) ||
	    !is_range(header, header->subdirectories.offset, header->subdirectories.bytes) ||
	    !is_range(header, header->plan.offset, header->plan.bytes))
		return -EINVAL;
	return are_facts(header) && are_files(header) && are_places(header) ? 0 : -EINVAL;
}
