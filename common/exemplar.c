// SPDX-License-Identifier: MIT
// A sequence lock with one attempt on either side. Stores of the fields release and loads of them
// acquire, so a reader that sees one field of a newer writing sees its odd version, too; stand-alone
// fences would do the same, but ThreadSanitizer does not know them.
#include "common/exemplar.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

void exemplar_set(struct exemplar *e, const struct trace *trace, int64_t value_us, int64_t time_us)
{
    assert(value_us >= 0);
    uint64_t id[2];
    static_assert(sizeof id == sizeof trace->trace_id, "a trace id is two numbers");
    memcpy(id, trace->trace_id, sizeof id);
    uint32_t version = atomic_load_explicit(&e->version, memory_order_relaxed);
    if (version % 2 != 0 ||
        !atomic_compare_exchange_strong_explicit(&e->version, &version, version + 1,
                                                 memory_order_acquire, memory_order_relaxed)) {
        return;
    }
    atomic_store_explicit(&e->trace_id[0], id[0], memory_order_release);
    atomic_store_explicit(&e->trace_id[1], id[1], memory_order_release);
    atomic_store_explicit(&e->value_us, value_us, memory_order_release);
    atomic_store_explicit(&e->time_us, time_us, memory_order_release);
    uint32_t next = version + 2;
    atomic_store_explicit(&e->version, next ? next : 2, memory_order_release); // 0 is for nothing
}

// Takes a copy. False: there is none, or it changed meanwhile.
static bool read_whole(const struct exemplar *e, uint64_t ret_id[2], int64_t *ret_value_us,
                       int64_t *ret_time_us)
{
    uint32_t version = atomic_load_explicit(&e->version, memory_order_acquire);
    ret_id[0] = atomic_load_explicit(&e->trace_id[0], memory_order_acquire);
    ret_id[1] = atomic_load_explicit(&e->trace_id[1], memory_order_acquire);
    *ret_value_us = atomic_load_explicit(&e->value_us, memory_order_acquire);
    *ret_time_us = atomic_load_explicit(&e->time_us, memory_order_acquire);
    return version != 0 && version % 2 == 0 &&
           version == atomic_load_explicit(&e->version, memory_order_relaxed);
}

void exemplar_append(const struct exemplar *e, struct buf *b)
{
    uint64_t id[2];
    int64_t value_us, time_us;
    if (!read_whole(e, id, &value_us, &time_us)) {
        return;
    }
    struct trace trace = { .flags = 0 };
    memcpy(trace.trace_id, id, sizeof id);
    char text[TRACE_ID_TEXT + 1];
    trace_id_text(&trace, text);
    buf_printf(b, " # {trace_id=\"%s\"} %" PRId64 ".%06d %" PRId64 ".%03d", text,
               value_us / 1000000, (int)(value_us % 1000000), time_us / 1000000,
               (int)(time_us / 1000 % 1000));
}
