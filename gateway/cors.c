// SPDX-License-Identifier: MIT
#include "gateway/cors.h"

#include "gateway/authority.h"

static bool has_default_port(struct str scheme, struct str authority)
{
    struct str port = str_eq(scheme, STR("http://")) ? STR(":80") : STR(":443");
    return authority.n > port.n &&
           str_eq((struct str){ authority.p + authority.n - port.n, port.n }, port);
}

bool cors_origin_valid(struct str s)
{
    struct str scheme = str_starts(s, STR("https://")) ? STR("https://") : STR("http://");
    if (!str_starts(s, scheme)) {
        return false;
    }
    struct str authority = { s.p + scheme.n, s.n - scheme.n };
    for (size_t i = 0; i < authority.n; i++) {
        if (authority.p[i] >= 'A' && authority.p[i] <= 'Z') {
            return false;
        }
    }
    return authority_valid(authority) && !has_default_port(scheme, authority) &&
           authority.p[authority.n - 1] != ':' && !memchr(authority.p, '*', authority.n);
}

static bool is_allowed(const struct cors *c, struct str origin)
{
    for (size_t i = 0; i < c->n_origins; i++) {
        if (str_eq(c->origins[i], origin)) {
            return true;
        }
    }
    return false;
}

static void write_field(struct buf *head, const char *name, struct str value)
{
    if (value.n) {
        buf_append_z(head, name);
        buf_append_str(head, value);
        buf_append(head, "\r\n", 2);
    }
}

bool cors_write(const struct cors *c, struct str origin, struct buf *head)
{
    if (!c->any) { // caches must keep the answers apart, also the one to a page that may not read it
        buf_append_z(head, "Vary: Origin\r\n");
    }
    if (origin.n == 0 || str_eq(origin, STR("null")) || (!c->any && !is_allowed(c, origin))) {
        return false;
    }
    write_field(head, "Access-Control-Allow-Origin: ", c->any ? STR("*") : origin);
    if (c->credentials) {
        buf_append_z(head, "Access-Control-Allow-Credentials: true\r\n");
    }
    write_field(head, "Access-Control-Expose-Headers: ", c->expose);
    return true;
}

void cors_write_preflight(const struct cors *c, struct buf *head)
{
    write_field(head, "Access-Control-Allow-Headers: ", c->headers);
    buf_append_z(head, "Access-Control-Max-Age: ");
    buf_append_decimal(head, (uint64_t)c->max_age_s, 1);
    buf_append_z(head,
                 "\r\nVary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n");
}
