/* SPDX-License-Identifier: MIT */
/*
 * line.h - a command that was carried out before: the contract between TypeScript and the fronts.
 *
 * ffi/src/line.ts writes what this header describes, and ffi/src/line.test.ts compares both.
 *
 *   struct line_header | facts | files | texts, contents, plan | places
 *
 * Texts end with a zero byte. Offsets count from the file's start.
 */
#ifndef BB_LINE_H
#define BB_LINE_H

#include <stddef.h>
#include <stdint.h>

#define LINE_MAGIC 0x454e494cu /* "LINE" */
#define LINE_VERSION 3
#define LINE_MAX_BYTES (16u << 20)

struct line_range {
	uint32_t offset, bytes;
};

enum line_kind {
	LINE_MAKE = 1, /* a new container: a directory with files in it, whose lock the plan gets */
	LINE_ENTER,    /* a command in a container that runs: the plan gets a handle on its first process */
	LINE_MADE      /* a container of bb-oci that was made, in its own directory (made.h); there is no plan */
};

/* What has to be as it was; every value is a text. */
enum line_fact_kind {
	FACT_TEXT = 1,	  /* the lines of a file that contain `detail` are `value`; none, or no file: "" */
	FACT_BELOW,	  /* the plain file `detail` below the root directory `path` is `value`; none: "" */
	FACT_NODE,	  /* the fields of statx(2) that `detail` names are `value`; see node_text in facts.c */
	FACT_LINK,	  /* the symbolic link points to `value` */
	FACT_LACKS,	  /* the file, if there is one, does not contain `detail` */
	FACT_ENVIRONMENT, /* the variable `path`, or all of them for "", each ended by a newline, is `value` */
	FACT_ACCEPTS,	  /* the kernel refuses none of the netlink messages `value`, of protocol `detail` */
	FACT_INTERFACE,	  /* of the network interface `path`: index, " up", " " and its IPv4 address `detail`, in digits, as far as it is so */
	FACT_LAST = FACT_INTERFACE
};

struct line_fact {
	uint32_t kind;
	uint32_t late; /* looked at again once the container can be seen by others */
	uint32_t path, detail, value; /* offsets of texts */
	uint32_t value_bytes;
};

struct line_file {
	uint32_t name; /* offset of a text */
	struct line_range content;
};

/* Where something stands that is another one each time. */
struct line_place {
	uint32_t offset;
	uint16_t hole; /* of the words and files that the line was found by (holes.h), or one of these */
	uint16_t bytes; /* of the hole's beginning, or all of it */
};

#define HOLE_FRESH 0xffff   /* an ID that nobody had */
#define HOLE_ADDRESS 0xfffe /* the container's, in as many bytes as an address has ... */
#define HOLE_LINK 0xfffd    /* the index of its link's end on the host: four bytes */
#define FRESH_DIGITS 64
#define ADDRESS_BINARY 4 /* ... in network order, */
#define ADDRESS_DIGITS 8 /* in hexadecimal digits, */
#define ADDRESS_TEXT 15	 /* or as people write it, with blanks behind */
#define LINK_BYTES 4

struct line_header {
	uint32_t magic, version, bytes, kind;
	struct line_range skeleton; /* what the words and files look like without their holes */
	uint32_t fact_count, facts;
	uint32_t directory;	    /* text: the container's, of `directory_mode` */
	uint32_t directory_mode;
	struct line_range subdirectories; /* names, each ended by a zero byte; LINE_MADE: paths of its groups */
	uint32_t file_count, files; /* LINE_MADE: pieces of what `state` prints, each called what comes behind it */
	struct line_range plan;
	uint32_t place_count, places;
	uint32_t record; /* text: where /proc/PID/stat of the first process is kept; LINE_ENTER */
	uint32_t passed; /* by which number the plan knows the lock, or the pidfd */
	uint32_t output; /* by which number it knows a file for what hooks print; 0: none */
	uint32_t nofile; /* what Bun had raised its soft limit of open files to */
	uint32_t leases; /* text: directory where an address is leased; see lease.c */
	uint32_t lease_first, lease_count; /* which ones; none: 0 */
};

/* What a new container has of its own. */
struct own {
	char id[FRESH_DIGITS];
	uint32_t address; /* in this machine's order */
	uint32_t link;
};

/*
 * line_decode - check `bytes` at `at`: nothing that the header names lies outside, and texts end.
 *
 * Filling places changes neither the header, nor facts and files, nor places. Returns 0, or -EINVAL.
 */
int line_decode(const void *at, size_t bytes);

struct holes;

/* fill_places - put holes and an ID where an earlier command's stood. Returns 0, or -1 if the holes are not so many or so long. */
int fill_places(char *line, const struct holes *holes, const struct own *own);

/* fill_address - the same with address and link, once they are had. */
void fill_address(char *line, const struct own *own);

/* write_digits - the eight hexadecimal digits of an address. */
void write_digits(char to[ADDRESS_DIGITS], uint32_t address);

/* read_digits - the address in network order, of eight digits and nothing else. Returns 0, or -1 for any other text. */
int read_digits(const char *digits, uint8_t to[ADDRESS_BINARY]);

/* count_messages - netlink messages that lie one behind the other, or 0 if these bytes are anything else. */
uint64_t count_messages(const char *messages, size_t bytes);

#endif
