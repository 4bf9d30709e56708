// SPDX-License-Identifier: MIT
// ops: what the queue does, as it does it (PROTOCOL.md 3.10).
#include "services/tap/tap.h"

#include <errno.h>
#include <inttypes.h>

#include "common/clock.h"

struct ops {
    struct tap *t;
    int64_t left; // entries still wanted; < 0: no end
    uint64_t n;
    bool moved;
};

static void line(struct tap *t, const struct queue_operation *o)
{
    struct buf *b = &t->out;
    render_time(o->at_ms, b);
    buf_printf(b, "  %-8.*s %6" PRIu32 "  #%" PRIu64, STR_ARG(o->what), o->events, o->first_seq);
    if (o->last_seq > o->first_seq) {
        buf_printf(b, "..%" PRIu64, o->last_seq);
    }
    buf_printf(b, "  client %" PRIu64, o->client);
    if (o->group.n) {
        buf_append_z(b, "  group ");
        buf_append_json(b, o->group);
    }
    if (o->attempt > 1) {
        buf_printf(b, "  attempt %" PRIu32, o->attempt);
    }
    if (o->took_us) {
        buf_printf(b, "  %.1f ms", (double)o->took_us / 1000);
    }
    buf_append_char(b, '\n');
}

static void json(struct tap *t, const struct queue_operation *o)
{
    struct buf *b = &t->out;
    tap_element(t);
    buf_append_z(b, "{\"at\":\"");
    render_time(o->at_ms, b);
    buf_append_z(b, "\",\"what\":\"");
    buf_append_json(b, o->what);
    buf_append_z(b, "\",\"group\":\"");
    buf_append_json(b, o->group);
    buf_printf(b,
               "\",\"client\":%" PRIu64 ",\"first_seq\":%" PRIu64 ",\"last_seq\":%" PRIu64
               ",\"attempt\":%" PRIu32 ",\"events\":%" PRIu32 ",\"took_us\":%" PRIu64 "}",
               o->client, o->first_seq, o->last_seq, o->attempt, o->events, o->took_us);
    tap_element_end(t);
}

static void on_operations(struct queue_operations *f, void *data)
{
    struct ops *ops = data;
    struct tap *t = ops->t;
    struct queue_operation o;
    if (f->dropped) {
        (void)tap_fail(t, 0, "%" PRIu64 " operations were too many to be told", f->dropped);
    }
    while (ops->left != 0 && queue_operations_next(f, &o) == 1) {
        if (t->options.target && !str_eq(o.group, str_of(t->options.target))) {
            continue;
        }
        (t->options.style.format == RENDER_PRETTY ? line : json)(t, &o);
        ops->left -= ops->left > 0;
        ops->n++;
        ops->moved = true;
    }
}

int ops_run(struct tap *t)
{
    static struct ops ops; // the watch ends with the connection, after this function
    ops = (struct ops){ .t = t, .left = t->options.number };
    int status = tap_connect(t);
    if (status) {
        return status;
    }
    tap_catch_signals(t);
    int rc = queue_client_watch(t->queue, on_operations, &ops);
    if (rc) {
        return tap_fail(t, TAP_UNREACHABLE, "cannot watch: %s", strerror(-rc));
    }
    bool for_ever = t->options.follow || ops.left > 0;
    int64_t end_ms = clock_mono_ms() + t->options.interval_ms;
    while (ops.left != 0 && (rc == 0 || (rc == -ETIMEDOUT && for_ever))) {
        int64_t left_ms = end_ms - clock_mono_ms();
        rc = tap_wait(t, &ops.moved, for_ever ? -1 : left_ms > 0 ? left_ms : 0);
        ops.moved = false;
        (void)tap_flush(t);
    }
    tap_list_end(t);
    return rc == -EINTR && !t->options.follow ? TAP_INTERRUPTED : ops.n ? TAP_OK : TAP_NOTHING;
}
