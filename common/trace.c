// SPDX-License-Identifier: MIT
// traceparent = version "-" trace-id "-" parent-id "-" trace-flags, all lower-case hexadecimal.
#include "common/trace.h"

#include "common/random.h"

#include <assert.h>
#include <errno.h>

#define FLAG_SAMPLED 0x01
#define FLAG_RANDOM 0x02
#define KNOWN_FLAGS (FLAG_SAMPLED | FLAG_RANDOM) // others must be sent as zero

static const char digits[] = "0123456789abcdef";

static bool all_zero(const uint8_t *bytes, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

// Random bytes that are not all zero, because zero means "no id".
static void new_id(uint8_t *bytes, size_t n)
{
    do {
        random_fill(bytes, n);
    } while (all_zero(bytes, n));
}

static char *write_hex(char *to, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    return to;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Reads 2 * n digits; false when one is none (upper case is none).
static bool read_hex(const char *from, uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = digit_value(from[2 * i]);
        int low = digit_value(from[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

void trace_start(struct trace *t, bool sampled)
{
    new_id(t->trace_id, sizeof(t->trace_id));
    new_id(t->span_id, sizeof(t->span_id));
    t->flags = FLAG_RANDOM | (sampled ? FLAG_SAMPLED : 0);
}

void trace_child(struct trace *t, const struct trace *parent)
{
    assert(trace_is_set(parent));
    *t = *parent;
    new_id(t->span_id, sizeof(t->span_id));
}

int trace_parse(struct str s, struct trace *ret_trace)
{
    struct trace t;
    uint8_t version;
    if (s.n < TRACEPARENT_TEXT) {
        return -EINVAL;
    }
    bool shaped = s.p[2] == '-' && s.p[35] == '-' && s.p[52] == '-' && read_hex(s.p, &version, 1) &&
                  read_hex(s.p + 3, t.trace_id, sizeof(t.trace_id)) &&
                  read_hex(s.p + 36, t.span_id, sizeof(t.span_id)) &&
                  read_hex(s.p + 53, &t.flags, 1);
    if (!shaped || version == 0xff) {
        return -EINVAL;
    }
    if (s.n > TRACEPARENT_TEXT && (version == 0 || s.p[TRACEPARENT_TEXT] != '-')) {
        return -EINVAL;
    }
    if (all_zero(t.trace_id, sizeof(t.trace_id)) || all_zero(t.span_id, sizeof(t.span_id))) {
        return -EINVAL;
    }
    t.flags &= KNOWN_FLAGS;
    *ret_trace = t;
    return 0;
}

struct str trace_format(const struct trace *t, char out[TRACEPARENT_TEXT + 1])
{
    char *to = out;
    *to++ = '0';
    *to++ = '0';
    *to++ = '-';
    to = write_hex(to, t->trace_id, sizeof(t->trace_id));
    *to++ = '-';
    to = write_hex(to, t->span_id, sizeof(t->span_id));
    *to++ = '-';
    to = write_hex(to, &t->flags, 1);
    *to = '\0';
    assert(to == out + TRACEPARENT_TEXT);
    return (struct str){ out, TRACEPARENT_TEXT };
}

void trace_id_text(const struct trace *t, char out[TRACE_ID_TEXT + 1])
{
    *write_hex(out, t->trace_id, sizeof(t->trace_id)) = '\0';
}

void span_id_text(const struct trace *t, char out[SPAN_ID_TEXT + 1])
{
    *write_hex(out, t->span_id, sizeof(t->span_id)) = '\0';
}

void trace_set_sampled(struct trace *t, bool sampled)
{
    t->flags = (uint8_t)(sampled ? t->flags | FLAG_SAMPLED : t->flags & ~FLAG_SAMPLED);
}

bool trace_is_sampled(const struct trace *t)
{
    return t->flags & FLAG_SAMPLED;
}

void trace_new_span(uint8_t span_id[8])
{
    new_id(span_id, 8);
}

void trace_hex(const uint8_t *id, size_t n, char *out)
{
    *write_hex(out, id, n) = '\0';
}

bool trace_is_set(const struct trace *t)
{
    return !all_zero(t->trace_id, sizeof(t->trace_id));
}
