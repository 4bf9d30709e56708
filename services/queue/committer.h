// SPDX-License-Identifier: MIT
// The thread that writes the log: it runs one journal_append_write() at a time, so that the loop
// goes on reading requests and serving readers while the disk works. What comes meanwhile is the
// next commit.
#ifndef QUEUE_COMMITTER_H
#define QUEUE_COMMITTER_H

#include "services/queue/journal.h"

#include <uv.h>

struct committer;

// on_done runs on the loop after each commit, with the status of journal_append_write().
__attribute__((warn_unused_result)) int committer_open(uv_loop_t *loop,
                                                       void (*on_done)(int status, void *data),
                                                       void *data,
                                                       struct committer **ret_committer);

// Starts one commit; none may be running. a is borrowed until on_done.
void committer_start(struct committer *c, struct append *a);

// Waits for a running commit (its on_done does not come any more) and ends the thread; memory goes
// when the loop has closed the handle.
void committer_close(struct committer **c);

#endif
