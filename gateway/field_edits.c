// SPDX-License-Identifier: MIT
#include "gateway/field_edits.h"

#include <errno.h>

#define HOP "belongs to one connection"
#define FRAMING "frames the message"
#define OURS "is the gateway's own"

struct refusal {
    struct str name; // a last '-' stands for every name that begins so
    const char *why;
};

static const struct refusal both[] = {
    { STR_INIT("connection"), HOP },       { STR_INIT("keep-alive"), HOP },
    { STR_INIT("proxy-"), HOP },           { STR_INIT("te"), HOP },
    { STR_INIT("trailer"), HOP },          { STR_INIT("transfer-encoding"), FRAMING },
    { STR_INIT("upgrade"), HOP },          { STR_INIT("content-length"), FRAMING },
    { STR_INIT("content-type"), FRAMING }, { STR_INIT("content-encoding"), FRAMING },
    { STR_INIT("x-request-id"), OURS },    { STR_INIT("access-control-"), "is for `cors`" },
};

static const struct refusal in_requests[] = {
    { STR_INIT("host"), OURS },
    { STR_INIT("expect"), FRAMING },
    { STR_INIT("authorization"), OURS },
    { STR_INIT("accept"), OURS },
    { STR_INIT("accept-encoding"), OURS },
    { STR_INIT("origin"), "is for `cors`" },
    { STR_INIT("traceparent"), "is for `trace`" },
    { STR_INIT("tracestate"), "is for `trace`" },
    { STR_INIT("if-match"), "decides what is written" },
    { STR_INIT("if-none-match"), "decides what is sent" },
    { STR_INIT("idempotency-key"), "decides what is sent again" },
    { STR_INIT("forwarded"), OURS },
    { STR_INIT("x-forwarded-"), OURS },
};

static const struct refusal in_answers[] = {
    { STR_INIT("date"), OURS },
    { STR_INIT("etag"), "names the representation" },
    { STR_INIT("vary"), OURS },
    { STR_INIT("allow"), OURS },
    { STR_INIT("server-timing"), OURS },
    { STR_INIT("www-authenticate"), OURS },
    { STR_INIT("retry-after"), OURS },
    { STR_INIT("ratelimit"), OURS },
    { STR_INIT("ratelimit-"), OURS },
    { STR_INIT("deprecation"), "is for the key `deprecation`" },
    { STR_INIT("sunset"), "is for the key `sunset`" },
    { STR_INIT("strict-transport-security"), "is for SLUICE_HSTS" },
    { STR_INIT("content-security-policy"), OURS },
    { STR_INIT("cross-origin-resource-policy"), OURS },
    { STR_INIT("referrer-policy"), OURS },
    { STR_INIT("x-content-type-options"), OURS },
    { STR_INIT("x-frame-options"), OURS },
};

static const char *look_up(const struct refusal *table, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++) {
        struct str refused = table[i].name;
        bool prefix = refused.p[refused.n - 1] == '-';
        if (prefix ? str_starts(name, refused) : str_eq(name, refused)) {
            return table[i].why;
        }
    }
    return NULL;
}

#define LOOK_UP(table, name) look_up(table, sizeof table / sizeof *table, name)

const char *field_edits_refusal(struct str name, bool response)
{
    const char *why = LOOK_UP(both, name);
    return why ? why : response ? LOOK_UP(in_answers, name) : LOOK_UP(in_requests, name);
}

int field_edits_apply(const struct field_edits *e, size_t from, struct str *name)
{
    for (size_t i = from; i < e->n; i++) {
        const struct field_edit *edit = &e->edits[i];
        if (!str_eq(edit->name, *name)) {
            continue;
        }
        if (edit->kind != FIELD_RENAME) {
            return -ENOENT;
        }
        *name = edit->value;
    }
    return 0;
}

bool field_edits_set(const struct field_edits *e, struct str name)
{
    for (size_t i = 0; i < e->n; i++) {
        if (e->edits[i].kind == FIELD_SET && str_eq(e->edits[i].name, name)) {
            return true;
        }
    }
    return false;
}
