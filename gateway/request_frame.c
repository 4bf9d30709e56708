// SPDX-License-Identifier: MIT
#include "gateway/request_frame.h"

#include "gateway/request_span.h"
#include "gateway/transform.h"

static size_t collect_headers(const struct exchange *x, const struct frame_route *route,
                              struct frame_pair *pairs)
{
    size_t n = 0;
    for (size_t i = 0; i < route->n_headers; i++) {
        struct str value = transform_request_field(x, route->headers[i]);
        if (value.p) {
            pairs[n++] = (struct frame_pair){ route->headers[i], value };
        }
    }
    return n;
}

void request_frame_encode_question(const struct exchange *x, const struct table *table, uint64_t id,
                                   uint32_t deadline_ms, struct buf *frame)
{
    char traceparent[TRACEPARENT_TEXT + 1];
    struct frame_request f = { .id = id, .attempt = x->job.attempt, .deadline_ms = deadline_ms };
    struct buf body;
    buf_init(&body, API_KEY_QUESTION_BYTES);
    api_key_question(x->key_hash, &body);
    f.traceparent = request_span_parent(x, traceparent);
    f.route = (uint32_t)x->job.route->index[table->slot];
    f.body = buf_str(&body);
    f.client = str_of(x->client.text);
    frame_request_encode(frame, &f);
    buf_fini(&body); // a body that is missing for want of memory is answered 422, and asked again
}

void request_frame_encode(const struct exchange *x, const struct table *table, uint64_t id,
                          uint32_t deadline_ms, struct buf *frame)
{
    char traceparent[TRACEPARENT_TEXT + 1];
    const struct target *target = &x->request.target;
    struct frame_request f;
    f.id = id;
    f.attempt = x->job.attempt;
    f.deadline_ms = deadline_ms;
    f.traceparent = request_span_parent(x, traceparent);
    f.principal = (struct frame_principal){ { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
    if (x->authenticated) {
        f.principal = (struct frame_principal){ str_of(x->claims.sub), str_of(x->claims.role),
                                                str_of(x->claims.sid) };
    }
    f.route = (uint32_t)x->route->index[table->slot];
    f.n_params = x->match.n_params;
    memcpy(f.params, x->match.params, f.n_params * sizeof *f.params);
    f.n_query = target->n_query;
    memcpy(f.query, target->query, f.n_query * sizeof *f.query);
    f.n_headers = collect_headers(x, router_frame_route(table, x->route), f.headers);
    f.body = x->body;
    f.client = str_of(x->client.text);
    frame_request_encode(frame, &f);
}
