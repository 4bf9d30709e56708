// SPDX-License-Identifier: MIT
// One slot for work under a mutex; the way back is a uv_async_t.
#include "services/queue/committer.h"

#include "common/thread.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum state { IDLE, WORK, DONE, STOP };

struct committer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    enum state state;      // under mutex
    struct append *append; // under mutex
    int status;            // under mutex
    bool busy;             // loop only: started and not reported
    uv_async_t async;
    void (*on_done)(int status, void *data);
    void *data;
};

static void *run(void *arg)
{
    struct committer *c = arg;
    (void)pthread_mutex_lock(&c->mutex); // a plain mutex, rightly used, cannot fail; so below
    while (c->state != STOP) {
        if (c->state != WORK) {
            (void)pthread_cond_wait(&c->wake, &c->mutex);
            continue;
        }
        struct append *a = c->append;
        (void)pthread_mutex_unlock(&c->mutex);
        int status = journal_append_write(a);
        (void)pthread_mutex_lock(&c->mutex);
        c->status = status;
        if (c->state == WORK) {
            c->state = DONE;
            (void)uv_async_send(&c->async); // cannot fail for an open handle
        }
    }
    (void)pthread_mutex_unlock(&c->mutex);
    return NULL;
}

static void on_async(uv_async_t *handle)
{
    struct committer *c = handle->data;
    (void)pthread_mutex_lock(&c->mutex);
    bool done = c->state == DONE;
    int status = c->status;
    if (done) {
        c->state = IDLE;
    }
    (void)pthread_mutex_unlock(&c->mutex);
    if (done) {
        c->busy = false;
        c->on_done(status, c->data);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct committer *c = handle->data;
    (void)pthread_cond_destroy(&c->wake);
    (void)pthread_mutex_destroy(&c->mutex);
    free(c);
}

int committer_open(uv_loop_t *loop, void (*on_done)(int status, void *data), void *data,
                   struct committer **ret_committer)
{
    struct committer *c = calloc(1, sizeof *c);
    if (!c) {
        return -ENOMEM;
    }
    c->on_done = on_done;
    c->data = data;
    (void)pthread_mutex_init(&c->mutex, NULL); // without attributes they cannot fail
    (void)pthread_cond_init(&c->wake, NULL);
    int status = uv_async_init(loop, &c->async, on_async);
    c->async.data = c;
    if (status) {
        free(c);
        return status;
    }
    status = thread_start(run, c, &c->thread);
    if (status) {
        uv_close((uv_handle_t *)&c->async, on_closed);
        return status;
    }
    *ret_committer = c;
    return 0;
}

void committer_start(struct committer *c, struct append *a)
{
    assert(!c->busy);
    c->busy = true;
    (void)pthread_mutex_lock(&c->mutex);
    assert(c->state == IDLE);
    c->append = a;
    c->state = WORK;
    (void)pthread_cond_signal(&c->wake);
    (void)pthread_mutex_unlock(&c->mutex);
}

void committer_close(struct committer **committer)
{
    struct committer *c = *committer;
    *committer = NULL;
    if (!c) {
        return;
    }
    (void)pthread_mutex_lock(&c->mutex);
    c->state = STOP; // the thread sees it after the write at hand
    (void)pthread_cond_signal(&c->wake);
    (void)pthread_mutex_unlock(&c->mutex);
    (void)pthread_join(c->thread, NULL); // a thread of ours, joined once
    uv_close((uv_handle_t *)&c->async, on_closed);
}
