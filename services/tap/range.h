// SPDX-License-Identifier: MIT
// The range grammar of `cat --range`, and times as people type them.
//
//     range   = start [ ":" end ]            the start is included, the end is not
//     start   = [ SEQ | "-" COUNT | "@" time ]      empty: the first event there is
//     end     = [ SEQ | "end" | time | DURATION ]   empty: the end; a DURATION counts from the start time
//     time    = RFC3339 | YYYY-MM-DD | YYYY-MM-DDTHH:MM[Z] | "-" DURATION | "now"
//
// Examples: 5:10   -100:   :end   @-1h:   @2026-11-23T10:00Z:5m   @-2h:@-1h
#ifndef TAP_RANGE_H
#define TAP_RANGE_H

#include "proto/queue_frames.h"

struct range {
    enum queue_start from;
    uint64_t value;     // of from
    uint64_t until_seq; // last sequence wanted; 0: no end
    uint64_t until_ms;  // last time wanted; 0: no end
    bool empty;         // nothing can be in it
};

// Returns 0, or -EINVAL with a sentence in *ret_mistake.
__attribute__((warn_unused_result)) int range_parse(const char *text, int64_t now_ms, struct range *ret_range,
                                                    const char **ret_mistake);

// A time by the grammar above, also a DURATION without "-" (that long ago), for --since. 0 or
// -EINVAL.
__attribute__((warn_unused_result)) int range_time(struct str text, int64_t now_ms, int64_t *ret_ms);

#endif
