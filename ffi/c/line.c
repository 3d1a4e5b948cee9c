/* SPDX-License-Identifier: MIT */
/* The one look at every offset of a remembered line. No system call, no writing: fuzz-line.c runs it on anything. */
#include "line.h"
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

static int are_places(const struct line_header *header, uint32_t offset, uint32_t count, uint32_t digits)
{
	const uint32_t *places = (const void *)((const char *)header + offset);

	if (!is_array(header, offset, count, sizeof(*places)))
		return 0;
	for (uint32_t i = 0; i < count; i++)
		if (!is_range(header, places[i], digits))
			return 0;
	return 1;
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

int line_decode(const void *at, size_t bytes)
{
	const struct line_header *header = at;

	if (bytes <= sizeof(*header) || bytes > LINE_MAX_BYTES || ((uintptr_t)at & 3))
		return -EINVAL;
	if (header->magic != LINE_MAGIC || header->version != LINE_VERSION || header->bytes != bytes)
		return -EINVAL;
	if (((const char *)at)[bytes - 1] != 0)
		return -EINVAL;
	if (header->kind != LINE_RUN && header->kind != LINE_EXEC)
		return -EINVAL;
	if (!is_range(header, header->words.offset, header->words.bytes) || !is_text(header, header->directory))
		return -EINVAL;
	if (!is_range(header, header->config.offset, header->config.bytes) ||
	    !is_range(header, header->record.offset, header->record.bytes) ||
	    !is_range(header, header->plan.offset, header->plan.bytes))
		return -EINVAL;
	if (!are_facts(header) || !are_places(header, header->whole, header->whole_count, ID_DIGITS) ||
	    !are_places(header, header->beginnings, header->short_count, SHORT_DIGITS))
		return -EINVAL;
	/* Patching the ID must not reach what was just looked at. */
	uint32_t first = header->config.offset;
	if (first > header->record.offset || first > header->plan.offset)
		return -EINVAL;
	const uint32_t *places[] = {(const void *)((const char *)at + header->whole),
				    (const void *)((const char *)at + header->beginnings)};
	const uint32_t counts[] = {header->whole_count, header->short_count};
	const uint32_t digits[] = {ID_DIGITS, SHORT_DIGITS};
	uint32_t end = header->plan.offset + header->plan.bytes;
	if (header->facts + header->fact_count * sizeof(struct line_fact) > first || header->whole < end ||
	    header->beginnings < end)
		return -EINVAL;
	for (int list = 0; list < 2; list++)
		for (uint32_t i = 0; i < counts[list]; i++)
			if (places[list][i] < first || places[list][i] + digits[list] > end)
				return -EINVAL;
	return 0;
}
