// SPDX-License-Identifier: MIT
#include "gateway/worker_table.h"

#include <assert.h>

static const char *const state_names[] = {
    [WORKER_WELCOMED] = "welcomed",
    [WORKER_SERVING] = "serving",
    [WORKER_DRAINING] = "draining",
};

static const char *const role_names[] = {
    [FRAME_ROLE_ANY] = "any",
    [FRAME_ROLE_WRITER] = "writer",
    [FRAME_ROLE_READER] = "reader",
};

void worker_move(struct worker *w, enum worker_state state)
{
    assert(state > w->state); // the drawing has no way back
    w->state = state;
}

const char *worker_state_name(enum worker_state state)
{
    return state_names[state];
}

const char *worker_role_name(enum frame_role role)
{
    return role_names[role];
}

static size_t home_of(uint32_t peer)
{
    return peer % WORKER_SLOTS; // libzmq counts them up from a random number
}

struct worker *worker_table_find(const struct worker_table *t, uint32_t peer)
{
    size_t i = home_of(peer);
    while (t->slots[i] && t->slots[i]->peer != peer) {
        i = (i + 1) % WORKER_SLOTS; // ends: half of the slots are empty
    }
    return t->slots[i];
}

struct worker *worker_table_find_fd(const struct worker_table *t, int fd)
{
    for (size_t i = 0; i < WORKER_SLOTS; i++) {
        if (t->slots[i] && t->slots[i]->fd == fd) {
            return t->slots[i];
        }
    }
    return NULL;
}

struct worker *worker_table_find_instance(const struct worker_table *t, struct str service,
                                          struct str instance)
{
    for (size_t i = 0; i < WORKER_SLOTS; i++) {
        struct worker *w = t->slots[i];
        if (w && str_eq(service, str_of(w->table->service->name)) &&
            str_eq(instance, str_of(w->instance))) {
            return w;
        }
    }
    return NULL;
}

void worker_table_add(struct worker_table *t, struct worker *w)
{
    assert(t->n < WORKERS_MAX && !worker_table_find(t, w->peer));
    size_t i = home_of(w->peer);
    while (t->slots[i]) {
        i = (i + 1) % WORKER_SLOTS;
    }
    t->slots[i] = w;
    t->n++;
}

void worker_table_remove(struct worker_table *t, const struct worker *w)
{
    size_t i = home_of(w->peer);
    while (t->slots[i] != w) {
        assert(t->slots[i]);
        i = (i + 1) % WORKER_SLOTS;
    }
    t->slots[i] = NULL;
    t->n--;
    // Those behind it may have been pushed away from their home by it: they are put in again.
    for (i = (i + 1) % WORKER_SLOTS; t->slots[i]; i = (i + 1) % WORKER_SLOTS) {
        struct worker *moved = t->slots[i];
        t->slots[i] = NULL;
        t->n--;
        worker_table_add(t, moved);
    }
}
