// SPDX-License-Identifier: MIT
// Events as text: for people, or as CloudEvents 1.0 JSON with a `queue` block that says where they
// lie. One NDJSON line is the same as one element of the JSON array.
#ifndef TAP_RENDER_H
#define TAP_RENDER_H

#include "proto/queue_frames.h"

enum render_format { RENDER_PRETTY, RENDER_JSON, RENDER_NDJSON };

// Appends one event. color: with terminal colours (RENDER_PRETTY only). Returns 0, or -EBADMSG when
// the event cannot be decoded (then a line that says so is appended all the same).
__attribute__((warn_unused_result)) int render_event(enum render_format format, bool color, uint64_t seq,
                                                     int64_t stored_ms, struct str encoded, struct buf *b);

// Appends a MessagePack value as JSON, or, when JSON cannot say it, null.
void render_value(struct str msgpack, struct buf *b);

// Appends a byte count as people read it: "1.5 MiB".
void render_bytes(uint64_t bytes, struct buf *b);

// Appends a time, or "-" for 0.
void render_time(int64_t time_ms, struct buf *b);

#endif
