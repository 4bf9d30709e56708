// SPDX-License-Identifier: MIT
#include "tests/unit/hello_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct buf frame;

void hello_make(struct frame_hello *h, const char *service, const char *instance,
                const char *schema)
{
    memset(h, 0, sizeof *h);
    h->protocol = FRAME_PROTOCOL_VERSION;
    h->service = str_of(service);
    h->instance = str_of(instance);
    h->schema = str_of(schema);
    h->version = STR("1.0");
    h->capacity = 10;
    h->heartbeat_ms = 100;
}

struct frame_route *hello_route(struct frame_hello *h, const char *method, const char *pattern)
{
    assert_true(h->n_routes < FRAME_MAX_ROUTES);
    struct frame_route *route = &h->routes[h->n_routes++];
    route->method = str_of(method);
    route->pattern = str_of(pattern);
    return route;
}

struct str hello_frame(const struct frame_hello *h)
{
    if (frame.max == 0) {
        buf_init(&frame, FRAME_MAX_BYTES);
    }
    buf_reset(&frame);
    frame_hello_encode(&frame, h);
    assert_true(buf_ok(&frame));
    return buf_str(&frame);
}

void hello_frame_free(void)
{
    buf_fini(&frame);
}
