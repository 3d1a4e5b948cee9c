/* SPDX-License-Identifier: MIT */
/*
 * log.h - a container's output as text records, in files that rotate.
 *
 *   2026-11-22T05:29:19.123456789Z stdout F a whole line
 *   2026-11-22T05:29:19.123456789Z stderr P the beginning of a line, or one that never ended
 *
 * It is the CRI's text format. Bytes of the container are only ever found behind a record's
 * header and before its newline, so it cannot forge a record, whatever it prints.
 */
#ifndef BB_LOG_H
#define BB_LOG_H

#include <stddef.h>
#include <stdint.h>

#define LOG_STREAMS 2	    /* stdout, stderr */
#define LOG_PIECE 16384u    /* the longest piece of a line in one record */
#define LOG_BATCH 32768u    /* what one write(2) takes at most; holds any record */
#define LOG_NAME_BYTES 24   /* "log." and a number */

struct log {
	int dir_fd;	 /* where log, log.1, log.2 … lie */
	int fd;		 /* the current file, or -1 until there is something to write */
	unsigned files;	 /* how many are kept, the current one included; 0 means 1 */
	uint64_t limit;	 /* bytes of one file; 0: any number */
	uint64_t size;	 /* of the current file */
	size_t batched;	 /* bytes of `batch` that are not written yet */
	size_t pending[LOG_STREAMS]; /* bytes of each stream's unfinished line */
	char batch[LOG_BATCH];
	char lines[LOG_STREAMS][LOG_PIECE];
};

/* log_append - add `n` bytes that the container wrote to a stream (0: stdout, 1: stderr); whole lines reach the file. */
void log_append(struct log *log, int stream, const char *bytes, size_t n);

/* log_finish - the container has ended: write what is unfinished, and close. */
void log_finish(struct log *log);

#endif
