// SPDX-License-Identifier: MIT
// The console's connection to the queue, and the queue's state through it. It is made when somebody
// looks and closed when nobody does, and may what the gateway may (PROTOCOL.md 3.11): everything on
// ipc; on tcp the queue refuses most, and the refusal is passed on. What is done through it is not its
// business: console_tail.h, console_letters.h.
#ifndef GATEWAY_CONSOLE_QUEUE_H
#define GATEWAY_CONSOLE_QUEUE_H

#include "common/queue_client.h"
#include "gateway/gateway.h"

#define CONSOLE_QUEUE_WAIT_MS 3000   // for the queue's answers -> 504
#define CONSOLE_QUEUE_GRACE_MS 1000  // to connect in, before the queue is said to be away
#define CONSOLE_QUEUE_LINGER_MS 5000 // the connection stays for so long after the last use

struct console_queue;

// endpoint is copied. 0, or -ENOMEM.
__attribute__((warn_unused_result)) int console_queue_open(struct gateway *g, const char *endpoint,
                                                           struct console_queue **ret_queue);
// Calls that are on their way end with -ECANCELED. Nobody may hold it but for those.
void console_queue_close(struct console_queue **q);

// Somebody looks; nobody does any more. They count.
void console_queue_hold(struct console_queue *q);
void console_queue_release(struct console_queue *q);

// The connection, for who holds it; NULL: there is none.
struct queue_client *console_queue_client(const struct console_queue *q);

// A call over it, as queue_client_call(), with CONSOLE_QUEUE_WAIT_MS. arguments is borrowed for the
// call. 0, then on_result runs once; or -ENOTCONN while the queue is away, the error of arguments, or
// another negative errno.
__attribute__((warn_unused_result)) int
console_queue_call(struct console_queue *q, const char *method, const struct buf *arguments,
                   void (*on_result)(int status, struct str result, void *data), void *data);

// Asks for {"up":bool,"refused":"...",members of INFO,"groups":[...]}; on_state runs, perhaps from
// within this, unless one is on its way or the connection is being made; and again when the queue
// comes or goes.
void console_queue_state(struct console_queue *q, void (*on_state)(struct str json, void *data),
                         void *data);

#endif
