/* SPDX-License-Identifier: MIT */
/*
 * line.h - a command line that was carried out before: the contract between TypeScript and the front.
 *
 * ffi/src/line.ts writes what this header describes, and ffi/src/line.test.ts compares both.
 *
 *   struct line_header | words | facts | directory | config | record | plan | places
 *
 * Texts end with a zero byte. Offsets count from the file's start.
 */
#ifndef BB_LINE_H
#define BB_LINE_H

#include <stddef.h>
#include <stdint.h>

#define LINE_MAGIC 0x454e494cu /* "LINE" */
#define LINE_VERSION 1
#define LINE_MAX_BYTES (16u << 20)

#define ID_DIGITS 64
#define SHORT_DIGITS 12

struct line_range {
	uint32_t offset, bytes;
};

enum line_kind {
	LINE_RUN = 1, /* a new container: directory, config, record and places are there */
	LINE_EXEC     /* a command in a container that runs: pid is there */
};

/* What has to be as it was; every value is a text. */
enum line_fact_kind {
	FACT_TEXT = 1, /* the lines of a file that contain `detail` are `value`; none, or no file: "" */
	FACT_BELOW,    /* the plain file `detail` below the root directory `path` is `value`; none: "" */
	FACT_NODE,     /* the fields of statx(2) that `detail` names are `value`; see node_text in front.c */
	FACT_LINK,     /* the symbolic link points to `value` */
	FACT_LACKS,    /* the file, if there is one, does not contain `detail` */
	FACT_ALIVE,    /* `path` is the stat of a process that lives and started at `value` */
	FACT_LAST = FACT_ALIVE
};

struct line_fact {
	uint32_t kind;
	uint32_t late; /* looked at again once the container can be seen by others */
	uint32_t path, detail, value; /* offsets */
	uint32_t value_bytes;
};

struct line_header {
	uint32_t magic, version, bytes, kind;
	struct line_range words;	/* the arguments, each ended by a zero byte */
	uint32_t fact_count, facts;	/* an array of struct line_fact */
	uint32_t directory;		/* text: where containers lie */
	struct line_range config, record; /* config.json and container.json */
	struct line_range plan;
	uint32_t whole_count, whole;	/* u32 offsets of the ID's digits, anywhere in this file */
	uint32_t short_count, beginnings; /* and of its beginning alone */
	uint32_t passed;		/* by which number the plan knows the lock, or the pidfd */
	int32_t pid;
	uint32_t nofile;		/* what Bun had raised its soft limit of open files to */
};

/*
 * line_decode - check `bytes` at `at`: nothing that the header names lies outside, and texts end.
 *
 * Returns 0, or -EINVAL.
 */
int line_decode(const void *at, size_t bytes);

#endif
