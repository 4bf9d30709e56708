// SPDX-License-Identifier: MIT
#include "gateway/request_span.h"

#include "common/clock.h"
#include "common/traces.h"

void request_span_sent(struct exchange *x, const struct worker *w)
{
    struct span_remote *at = &x->at;
    trace_new_span(at->span_id);
    _Static_assert(sizeof at->service == sizeof w->table->service->name, "any name fits");
    memcpy(at->service, w->table->service->name, sizeof at->service);
    at->attempt = x->job.attempt;
    size_t n = strnlen(w->instance, sizeof at->instance - 1);
    memcpy(at->instance, w->instance, n);
    at->instance[n] = '\0';
}

struct str request_span_parent(const struct exchange *x, char out[TRACEPARENT_TEXT + 1])
{
    struct trace t = x->trace;
    memcpy(t.span_id, x->at.span_id, sizeof t.span_id);
    return trace_format(&t, out);
}

void request_span_answered(struct exchange *x, const struct frame_reply *reply)
{
    x->at.answered = reply != NULL;
    if (reply) {
        x->at.queue_us = reply->queue_us;
        x->at.handler_us = reply->handler_us;
        x->at.store_us = reply->store_us;
    }
}

void request_span_record(const struct exchange *x, int status, int64_t duration_us)
{
    struct span s;
    enum method method = x->request.method;
    s.trace = x->trace;
    memcpy(s.parent_id, x->parent_id, sizeof s.parent_id);
    s.kind = SPAN_SERVER;
    s.error = status >= 500;
    s.status = (uint32_t)status;
    s.start_us = clock_wall_us() - duration_us;
    s.duration_us = duration_us;
    s.seq = 0;
    s.consumer = NULL;
    s.batch = 0;
    span_name(&s, method < METHOD_COUNT ? method_name(method) : STR("_OTHER"),
              str_of(x->route ? x->route->pattern : ""));
    s.remote = x->at;
    traces_record(&s);
    slow_requests_add(&x->gateway->slow_requests, &s, x->started_us + duration_us);
}
