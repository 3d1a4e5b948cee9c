/* SPDX-License-Identifier: MIT */
#ifndef BB_FACTS_H
#define BB_FACTS_H

#include <stddef.h>

#define TEXT_MAX 65536

/*
 * facts_hold - whether all facts of a decoded line are so, or those that are looked at late.
 *
 * @environment: the process's own variables
 * @text: TEXT_MAX bytes to read into
 */
int facts_hold(const char *line, int late_only, char *const *environment, char *text);

/* Opens for reading, closed on exec. Returns a descriptor or -errno. */
int open_file(const char *path, int flags);

/*
 * open_process - a handle on the process whose /proc/PID/stat was kept at `path`, from `directory` on, when it started.
 *
 * Returns a pidfd, -ESRCH when it has ended, or -1 when that cannot be told. The last in `text` is its /proc/PID/stat.
 */
int open_process(int directory, const char *path, char *text);

#endif
