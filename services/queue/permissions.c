// SPDX-License-Identifier: MIT
#include "services/queue/permissions.h"

#include "common/key_pairs.h"
#include "proto/reader.h"

#include <string.h>

// Identities that are no services; the last line is for all others.
static const struct rule {
    const char *identity; // NULL: any
    bool admin;           // everything
    bool own;             // publishes under its own name and works for groups of that name
    const char *reads;    // topics must be below this; NULL: none, "": all
} rules[] = {
    { "tap", true, true, "" },
    { KEY_PAIRS_LEGACY, true, true, "" }, // of older deployments: everything, as it always was
    { "gateway", false, false, "users" },
    { "queue", false, false, NULL },
    { NULL, false, true, "" },
};

static const struct rule *rule_of(const char *identity)
{
    static const struct rule on_ipc = { NULL, true, true, "" };
    const struct rule *r = identity ? rules : &on_ipc;
    while (r->identity && strcmp(r->identity, identity) != 0) {
        r++;
    }
    return r;
}

// Whether a dotted name begins with this token and has more behind it, or may end there.
static bool is_below(struct str name, const char *token, bool or_equal)
{
    struct str t = str_of(token);
    return t.n > 0 && str_starts(name, t) &&
           (name.n == t.n ? or_equal : name.p[t.n] == '.' && name.n > t.n + 1);
}

// Whether it may use a name of topics, producers or groups: every one, or those of its own.
static bool may_use(const char *identity, struct str name, bool or_equal)
{
    const struct rule *r = rule_of(identity);
    return r->admin || (r->own && is_below(name, identity, or_equal));
}

bool permissions_admin(const char *identity)
{
    return rule_of(identity)->admin;
}

bool permissions_publish(const char *identity, struct str topic)
{
    return may_use(identity, topic, false);
}

bool permissions_producer(const char *identity, struct str producer)
{
    return !producer.p || may_use(identity, producer, false);
}

bool permissions_group(const char *identity, struct str group)
{
    return may_use(identity, group, true);
}

bool permissions_read(const char *identity, const struct queue_subscribe *f)
{
    const char *reads = rule_of(identity)->reads;
    if (!reads || !*reads) {
        return reads != NULL;
    }
    bool ok = f->n_filters > 0; // none: all topics
    for (size_t i = 0; ok && i < f->n_filters; i++) {
        ok = is_below(f->filters[i], reads, false);
    }
    return ok;
}

struct str permissions_group_of(struct str arguments)
{
    struct reader r = reader_of(arguments);
    struct str name, group = { NULL, 0 };
    uint32_t n;
    if (reader_map(&r, &n)) {
        return group;
    }
    for (; n > 0 && reader_str(&r, &name) == 0; n--) {
        // Two of them: none, so that nobody has to agree which one counts.
        bool is_group = str_eq(name, STR("group"));
        if ((is_group && group.p) || (is_group ? reader_str(&r, &group) : reader_skip(&r))) {
            return (struct str){ NULL, 0 };
        }
    }
    return group;
}
