// SPDX-License-Identifier: MIT
// Publishing of a queue client. A frame stays in the list until it is answered, and is sent again on
// each new connection before anything that was published later.
#include "common/queue_client_impl.h"

#include "common/zsocket.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

// A frame of single events is sent before the end of the turn when it has grown to this: large
// enough for the queue to be busy with, and small enough to be one message.
#define GATHER_BYTES (256 * 1024)

// Whoever published a single event.
struct waiter {
    void (*on_stored)(int status, uint64_t seq, bool durable, struct str detail, void *data);
    void *data;
};

// One PUBLISH frame: of a caller (on_published), or of gathered events (waiters).
struct publish {
    struct publish *next;
    uint64_t request;
    char *frame; // owned
    size_t n;
    void (*on_published)(int status, const struct queue_published *answer, struct str detail,
                         void *data);
    void *data;
    struct waiter *waiters; // owned
    uint32_t n_waiters;
};

void queue_producer_init(struct queue_producer *p)
{
    *p = (struct queue_producer){ .last = &p->first };
    // Entries until GATHER_BYTES are reached, and one event that goes beyond.
    buf_init(&p->gathered, GATHER_BYTES + QUEUE_MAX_EVENT_BYTES + 64);
}

void queue_producer_fini(struct queue_producer *p)
{
    assert(!p->first && p->n_gathered == 0);
    buf_fini(&p->gathered);
    free(p->waiters);
}

// --- Room

static bool has_room(const struct queue_producer *p, size_t bytes)
{
    return p->n < QUEUE_CLIENT_MAX_PUBLISHES && p->n_events < QUEUE_CLIENT_MAX_EVENTS &&
           (p->bytes + p->gathered.len == 0 ||
            p->bytes + p->gathered.len + bytes <= QUEUE_CLIENT_MAX_PUBLISH_BYTES);
}

static void tell_room(struct queue_client *c)
{
    struct queue_producer *p = &c->producer;
    if (p->wants_room && !c->closed && p->n <= QUEUE_CLIENT_MAX_PUBLISHES / 2 &&
        p->n_events <= QUEUE_CLIENT_MAX_EVENTS / 2 &&
        p->bytes <= QUEUE_CLIENT_MAX_PUBLISH_BYTES / 2) {
        p->wants_room = false;
        if (p->on_room) {
            p->on_room(c, c->callbacks.data);
        }
    }
}

void queue_client_set_on_room(struct queue_client *c,
                              void (*on_room)(struct queue_client *c, void *data))
{
    c->producer.on_room = on_room;
}

// --- The list

static void append(struct queue_producer *p, struct publish *f)
{
    *p->last = f;
    p->last = &f->next;
    p->unsent = p->unsent ? p->unsent : f;
    p->n++;
    p->bytes += f->n;
}

// Takes the frame of this request out of the list; NULL: there is none.
static struct publish *take(struct queue_producer *p, uint64_t request)
{
    for (struct publish **at = &p->first; *at; at = &(*at)->next) {
        struct publish *found = *at;
        if (found->request == request) {
            *at = found->next;
            p->last = p->last == &found->next ? at : p->last;
            p->unsent = p->unsent == found ? found->next : p->unsent;
            p->n--;
            p->bytes -= found->n;
            return found;
        }
    }
    return NULL;
}

static void free_publish(struct publish *f)
{
    free(f->waiters);
    free(f->frame);
    free(f);
}

// Tells whoever waits for it, and frees it. The list has let go of it: a callback may publish more.
static void end(struct queue_client *c, struct publish *f, int status,
                const struct queue_published *answer, struct str detail)
{
    assert((status == 0) == (answer != NULL));
    c->producer.n_events -= f->n_waiters;
    if (f->on_published) {
        f->on_published(status, answer, detail, f->data);
    }
    bool all = answer && answer->stored == f->n_waiters; // without a producer it is always so
    for (uint32_t i = 0; i < f->n_waiters; i++) {
        f->waiters[i].on_stored(status, all ? answer->first_seq + i : 0, answer && answer->durable,
                                detail, f->waiters[i].data);
    }
    free_publish(f);
}

void queue_producer_send(struct queue_client *c)
{
    struct queue_producer *p = &c->producer;
    while (c->up && p->unsent) {
        if (zsocket_send(c->socket, 0, (struct str){ p->unsent->frame, p->unsent->n })) {
            return; // again at the next tick
        }
        p->unsent = p->unsent->next;
    }
}

void queue_producer_down(struct queue_client *c)
{
    c->producer.unsent = c->producer.first;
}

void queue_producer_take_published(struct queue_client *c, const struct queue_published *answer)
{
    struct publish *f = take(&c->producer, answer->request);
    if (f) {
        end(c, f, 0, answer, STR(""));
        tell_room(c);
    }
}

bool queue_producer_take_refused(struct queue_client *c, uint64_t request, int status,
                                 struct str detail)
{
    struct publish *f = take(&c->producer, request);
    if (f) {
        end(c, f, status, NULL, detail);
        tell_room(c);
    }
    return f != NULL;
}

void queue_producer_cancel(struct queue_client *c)
{
    queue_producer_flush(c);
    struct queue_producer *p = &c->producer;
    while (p->first) {
        end(c, take(p, p->first->request), -ECANCELED, NULL, STR(""));
    }
    // Memory was short and they could not be made a frame.
    uint32_t n = p->n_gathered;
    p->n_gathered = 0;
    p->n_events -= n;
    for (uint32_t i = 0; i < n; i++) {
        p->waiters[i].on_stored(-ECANCELED, 0, false, STR(""), p->waiters[i].data);
    }
}

// --- Batches

int queue_client_publish(struct queue_client *c, uint64_t request, struct str frame,
                         void (*on_done)(int status, const struct queue_published *answer,
                                         struct str detail, void *data),
                         void *data)
{
    struct queue_producer *p = &c->producer;
    assert(request && request <= c->last_request && on_done);
    if (c->closed || !has_room(p, frame.n)) {
        p->wants_room = true;
        return -EAGAIN;
    }
    struct publish *f = calloc(1, sizeof *f);
    char *copy = malloc(frame.n);
    if (!f || !copy) {
        free(f);
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy, frame.p, frame.n);
    *f = (struct publish){
        .request = request, .frame = copy, .n = frame.n, .on_published = on_done, .data = data
    };
    queue_producer_flush(c); // what was published before goes before
    append(p, f);
    queue_producer_send(c);
    return 0;
}

// --- Single events

// Makes a frame of what was gathered. When memory is short it stays gathered until the next tick.
void queue_producer_flush(struct queue_client *c)
{
    struct queue_producer *p = &c->producer;
    struct publish *f = p->n_gathered ? calloc(1, sizeof *f) : NULL;
    if (!f) {
        return;
    }
    struct buf b;
    uint64_t request = queue_client_next_request(c);
    buf_init(&b, QUEUE_MAX_FRAME_BYTES);
    queue_publish_begin(&b, request, (struct str){ NULL, 0 }, p->n_gathered);
    buf_append_str(&b, buf_str(&p->gathered));
    if (!buf_ok(&b)) {
        buf_fini(&b);
        free(f);
        return;
    }
    *f = (struct publish){ .request = request,
                           .frame = b.data, // the frame's from here on
                           .n = b.len,
                           .waiters = p->waiters,
                           .n_waiters = p->n_gathered };
    p->waiters = NULL;
    p->n_gathered = 0;
    buf_reset(&p->gathered);
    append(p, f);
    queue_producer_send(c);
}

// Room for one more waiter: doubles, since most turns publish few events.
static int reserve_waiter(struct queue_producer *p)
{
    uint32_t n = p->n_gathered;
    if (p->waiters && (n & (n - 1)) != 0) {
        return 0; // capacity is the next power of two
    }
    struct waiter *grown = realloc(p->waiters, (n ? 2 * (size_t)n : 1) * sizeof *grown);
    if (!grown) {
        return -ENOMEM;
    }
    p->waiters = grown;
    return 0;
}

int queue_client_publish_event(struct queue_client *c, const struct event *e,
                               void (*on_stored)(int status, uint64_t seq, bool durable,
                                                 struct str detail, void *data),
                               void *data)
{
    struct queue_producer *p = &c->producer;
    assert(on_stored);
    if (!topic_valid(e->topic) || e->key.n > QUEUE_MAX_KEY) {
        return -EINVAL;
    }
    buf_reset(&c->out);
    event_encode(&c->out, e);
    if (buf_error(&c->out) || c->out.len > QUEUE_MAX_EVENT_BYTES) {
        return buf_error(&c->out) == -ENOMEM ? -ENOMEM : -EMSGSIZE;
    }
    if (p->n_gathered == QUEUE_MAX_BATCH || p->gathered.len >= GATHER_BYTES) {
        queue_producer_flush(c);
    }
    if (c->closed || p->n_gathered == QUEUE_MAX_BATCH || p->gathered.len >= GATHER_BYTES ||
        !has_room(p, c->out.len)) {
        p->wants_room = true;
        return -EAGAIN;
    }
    size_t before = p->gathered.len;
    int rc = reserve_waiter(p);
    if (!rc) {
        queue_publish_entry(&p->gathered, 0, buf_str(&c->out));
        rc = buf_error(&p->gathered);
    }
    if (rc) {
        p->gathered.len = before;
        p->gathered.error = 0;
        return rc;
    }
    p->waiters[p->n_gathered++] = (struct waiter){ on_stored, data };
    p->n_events++;
    queue_client_gather(c);
    return 0;
}
