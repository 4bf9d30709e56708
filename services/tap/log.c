// SPDX-License-Identifier: MIT
// What the client delivers in its callbacks is put into an inbox; it is handed out between two
// turns of the loop, so that who gets it may turn the loop as well.
#include "services/tap/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define INBOX_BYTES (64 * 1024 * 1024) // what comes in one turn of the loop stays far below

struct head {
    uint64_t seq;
    int64_t stored_ms;
    size_t n;
};

struct reading {
    struct tap *t;
    struct queue_subscription *s; // NULL: ended
    struct buf inbox;             // heads, each followed by its event
    uint32_t n_events;
    bool moved; // something came
    bool ended, current;
    bool refused;
    char reason[256];
};

static void on_event(struct queue_subscription *s, uint64_t seq, int64_t stored_ms,
                     struct str encoded, void *data)
{
    struct reading *r = data;
    struct head head = { seq, stored_ms, encoded.n };
    (void)s;
    buf_append(&r->inbox, &head, sizeof head);
    buf_append_str(&r->inbox, encoded);
    r->n_events++;
    r->moved = true;
}

static void on_caught_up(struct queue_subscription *s, uint64_t next_seq, void *data)
{
    struct reading *r = data;
    (void)s, (void)next_seq;
    r->moved = r->current = true;
}

static void on_lost(struct queue_subscription *s, uint64_t first, uint64_t last, void *data)
{
    struct reading *r = data;
    (void)s;
    r->moved = r->t->damaged = true;
    (void)fprintf(stderr, "LOST %" PRIu64 "..%" PRIu64 "\n", first, last);
}

static void on_ended(struct queue_subscription *s, struct str reason, struct str detail,
                     uint64_t next_seq, void *data)
{
    struct reading *r = data;
    (void)s, (void)next_seq;
    r->s = NULL;
    r->moved = r->ended = true;
    r->refused = !str_eq(reason, STR("end")) && !str_eq(reason, STR("until"));
    (void)snprintf(r->reason, sizeof r->reason, "%.*s%s%.*s", STR_ARG(reason), detail.n ? ": " : "",
                   STR_ARG(detail)); // cut off if it is longer
}

static int hand_out(struct reading *r, log_fn f, void *data)
{
    struct buf taken = r->inbox;
    uint32_t n = r->n_events;
    int rc = 0;
    if (!buf_ok(&taken)) {
        return tap_fail(r->t, TAP_UNREACHABLE, "events come faster than memory allows");
    }
    buf_init(&r->inbox, INBOX_BYTES); // more may come while f waits
    r->n_events = 0;
    for (size_t at = 0; rc == 0 && at < taken.len;) {
        struct head head;
        memcpy(&head, taken.data + at, sizeof head);
        at += sizeof head;
        struct log_entry e = { head.seq, head.stored_ms, { taken.data + at, head.n } };
        rc = f(r->t, &e, data);
        at += head.n;
    }
    buf_fini(&taken);
    if (r->s && r->t->queue && n) {
        queue_subscription_grant(r->s, n);
    }
    return rc;
}

static int read_all(struct reading *r, bool follow, log_fn f,
                    int (*on_pause)(struct tap *t, void *data), void *data)
{
    struct tap *t = r->t;
    for (;;) {
        int rc = r->n_events ? 0 : tap_wait(t, &r->moved, t->options.timeout_ms);
        if (rc == -ETIMEDOUT && (t->up || (follow && r->current))) {
            continue; // it looks for what matches; or it comes back, and the client goes on there
        }
        if (rc) {
            return tap_waited(t, rc);
        }
        r->moved = false;
        rc = hand_out(r, f, data);
        rc = rc == 0 && on_pause ? on_pause(t, data) : rc;
        if (rc) {
            return rc == LOG_STOP ? TAP_OK : rc;
        }
        if (r->ended && r->n_events == 0) {
            return r->refused ? tap_fail(t, TAP_USAGE, "the queue refuses: %s", r->reason) : TAP_OK;
        }
    }
}

int log_read(struct tap *t, const struct queue_subscribe *wanted, log_fn f,
             int (*on_pause)(struct tap *t, void *data), void *data)
{
    struct reading r = { .t = t };
    struct queue_subscribe options = *wanted;
    struct queue_subscription_callbacks callbacks = { on_event, NULL,     on_caught_up,
                                                      on_lost,  on_ended, &r };
    options.credit = options.credit ? options.credit : TAP_CREDIT;
    buf_init(&r.inbox, INBOX_BYTES);
    int rc = queue_client_subscribe(t->queue, &options, &callbacks, &r.s);
    rc = rc ? tap_fail(t, TAP_UNREACHABLE, "cannot subscribe: %s", strerror(-rc))
            : read_all(&r, options.follow, f, on_pause, data);
    if (r.s && t->queue) {
        queue_subscription_close(&r.s);
    }
    buf_fini(&r.inbox);
    return rc;
}

static void set_tail(const struct options *o, struct queue_subscribe *s)
{
    int64_t n = o->number >= 0 ? o->number : TAP_TAIL;
    if (n == 0) {
        s->from = QUEUE_FROM_END;
    } else {
        s->from = QUEUE_FROM_LAST;
        s->from_value = (uint64_t)n;
    }
}

bool log_wanted(const struct options *o, struct queue_subscribe *s)
{
    *s = (struct queue_subscribe){ .n_filters = o->n_filters,
                                   .key = str_of(o->key),
                                   .where = str_of(o->where),
                                   .follow = o->follow };
    memcpy(s->filters, o->filters, sizeof o->filters);
    if (o->has_range) {
        s->from = o->range.from;
        s->from_value = o->range.value;
        s->until_seq = o->range.until_seq;
        s->until_ms = o->range.until_ms;
        return !o->range.empty;
    }
    if (o->since_ms >= 0) {
        s->from = QUEUE_FROM_TIME;
        s->from_value = (uint64_t)o->since_ms;
    } else if (o->command == TAP_TAIL_EVENTS) {
        set_tail(o, s);
    }
    return true;
}
