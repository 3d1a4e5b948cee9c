/* SPDX-License-Identifier: MIT */
/* What is another's each time, put into a decoded line; and the bytes of netlink, counted. No system call: fuzz-line.c runs it on anything. */
#include "holes.h"
#include "line.h"
#include "sys.h"

/* struct nlmsghdr begins with the message's length; its flags follow. */
#define MESSAGE_HEADER 16
#define MESSAGE_FLAGS 6
#define REQUEST_AND_ACK 5 /* NLM_F_REQUEST | NLM_F_ACK: what asks for anything else may not be answered as often */

void write_digits(char to[ADDRESS_DIGITS], uint32_t address)
{
	for (int i = ADDRESS_DIGITS - 1; i >= 0; i--, address >>= 4)
		to[i] = "0123456789abcdef"[address & 15];
}

int read_digits(const char *digits, uint8_t to[ADDRESS_BINARY])
{
	if (strlen(digits) != ADDRESS_DIGITS)
		return -1;
	for (size_t i = 0; i < ADDRESS_DIGITS; i++) {
		char c = digits[i];
		int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (value < 0)
			return -1;
		to[i / 2] = (uint8_t)(to[i / 2] << 4 | value);
	}
	return 0;
}

static void write_text(char to[ADDRESS_TEXT], uint32_t address)
{
	char text[4 * 4 + 4];
	size_t n = 0;

	for (int shift = 24; shift >= 0; shift -= 8) {
		n += decimal(text + n, address >> shift & 255);
		text[n++] = '.';
	}
	memset(to, ' ', ADDRESS_TEXT);
	memcpy(to, text, n - 1);
}

static void write_address(char *to, size_t bytes, uint32_t address)
{
	if (bytes == ADDRESS_DIGITS)
		write_digits(to, address);
	else if (bytes == ADDRESS_TEXT)
		write_text(to, address);
	else
		for (int i = ADDRESS_BINARY - 1; i >= 0; i--, address >>= 8)
			to[i] = (char)address;
}

int fill_places(char *line, const struct holes *holes, const struct own *own)
{
	const struct line_header *header = (const void *)line;
	const struct line_place *place = (const void *)(line + header->places);

	for (uint32_t i = 0; i < header->place_count; i++, place++) {
		const char *with = own->id;

		if (place->hole == HOLE_ADDRESS || place->hole == HOLE_LINK)
			continue;
		if (place->hole != HOLE_FRESH) {
			if (place->hole >= holes->count || holes->hole[place->hole].bytes < place->bytes)
				return -1;
			with = holes->hole[place->hole].text;
		}
		memcpy(line + place->offset, with, place->bytes);
	}
	return 0;
}

void fill_address(char *line, const struct own *own)
{
	const struct line_header *header = (const void *)line;
	const struct line_place *place = (const void *)(line + header->places);

	for (uint32_t i = 0; i < header->place_count; i++, place++) {
		if (place->hole == HOLE_ADDRESS)
			write_address(line + place->offset, place->bytes, own->address);
		else if (place->hole == HOLE_LINK)
			memcpy(line + place->offset, &own->link, LINK_BYTES);
	}
}

uint64_t count_messages(const char *messages, size_t bytes)
{
	uint64_t count = 0;

	for (uint32_t length; bytes; count++) {
		uint16_t flags;

		if (bytes < MESSAGE_HEADER)
			return 0;
		memcpy(&length, messages, sizeof(length));
		memcpy(&flags, messages + MESSAGE_FLAGS, sizeof(flags));
		if (length < MESSAGE_HEADER || length > bytes || flags != REQUEST_AND_ACK)
			return 0;
		length = (length + 3) & ~3u;
		if (length > bytes)
			length = (uint32_t)bytes;
		messages += length;
		bytes -= length;
	}
	return count;
}
