// SPDX-License-Identifier: MIT
#include "tests/fault/store_sim/queue.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/queue_client.h"
#include "tests/fault/store_sim/model.h"

struct queue_client {
    struct world *w;
    bool up;
    uint64_t request;
    bool answering; // a publish has no answer yet
    int status;     // that it will get
    struct queue_published answer;
    void (*on_published)(int status, const struct queue_published *answer, struct str detail,
                         void *data);
    void *data;
};

static struct queue_client queue;

struct queue_client *queue_begin(struct world *w)
{
    queue = (struct queue_client){ .w = w, .up = true };
    return &queue;
}

bool queue_client_is_up(const struct queue_client *q)
{
    return q->up;
}

uint64_t queue_client_next_request(struct queue_client *q)
{
    return ++q->request;
}

static void keep(struct world *w, const struct queue_entry *entry)
{
    struct event e;
    struct seen_event *seen = &w->events[w->n_events++];
    assert(w->n_events < WORLD_EVENTS);
    *seen = (struct seen_event){ .producer_seq = entry->producer_seq };
    if (event_decode(entry->event, &e)) {
        world_broken(w, "an event cannot be read");
    }
    model.event(w, &e, seen);
}

static void store(struct world *w, const struct queue_publish *f, struct queue_published *answer)
{
    for (size_t i = 0; i < f->n_entries; i++) {
        if (f->entries[i].producer_seq <= w->highest) {
            answer->duplicates++;
            w->counts.duplicates++;
            continue;
        }
        keep(w, &f->entries[i]);
        w->highest = f->entries[i].producer_seq;
        w->counts.events++;
        answer->stored++;
    }
}

int queue_client_publish(struct queue_client *q, uint64_t request, struct str frame,
                         void (*on_published)(int status, const struct queue_published *answer,
                                              struct str detail, void *data),
                         void *data)
{
    static struct queue_publish f;
    struct world *w = q->w;
    struct reader r = reader_of(frame);
    enum queue_frame_type type;
    uint32_t fields;
    assert(!q->answering && q->request == request);
    if (queue_frame_open(&r, &type, &fields) || queue_publish_decode(&r, fields, &f) ||
        !f.producer.p || f.producer.n >= sizeof w->producer) {
        world_broken(w, "a PUBLISH cannot be read");
    }
    if (w->n_events && !str_eq(f.producer, str_of(w->producer))) {
        world_broken(w, "the producer was %s and is %.*s", w->producer, STR_ARG(f.producer));
    }
    memcpy(w->producer, f.producer.p, f.producer.n);
    w->producer[f.producer.n] = '\0';
    q->answer = (struct queue_published){ .request = request, .durable = true };
    q->status = chance_in_1000(&w->chance, 50) ? -ENOSPC : 0;
    if (!q->status) {
        store(w, &f, &q->answer);
    }
    q->answering = true;
    q->on_published = on_published;
    q->data = data;
    return 0;
}

void queue_turn(struct queue_client *q, bool calm, void (*on_up)(void))
{
    if (!q->up) {
        if (calm || chance_in_1000(&q->w->chance, 300)) {
            q->up = true;
            on_up();
        }
    } else if (!calm && chance_in_1000(&q->w->chance, 40)) {
        q->up = false; // what has no answer gets it when it is back, as the client asks again
    } else if (q->answering && (calm || chance_in_1000(&q->w->chance, 500))) {
        q->answering = false;
        q->on_published(q->status, q->status ? NULL : &q->answer, STR(""), q->data);
    }
}
