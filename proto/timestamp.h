// SPDX-License-Identifier: MIT
// Wall-clock times as Sluice carries them: milliseconds since the epoch in memory and in events,
// RFC 3339 UTC with milliseconds ("2026-11-23T10:00:00.123Z") towards people.
#ifndef PROTO_TIMESTAMP_H
#define PROTO_TIMESTAMP_H

#include "proto/str.h"

#include <stdint.h>

// Bytes that timestamp_format() writes, the terminating NUL included.
#define TIMESTAMP_SIZE 25

// Writes time_ms (0 <= time_ms, before the year 10000) and a NUL; returns the str without the NUL.
struct str timestamp_format(int64_t time_ms, char out[TIMESTAMP_SIZE]);

// Parses RFC 3339 section 5.6 (any offset, any number of fraction digits; more than three are cut
// off). Returns 0 and the time, or -EINVAL; also for times outside 1970 to 9999, which
// timestamp_format() cannot write.
__attribute__((warn_unused_result)) int timestamp_parse(struct str s, int64_t *ret_time_ms);

#endif
