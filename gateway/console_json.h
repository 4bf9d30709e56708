// SPDX-License-Identifier: MIT
// What the console shows, as JSON: the figures of processes, the state of the queue, events and dead
// letters; and requests of the console, read. Nothing here talks to anybody.
#ifndef GATEWAY_CONSOLE_JSON_H
#define GATEWAY_CONSOLE_JSON_H

#include "gateway/suite_text.h"
#include "proto/queue_frames.h"

#define CONSOLE_EVENT_BYTES 524288 // of one message to the browser; what is over it is left out
#define CONSOLE_DATA_BYTES 16384   // of an event's data; of a larger one only the size is told
#define CONSOLE_MAX_SEQS 100       // dead letters in one request

// Appends {"processes":[{"job","instance","up","values":[[name,labels,value]],
// "times":[[name,labels,seconds,[count in each bucket]]]}],"left_out":n,"cut":bool}: of each process
// the families that the console shows. Histograms that counted nothing are left out. cut: not
// everything fitted into max_bytes.
void console_json_figures(const struct suite_process *p, size_t n, size_t left_out,
                          size_t max_bytes, struct buf *b);

// Appends a MessagePack value as JSON, or null when JSON cannot say it or it is over
// CONSOLE_DATA_BYTES.
void console_json_value(struct str msgpack, struct buf *b);

// Appends the members of a map (bytes) that are named, ended by NULL, as ,"name":value. What is not
// there is left out; of a list at most 256 elements are taken.
void console_json_members(struct str map, const char *const *names, struct buf *b);

// Appends an event as an object; -EBADMSG, and nothing, when it cannot be decoded.
__attribute__((warn_unused_result)) int console_json_event(uint64_t seq, int64_t stored_ms,
                                                           struct str encoded, struct buf *b);

// A member of a map; false: it has none of this name, or of another type.
bool console_json_find_list(struct str map, const char *name, struct reader *ret, uint32_t *ret_n);
uint64_t console_json_uint(struct str map, const char *name);

// {"group":"...","seqs":[...]}, and nothing else.
struct console_order {
    char group[QUEUE_MAX_GROUP + 1];
    uint64_t seqs[CONSOLE_MAX_SEQS];
    size_t n;
};

// 0; or -EINVAL with *ret_mistake, a sentence that says what is allowed.
__attribute__((warn_unused_result)) int
console_json_order(struct str json, struct console_order *ret_order, const char **ret_mistake);

// A parameter of a query, percent-decoded into out (size bytes, with its NUL). 1: it is there; 0: it
// is not; -EINVAL: too long, badly encoded, or a control character.
__attribute__((warn_unused_result)) int console_json_parameter(struct str query, const char *name,
                                                               char *out, size_t size);

// A number in a query, 0 to max; without it *ret is 0. 0, or -EINVAL.
__attribute__((warn_unused_result)) int console_json_number(struct str query, const char *name,
                                                            uint64_t max, uint64_t *ret);

#endif
