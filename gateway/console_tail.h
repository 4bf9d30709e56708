// SPDX-License-Identifier: MIT
// Live tails of the console: events as the queue stores them, as server-sent events. Streams are
// written by the tick alone: what the queue delivers in between is kept, bounded by the credit that it
// has. The tick runs while there is a tail.
#ifndef GATEWAY_CONSOLE_TAIL_H
#define GATEWAY_CONSOLE_TAIL_H

#include "common/admin.h"
#include "gateway/console_queue.h"

#define CONSOLE_MAX_TAILS 4      // at once -> 503
#define CONSOLE_TAIL_TICK_MS 200 // so often a tail sends, and asks for more
#define CONSOLE_TAIL_CREDIT 20 // events of a tail in that time: 100/s; of more, the rest is skipped
#define CONSOLE_TAIL_BEHIND_TICKS 10    // so many full ticks in a row: there are more than it shows
#define CONSOLE_TAIL_QUEUED_BYTES 65536 // its reader is behind: it asks for no more
#define CONSOLE_TAIL_SIGN_TICKS 25      // a sign of life after so long: who does not take it is cut
#define CONSOLE_TAIL_LAST_MAX 100       // events before the end that a tail begins with

struct console_tails;

// queue is borrowed. 0, or -ENOMEM.
__attribute__((warn_unused_result)) int
console_tails_open(uv_loop_t *loop, struct console_queue *queue, struct console_tails **ret_tails);
// Ends the streams. Before console_queue_close(); memory goes when the loop has closed the tick.
void console_tails_close(struct console_tails **t);

// A handler: ?topics=a.>,b.*&key=K&where=FILTER&last=N, a stream of server-sent events: `event`,
// `skipped`, `lost`, `ended` (with the queue's reason). Whether the caller may ask was checked before.
void console_tails_begin(struct console_tails *t, struct admin_request *r);

#endif
