// SPDX-License-Identifier: MIT
// Dead letters in the console: looking at those of a group, and having the queue retry or drop them. A
// look is two questions to the queue: which there are, and then what they are; what cannot be read in
// time is answered as such.
#ifndef GATEWAY_CONSOLE_LETTERS_H
#define GATEWAY_CONSOLE_LETTERS_H

#include "common/admin.h"
#include "gateway/console_queue.h"

#define CONSOLE_MAX_LOOKS 4      // at once -> 503
#define CONSOLE_LETTERS 50       // of one look
#define CONSOLE_LOOK_TICK_MS 200 // so often it is seen whether a look takes too long

struct console_letters;

// queue is borrowed. 0, or -ENOMEM.
__attribute__((warn_unused_result)) int console_letters_open(uv_loop_t *loop,
                                                             struct console_queue *queue,
                                                             struct console_letters **ret_letters);
// Ends what is going on: requests are answered 503, those that wait for an answer of the queue by
// console_queue_close(), which must follow in the same turn of the loop. Memory goes when the loop has
// closed the tick.
void console_letters_close(struct console_letters **l);

// Handlers. Whether the caller may ask was checked before.
//   look: ?group=G&after=SEQ, {"group","total","letters":[{"seq","origin_seq","died_ms","attempts",
//         "event":{...}|null}]}: at most CONSOLE_LETTERS, from after SEQ on
//   order: {"group":G,"seqs":[...]} and the method: dead-retry or dead-drop; {"changed","missing"}
void console_letters_look(struct console_letters *l, struct admin_request *r);
void console_letters_order(struct console_letters *l, struct admin_request *r, const char *method);

#endif
