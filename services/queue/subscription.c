// SPDX-License-Identifier: MIT
#include "services/queue/subscription.h"

#include <errno.h>
#include <stdlib.h>

#include "services/queue/format.h"

// Copies s to *at and moves *at behind it.
static struct str copy(struct str s, char **at)
{
    struct str c = { *at, s.n };
    if (s.n) {
        memcpy(*at, s.p, s.n);
    }
    *at += s.n;
    return c;
}

int subscription_new(const struct queue_subscribe *f, struct subscription **ret_subscription,
                     struct where_error *ret_error)
{
    size_t bytes = f->key.n + 1;
    for (size_t i = 0; i < f->n_filters; i++) {
        bytes += f->filters[i].n;
    }
    struct where *where = NULL;
    int status = f->where.p ? where_compile(f->where, &where, ret_error) : 0;
    if (status) {
        return status;
    }
    struct subscription *s = calloc(1, sizeof *s);
    char *at = malloc(bytes);
    if (!s || !at) {
        free(s);
        free(at);
        where_destroy(&where);
        return -ENOMEM;
    }
    s->wanted = *f;
    s->text = at;
    s->where = where;
    s->wanted.where = (struct str){ NULL, 0 }; // its program is what counts from here on
    for (size_t i = 0; i < f->n_filters; i++) {
        s->wanted.filters[i] = copy(f->filters[i], &at);
    }
    if (f->key.p) {
        s->wanted.key = copy(f->key, &at);
    }
    s->credit = f->credit;
    *ret_subscription = s;
    return 0;
}

void subscription_destroy(struct subscription **s)
{
    if (*s) {
        where_destroy(&(*s)->where);
        free((*s)->text);
        free(*s);
        *s = NULL;
    }
}

static bool topic_wanted(const struct subscription *s, struct str topic)
{
    for (size_t i = 0; i < s->wanted.n_filters; i++) {
        if (topic_matches(s->wanted.filters[i], topic)) {
            return true;
        }
    }
    return s->wanted.n_filters == 0 && !topic_is_own(topic);
}

static bool route_matches(const struct subscription *s, struct str event)
{
    struct str topic, key;
    if (s->takes_all) {
        return true;
    }
    if (event_decode_route(event, &topic, &key)) {
        return false; // was checked when it was published
    }
    return (!s->wanted.key.p || str_eq(s->wanted.key, key)) && topic_wanted(s, topic);
}

bool subscription_matches(const struct subscription *s, const struct queue_event_entry *e)
{
    return route_matches(s, e->event) &&
           (!s->where || where_matches(s->where, e->seq, e->stored_ms, e->event));
}

uint64_t subscription_topics(struct subscription *s, const struct catalog *catalog)
{
    if (s->topics_made != catalog->topics_made) {
        size_t at = 0;
        struct topic *t;
        s->topics = 0;
        s->takes_all =
            s->wanted.n_filters == 0 && !s->wanted.key.p && !s->where && catalog->n_own_topics == 0;
        while ((t = catalog_next_topic(catalog, &at))) {
            s->topics |= topic_wanted(s, t->key.name) ? t->bit : 0;
        }
        s->topics_made = catalog->topics_made;
    }
    return s->topics;
}
