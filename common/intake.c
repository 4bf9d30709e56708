// SPDX-License-Identifier: MIT
#include "common/intake.h"

#include "common/call_impl.h"
#include "common/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct queue {
    struct call *first, **last;
    uint32_t n;
};

struct intake {
    uv_idle_t idle;       // active while calls wait, so that the loop does not sleep
    uv_prepare_t prepare; // ends a turn of the loop
    int handles_open;
    void (*run)(struct call *c);
    struct queue queues[FRAME_CLASSES];
    uint32_t n;
    int64_t slice_us; // when the first call of this turn ran as it arrived; 0: none has
};

static struct call *take(struct intake *i)
{
    static const enum frame_class order[] = { FRAME_CLASS_WRITE, FRAME_CLASS_COMPUTE,
                                              FRAME_CLASS_READ };
    static_assert(sizeof order / sizeof *order == FRAME_CLASSES, "each once");
    for (size_t k = 0; k < FRAME_CLASSES; k++) {
        struct queue *q = &i->queues[order[k]];
        struct call *c = q->first;
        if (c) {
            q->first = c->next_waiting;
            q->last = q->first ? q->last : &q->first;
            c->next_waiting = NULL; // it may wait elsewhere next
            q->n--;
            i->n--;
            return c;
        }
    }
    return NULL;
}

static void on_idle(uv_idle_t *handle)
{
    struct intake *i = handle->data;
    int64_t begin_us = clock_mono_us();
    struct call *c;
    while ((c = take(i))) {
        i->run(c);
        if (clock_mono_us() - begin_us >= INTAKE_SLICE_US) {
            break;
        }
    }
    if (i->n == 0) {
        (void)uv_idle_stop(handle); // always succeeds
    }
}

static void on_prepare(uv_prepare_t *handle)
{
    struct intake *i = handle->data;
    i->slice_us = 0;
}

int intake_open(uv_loop_t *loop, void (*run)(struct call *c), struct intake **ret_intake)
{
    struct intake *i = calloc(1, sizeof *i);
    if (!i) {
        return -ENOMEM;
    }
    i->run = run;
    for (size_t k = 0; k < FRAME_CLASSES; k++) {
        i->queues[k].last = &i->queues[k].first;
    }
    (void)uv_idle_init(loop, &i->idle);       // cannot fail
    (void)uv_prepare_init(loop, &i->prepare); // as well
    i->idle.data = i->prepare.data = i;
    i->handles_open = 2;
    (void)uv_prepare_start(&i->prepare, on_prepare); // fails only without a callback
    uv_unref((uv_handle_t *)&i->prepare);            // it keeps no loop running
    *ret_intake = i;
    return 0;
}

void intake_put(struct intake *i, struct call *c, enum frame_class class, int64_t now_us)
{
    if (i->slice_us == 0) {
        i->slice_us = now_us;
    }
    if (i->n == 0 && now_us - i->slice_us < INTAKE_SLICE_US) {
        i->run(c);
        return;
    }
    struct queue *q = &i->queues[class];
    c->next_waiting = NULL;
    *q->last = c;
    q->last = &c->next_waiting;
    q->n++;
    if (i->n++ == 0) {
        (void)uv_idle_start(&i->idle, on_idle); // fails only without a callback
    }
}

struct call *intake_cut(struct intake *i, enum frame_class class, uint32_t keep)
{
    struct queue *q = &i->queues[class];
    if (q->n <= keep) {
        return NULL;
    }
    struct call **at = &q->first;
    for (uint32_t k = 0; k < keep; k++) {
        at = &(*at)->next_waiting;
    }
    struct call *c = *at;
    *at = NULL;
    q->last = at;
    i->n -= q->n - keep;
    q->n = keep;
    if (i->n == 0) {
        (void)uv_idle_stop(&i->idle);
    }
    return c;
}

static void on_closed(uv_handle_t *handle)
{
    struct intake *i = handle->data;
    if (--i->handles_open == 0) {
        free(i);
    }
}

void intake_close(struct intake **intake)
{
    struct intake *i = *intake;
    *intake = NULL;
    if (i) {
        uv_close((uv_handle_t *)&i->idle, on_closed);
        uv_close((uv_handle_t *)&i->prepare, on_closed);
    }
}
