// SPDX-License-Identifier: MIT
// The filter language: text, a NUL, a byte, then an event (byte odd) or the data of one (byte even). Whatever the
// text, an error points into it; whatever the event, a filter and its opposite differ, and what is said twice or
// looks at more places says the same.
#include "tests/fuzz/fuzz.h"

#include "proto/queue_frames.h"
#include "services/queue/where.h"

#include <errno.h>

#define STORED_MS INT64_C(1795428000500)
#define MAX_BYTES (1024 * 1024)

struct fuzzed {
    struct str text, event;
    bool sound; // the data is one value of MessagePack, not too deep
    uint64_t seq;
};

// Compiles before + text + middle + text (or nothing) + after. NULL when it is too long for that.
static struct where *combined(struct str text, const char *before, const char *middle, bool twice,
                              const char *after)
{
    struct where *w = NULL;
    struct where_error error = { 0, NULL };
    struct buf b;
    buf_init(&b, MAX_BYTES);
    buf_append_z(&b, before);
    buf_append_str(&b, text);
    buf_append_z(&b, middle);
    if (twice) {
        buf_append_str(&b, text);
    }
    buf_append_z(&b, after);
    struct str exactly = exact(buf_str(&b));
    int status = where_compile(exactly, &w, &error);
    drop(exactly);
    buf_fini(&b);
    if (status == 0) {
        return w;
    }
    REQUIRE(status == -EINVAL && error.reason);
    bool limit = strstr(error.reason, "at most") || strstr(error.reason, "nested");
    REQUIRE(limit); // what else is wrong would have been wrong alone
    return NULL;
}

static bool matches(const struct where *w, const struct fuzzed *f)
{
    return where_matches(w, f->seq, STORED_MS, f->event);
}

static void require_same(const struct fuzzed *f, struct where *w, bool expected)
{
    if (w) {
        REQUIRE(matches(w, f) == expected);
    }
    where_destroy(&w);
}

static void check_text(struct fuzzed *f)
{
    struct where *w = NULL;
    struct where_error error = { SIZE_MAX, NULL };
    struct str text = exact(f->text);
    int status = where_compile(text, &w, &error);
    drop(text);
    if (status) {
        REQUIRE(status == -EINVAL && !w && error.reason && error.at <= f->text.n);
        return;
    }
    bool result = matches(w, f);
    REQUIRE(matches(w, f) == result);
    where_destroy(&w);
    require_same(f, combined(f->text, "not (", ")", false, ""), !result);
    require_same(f, combined(f->text, "not not(", ") and (", true, ")"), result);
    require_same(f, combined(f->text, "(", ") or (", true, ")"), result);
    if (f->sound) { // else it matters how far the data is looked at
        require_same(f,
                     combined(f->text,
                              "(exists .data.a[1] or not exists .data.a[1] and not exists "
                              ".data[2].b) and (",
                              ") or exists .data[2].b and (", true, ")"),
                     result);
    }
}

// The data in an event of its own.
static struct str event_of(struct str data)
{
    struct event e = { .id = STR("01908c3e-7b2a-7c11-9d2e-0123456789ab"),
                       .topic = STR("orders.order.placed"),
                       .key = STR("k"),
                       .subject = STR(""),
                       .source = STR("/s"),
                       .time_ms = STORED_MS - 500,
                       .traceparent = STR(""),
                       .data = data };
    struct buf b;
    buf_init(&b, MAX_BYTES);
    event_encode(&b, &e);
    struct str event = exact(buf_str(&b));
    buf_fini(&b);
    return event;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = { (const char *)data, size };
    const char *nul = size ? memchr(rest.p, 0, rest.n) : NULL;
    size_t n = nul ? (size_t)(nul - rest.p) : rest.n;
    struct fuzzed f = { .text = { rest.p, n } };
    rest = nul ? (struct str){ nul + 1, rest.n - n - 1 } : (struct str){ NULL, 0 };
    uint8_t mode = take_byte(&rest);
    struct str value = rest;
    struct event e;
    f.seq = mode;
    f.event = mode & 1 ? exact(rest) : event_of(rest);
    if (mode & 1) {
        value = event_decode(f.event, &e) == 0 ? e.data : (struct str){ NULL, 0 };
    }
    struct reader r = reader_of(value);
    f.sound = value.n && reader_skip(&r) == 0;
    check_text(&f);
    drop(f.event);
    return 0;
}
