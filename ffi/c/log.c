/* SPDX-License-Identifier: MIT */
#include "log.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/stat.h>
#include <linux/time_types.h>

#define CLOCK_REALTIME 0
#define LOG_MODE 0640
#define HEADER_BYTES 40 /* time, a space, "stdout", a space, F or P, a space */

/* The k-th file's name; the 0th is "log". */
static void log_name(char to[LOG_NAME_BYTES], unsigned k)
{
	memcpy(to, "log", 4);
	if (k) {
		to[3] = '.';
		decimal(to + 4, k);
	}
}

/* log.1 becomes log.2 and log becomes log.1; the last one is overwritten by the one before. */
static void rotate(struct log *log)
{
	char from[LOG_NAME_BYTES], to[LOG_NAME_BYTES];

	for (unsigned k = log->files > 1 ? log->files - 1 : 0; k > 0; k--) {
		log_name(from, k - 1);
		log_name(to, k);
		SYS_5(__NR_renameat2, log->dir_fd, from, log->dir_fd, to, 0);
	}
	/* Nothing is left under this name unless only one file is kept, or the rename was refused. */
	SYS_3(__NR_unlinkat, log->dir_fd, "log", 0);
	sys_close(log->fd);
	log->fd = -1;
	log->size = 0;
}

static int open_current(struct log *log)
{
	struct statx st;

	if (log->fd >= 0)
		return 0;
	log->fd = (int)SYS_4(__NR_openat, log->dir_fd, "log",
			     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, LOG_MODE);
	if (log->fd < 0) {
		log->fd = -1;
		return -1;
	}
	log->size = 0;
	if (!SYS_5(__NR_statx, log->fd, "", AT_EMPTY_PATH, STATX_SIZE, &st))
		log->size = st.stx_size;
	return 0;
}

/*
 * A record that does not fit on the disk is cut off again: half of one would
 * join with the next, and a reader would take both for one line. The file's
 * size is asked for, since somebody else may have truncated it.
 */
static void take_back(struct log *log, uint64_t written)
{
	struct statx st;

	if (SYS_5(__NR_statx, log->fd, "", AT_EMPTY_PATH, STATX_SIZE, &st) || st.stx_size < written)
		return;
	SYS_2(__NR_ftruncate, log->fd, st.stx_size - written);
}

/* A full disk costs the container its log, not its life. */
static void flush(struct log *log)
{
	size_t done = 0;

	if (log->batched && !open_current(log)) {
		while (done < log->batched) {
			long n = SYS_3(__NR_write, log->fd, log->batch + done, log->batched - done);

			if (n == -EINTR)
				continue;
			if (n <= 0)
				break;
			done += (size_t)n;
		}
		if (done == log->batched)
			log->size += done;
		else if (done)
			take_back(log, done);
	}
	log->batched = 0;
}

static void two_digits(char *to, uint64_t value)
{
	to[0] = (char)('0' + value / 10 % 10);
	to[1] = (char)('0' + value % 10);
}

/*
 * Writes "2026-11-22T05:29:19.123456789Z". The calendar is counted from 1 March
 * of the year 0, so that a leap day is the last day of its year: 400 years have
 * 146097 days, and from March on a month's first day is (153 * month + 2) / 5.
 */
static size_t format_time(char *to, uint64_t seconds, uint64_t nanoseconds)
{
	uint64_t days = seconds / 86400 + 719468, second = seconds % 86400;
	uint64_t era = days / 146097, day = days % 146097;
	uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	uint64_t month;

	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	year += era * 400 + (month >= 10);
	month = month < 10 ? month + 3 : month - 9;

	memcpy(to, "0000-00-00T00:00:00.000000000Z", 30);
	two_digits(to, year / 100);
	two_digits(to + 2, year);
	two_digits(to + 5, month);
	two_digits(to + 8, day + 1);
	two_digits(to + 11, second / 3600);
	two_digits(to + 14, second / 60 % 60);
	two_digits(to + 17, second % 60);
	for (char *at = to + 28; nanoseconds; at--, nanoseconds /= 10)
		*at = (char)('0' + nanoseconds % 10);
	return 30;
}

static size_t format_header(char to[HEADER_BYTES], int stream)
{
	struct __kernel_timespec now = {0};
	size_t n;

	SYS_2(__NR_clock_gettime, CLOCK_REALTIME, &now);
	n = format_time(to, now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec, (uint64_t)now.tv_nsec);
	memcpy(to + n, stream ? " stderr F " : " stdout F ", 10);
	return n + 10;
}

/* One record out of a stream's unfinished line and what follows it. `kind` is F or P. */
static void add_record(struct log *log, int stream, char *header, char kind, const char *bytes, size_t n)
{
	size_t pending = log->pending[stream], length = HEADER_BYTES + pending + n + 1;
	char *to;

	if (log->batched + length > LOG_BATCH)
		flush(log);
	if (log->limit && !open_current(log) && log->size + log->batched + length > log->limit) {
		flush(log);
		if (log->size)
			rotate(log);
	}
	to = log->batch + log->batched;
	header[HEADER_BYTES - 2] = kind;
	memcpy(to, header, HEADER_BYTES);
	memcpy(to + HEADER_BYTES, log->lines[stream], pending);
	memcpy(to + HEADER_BYTES + pending, bytes, n);
	to[length - 1] = '\n';
	log->batched += length;
	log->pending[stream] = 0;
}

/* How many of the `n` bytes come before a newline, all if there is none. */
static size_t line_length(const char *bytes, size_t n)
{
	size_t length = 0;

	while (length < n && bytes[length] != '\n')
		length++;
	return length;
}

void log_append(struct log *log, int stream, const char *bytes, size_t n)
{
	char header[HEADER_BYTES];

	format_header(header, stream);
	while (n) {
		size_t room = LOG_PIECE - log->pending[stream];
		size_t line = line_length(bytes, n <= room ? n : room + 1);

		if (line > room) {
			add_record(log, stream, header, 'P', bytes, room);
			line = room;
		} else if (line < n) {
			add_record(log, stream, header, 'F', bytes, line);
			line++;
		} else {
			memcpy(log->lines[stream] + log->pending[stream], bytes, line);
			log->pending[stream] += line;
		}
		bytes += line;
		n -= line;
	}
	flush(log);
}

void log_finish(struct log *log)
{
	char header[HEADER_BYTES];

	for (int stream = 0; stream < LOG_STREAMS; stream++) {
		if (!log->pending[stream])
			continue;
		format_header(header, stream);
		add_record(log, stream, header, 'P', "", 0);
	}
	flush(log);
	if (log->fd >= 0)
		sys_close(log->fd);
	log->fd = -1;
}
