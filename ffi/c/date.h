/* SPDX-License-Identifier: MIT */
#ifndef BB_DATE_H
#define BB_DATE_H

#include <stddef.h>
#include <stdint.h>

#define DATE_BYTES 24
#define DATE_LAST 253402300799 /* the end of the year 9999 */

/* date - write a time since the epoch, DATE_LAST at most, as ISO 8601 in UTC with milliseconds: DATE_BYTES, no zero byte. */
void date(char to[DATE_BYTES], uint64_t seconds, uint32_t nanoseconds);

#endif
