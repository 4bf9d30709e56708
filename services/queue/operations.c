// SPDX-License-Identifier: MIT
#include "services/queue/operations.h"

#include <errno.h>
#include <inttypes.h>

#include "common/clock.h"

void operations_init(struct operations *o, struct clients *clients, void (*on_ready)(void *data),
                     void *data)
{
    *o = (struct operations){ .clients = clients, .on_ready = on_ready, .data = data };
    buf_init(&o->entries, OPERATIONS_TURN_BYTES);
    buf_init(&o->frame, OPERATIONS_TURN_BYTES + 64);
}

void operations_fini(struct operations *o)
{
    buf_fini(&o->entries);
    buf_fini(&o->frame);
    o->n = 0;
}

int operations_watch(struct operations *o, struct client *c, uint64_t subscription)
{
    if (o->n == OPERATIONS_MAX_WATCHERS) {
        return -ENOSPC;
    }
    o->watchers[o->n++] = (struct watcher){ c, subscription, 0 };
    return 0;
}

static void remove_at(struct operations *o, size_t i)
{
    o->watchers[i] = o->watchers[--o->n];
    if (o->n == 0) {
        buf_reset(&o->entries);
        o->n_entries = o->n_dropped = 0;
    }
}

bool operations_unwatch(struct operations *o, const struct client *c, uint64_t subscription)
{
    for (size_t i = 0; i < o->n; i++) {
        if (o->watchers[i].client == c && o->watchers[i].subscription == subscription) {
            remove_at(o, i);
            return true;
        }
    }
    return false;
}

void operations_forget(struct operations *o, const struct client *c)
{
    for (size_t i = o->n; i-- > 0;) {
        if (o->watchers[i].client == c) {
            remove_at(o, i);
        }
    }
}

// What concerns events comes as often as they do; who comes and goes must not be lost in it.
static void log_operation(const struct queue_operation *op)
{
    static struct log_site events, members;
    log_write_at(op->first_seq ? &events : &members, LEVEL_DEBUG, NULL,
                 "%.*s: client %" PRIu64 ", group \"%.*s\", %u events, %" PRIu64 " to %" PRIu64
                 ", attempt %u",
                 STR_ARG(op->what), op->client, STR_ARG(op->group), op->events, op->first_seq,
                 op->last_seq, op->attempt);
}

void operations_tell(struct operations *o, struct queue_operation op)
{
    if (log_enabled(LEVEL_DEBUG)) {
        log_operation(&op);
    }
    if (o->n == 0) {
        return;
    }
    size_t before = o->entries.len;
    op.at_ms = clock_wall_ms();
    if (o->n_entries < QUEUE_MAX_BATCH) {
        queue_operations_entry(&o->entries, &op);
    }
    if (o->n_entries == QUEUE_MAX_BATCH || !buf_ok(&o->entries)) {
        o->entries.error = 0;
        o->entries.len = before;
        o->n_dropped++;
        return;
    }
    if (o->n_entries++ == 0) {
        o->on_ready(o->data);
    }
}

void operations_flush(struct operations *o)
{
    for (size_t i = 0; o->n_entries && i < o->n; i++) {
        struct watcher *w = &o->watchers[i];
        buf_reset(&o->frame);
        size_t mark = queue_operations_begin(&o->frame, w->subscription, w->dropped + o->n_dropped);
        buf_append_str(&o->frame, buf_str(&o->entries));
        queue_operations_end(&o->frame, mark, o->n_entries);
        bool sent = buf_ok(&o->frame) && clients_have_room(o->clients, w->client) &&
                    clients_send(o->clients, w->client, buf_str(&o->frame)) == 0;
        w->dropped = sent ? 0 : w->dropped + o->n_dropped + o->n_entries;
    }
    buf_reset(&o->entries);
    o->n_entries = o->n_dropped = 0;
}
