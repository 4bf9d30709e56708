// SPDX-License-Identifier: MIT
#include "gateway/response.h"

#include "gateway/limits.h"
#include "gateway/page_file.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define RESERVED_BODY_BYTES 4096 // any problem of our own fits, also when there is no more memory

// An answer of an API is data: nothing in it is to be run, framed, guessed at, or read by the pages
// of another site (OWASP REST Security). What may be read across origins, CORS allows, which this
// Cross-Origin-Resource-Policy does not stand in the way of.
#define DATA_POLICY "default-src 'none'; frame-ancestors 'none'"

#define SECURITY_FIELDS                                                                            \
    "X-Content-Type-Options: nosniff\r\n"                                                          \
    "Content-Security-Policy: %s\r\n"                                                              \
    "X-Frame-Options: DENY\r\n"                                                                    \
    "Referrer-Policy: no-referrer\r\n"                                                             \
    "Cross-Origin-Resource-Policy: same-origin\r\n"

int response_init(struct response *r, int64_t hsts_s)
{
    *r = (struct response){ .hsts_s = hsts_s, .date_s = -1 };
    buf_init(&r->head, RESPONSE_HEAD_BYTES);
    buf_init(&r->body, RESPONSE_MAX_BODY);
    r->body.wipes = true;
    return buf_reserve(&r->head, RESPONSE_HEAD_BYTES) && buf_reserve(&r->body, RESERVED_BODY_BYTES)
               ? 0
               : -ENOMEM;
}

void response_fini(struct response *r)
{
    buf_fini(&r->head);
    buf_fini(&r->body);
}

// The phrases are for people only (RFC 9112 section 4); other statuses go without one.
static struct str status_line(int status)
{
    switch (status) {
    case 200:
        return STR("HTTP/1.1 200 OK\r\n");
    case 201:
        return STR("HTTP/1.1 201 Created\r\n");
    case 204:
        return STR("HTTP/1.1 204 No Content\r\n");
    case 304:
        return STR("HTTP/1.1 304 Not Modified\r\n");
    case 400:
        return STR("HTTP/1.1 400 Bad Request\r\n");
    case 401:
        return STR("HTTP/1.1 401 Unauthorized\r\n");
    case 403:
        return STR("HTTP/1.1 403 Forbidden\r\n");
    case 404:
        return STR("HTTP/1.1 404 Not Found\r\n");
    case 405:
        return STR("HTTP/1.1 405 Method Not Allowed\r\n");
    case 409:
        return STR("HTTP/1.1 409 Conflict\r\n");
    case 422:
        return STR("HTTP/1.1 422 Unprocessable Content\r\n");
    case 503:
        return STR("HTTP/1.1 503 Service Unavailable\r\n");
    default:
        return (struct str){ NULL, 0 };
    }
}

static void write_fields(struct response_fields *f, const char *date, const char *policy,
                         int64_t hsts_s)
{
    int n = snprintf(f->text, sizeof f->text, "Date: %s\r\n" SECURITY_FIELDS, date, policy);
    if (hsts_s > 0) {
        n += snprintf(f->text + n, sizeof f->text - (size_t)n,
                      "Strict-Transport-Security: max-age=%" PRId64 "; includeSubDomains\r\n",
                      hsts_s);
    }
    assert(n > 0 && (size_t)n < sizeof f->text);
    f->n = (size_t)n;
}

// IMF-fixdate, RFC 9110 section 5.6.7.
static void refresh_common(struct response *r, int64_t second)
{
    struct tm tm;
    char date[40];
    time_t t = (time_t)second;
    if (!gmtime_r(&t, &tm) || !strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm)) {
        date[0] = '\0'; // years beyond any clock
    }
    write_fields(&r->data, date, DATA_POLICY, r->hsts_s);
    write_fields(&r->page, date, PAGE_POLICY, r->hsts_s);
    r->date_s = second;
}

static void begin(struct response *r, int status, int64_t wall_ms,
                  const struct response_fields *fields)
{
    buf_reset(&r->head);
    buf_reset(&r->body);
    if (wall_ms / 1000 != r->date_s) {
        refresh_common(r, wall_ms / 1000);
    }
    struct str line = status_line(status);
    if (line.p) {
        buf_append_str(&r->head, line);
    } else {
        buf_printf(&r->head, "HTTP/1.1 %03d \r\n", status);
    }
    buf_append(&r->head, fields->text, fields->n);
}

void response_begin(struct response *r, int status, int64_t wall_ms)
{
    begin(r, status, wall_ms, &r->data);
}

void response_begin_page(struct response *r, int status, int64_t wall_ms)
{
    begin(r, status, wall_ms, &r->page);
}

void response_field(struct response *r, struct str name, struct str value)
{
    char *to = buf_reserve(&r->head, name.n + value.n + 4);
    if (!to) {
        return;
    }
    memcpy(to, name.p, name.n);
    memcpy(to + name.n, ": ", 2);
    memcpy(to + name.n + 2, value.p, value.n);
    memcpy(to + name.n + 2 + value.n, "\r\n", 2);
    r->head.len += name.n + value.n + 4;
}

void response_number(struct response *r, struct str name, uint64_t value)
{
    buf_append_str(&r->head, name);
    buf_append(&r->head, ": ", 2);
    buf_append_decimal(&r->head, value, 1);
    buf_append(&r->head, "\r\n", 2);
}

void response_end(struct response *r, int status, struct str content_type)
{
    if (status == 204 || status == 304) {
        r->body.len = 0;
    } else {
        if (content_type.n) {
            response_field(r, STR("Content-Type"), content_type);
        }
        response_number(r, STR("Content-Length"), r->body.len);
    }
    buf_append(&r->head, "\r\n", 2);
}

bool response_value_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F) {
            return false;
        }
    }
    return true;
}
