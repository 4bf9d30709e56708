// SPDX-License-Identifier: MIT
// Events as text: for people, or as CloudEvents 1.0 JSON with a `queue` block that says where they
// lie. One NDJSON line is the same as one element of the JSON array, and what import reads.
#ifndef TAP_RENDER_H
#define TAP_RENDER_H

#include "proto/queue_frames.h"

enum render_format {
    RENDER_PRETTY, // for people
    RENDER_JSON,   // an array, an element at a time
    RENDER_NDJSON,
    RENDER_RAW,    // the data as it is stored: MessagePack, one value after the other
    RENDER_HEX,    // sequence, topic and the data's bytes in hexadecimal
    RENDER_FIELDS  // a line for each value in the event: its path, " = ", the value
};

struct render_style {
    enum render_format format;
    const char *template; // of --format, checked by render_template_check(); NULL: none
    bool color;           // with terminal colours (RENDER_PRETTY only)
    bool no_body, body_only;
    bool timestamps, delta; // each event begins with its time, or the time since the one before
    int64_t max_body;     // bytes of data that are shown; -1: all
};

// An event as it is read.
struct render_entry {
    uint64_t seq;
    int64_t stored_ms;
    int64_t before_ms;  // when the event that was shown before was stored; 0: none was
    struct str encoded;
    struct str extra;   // members for the JSON of it, ",\"name\":value"; "" for none
};

// Appends one event, with a newline unless it is JSON or raw. Returns 0, or -EBADMSG when the event
// cannot be decoded (then a line that says so is appended all the same).
__attribute__((warn_unused_result)) int render_event(const struct render_style *style,
                                                     const struct render_entry *entry, struct buf *b);

// 0, or -EINVAL: there is something behind a % or \ that has no meaning.
__attribute__((warn_unused_result)) int render_template_check(const char *text);

// Appends an event's JSON, as render_event() does. extra as above.
void render_json(const struct event *e, const struct render_style *style, const struct render_entry *entry,
                 struct buf *b);

// Appends a MessagePack value as JSON, or, when JSON cannot say it, null.
void render_value(struct str msgpack, struct buf *b);

// Appends a byte count as people read it: "1.5 MiB".
void render_bytes(uint64_t bytes, struct buf *b);

// Appends a time, or "-" for 0.
void render_time(int64_t time_ms, struct buf *b);

// Appends how long something takes or took, in two units at most: "350ms", "12.5s", "3m20s", "2d4h".
void render_duration(int64_t ms, struct buf *b);

#endif
