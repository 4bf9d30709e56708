// SPDX-License-Identifier: MIT
#include "gateway/answer.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/msgpack_to_json.h"
#include "gateway/connection.h"
#include "gateway/entity_tag.h"
#include "gateway/policy.h"
#include "gateway/request_span.h"
#include "gateway/transform.h"

#include <assert.h>
#include <errno.h>

#define RETRY_AFTER_S 1 // a worker is back, or a queue is shorter, within a second or not soon

// What a worker may say (PROTOCOL.md 2.4), and how it is written.
static const struct {
    struct str name, written;
} reply_headers[] = {
    { STR_INIT("allow"), STR_INIT("Allow") },
    { STR_INIT("cache-control"), STR_INIT("Cache-Control") },
    { STR_INIT("content-language"), STR_INIT("Content-Language") },
    { STR_INIT("etag"), STR_INIT("ETag") },
    { STR_INIT("idempotency-replayed"), STR_INIT("Idempotency-Replayed") },
    { STR_INIT("last-modified"), STR_INIT("Last-Modified") },
    { STR_INIT("link"), STR_INIT("Link") },
    { STR_INIT("location"), STR_INIT("Location") },
    { STR_INIT("retry-after"), STR_INIT("Retry-After") },
    { STR_INIT("vary"), STR_INIT("Vary") },
    { STR_INIT("www-authenticate"), STR_INIT("WWW-Authenticate") },
};

#define N_REPLY_HEADERS (sizeof reply_headers / sizeof *reply_headers)

static struct str reply_header(const struct frame_reply *reply, struct str name)
{
    for (size_t i = 0; i < reply->n_headers; i++) {
        if (str_eq(reply->headers[i].name, name)) {
            return reply->headers[i].value;
        }
    }
    return (struct str){ NULL, 0 };
}

// --- Fields of the head

// Where the time went; reply is NULL when no worker answered.
static void write_timing(struct exchange *x, const struct frame_reply *reply, int64_t now_us)
{
    struct buf *head = &x->gateway->response.head;
    x->at.wait_us = job_wait_us(&x->job, now_us);
    x->at.away_us = job_away_us(&x->job, now_us);
    if (x->job.sent_us) {
        request_span_answered(x, reply);
    }
    hop_times_of(&x->hops, x->started_us, &x->job, reply, now_us);
    buf_append_z(head, "Server-Timing: ");
    hop_times_write(&x->hops, head);
    buf_append(head, "\r\n", 2);
}

static void write_reply_headers(struct exchange *x, const struct frame_reply *reply)
{
    struct response *r = &x->gateway->response;
    for (size_t i = 0; i < reply->n_headers; i++) {
        struct str name = reply->headers[i].name, value = reply->headers[i].value;
        for (size_t k = 0; k < N_REPLY_HEADERS && response_value_valid(value); k++) {
            if (!str_eq(name, reply_headers[k].name)) {
                continue;
            }
            struct str kept = name;
            if (str_eq(name, STR("etag"))) {
                transform_write_etag(x, value, reply->status == 304);
            } else if (transform_answer_field(x, &kept)) {
                response_field(r, str_eq(kept, name) ? reply_headers[k].written : kept, value);
            }
        }
    }
}

// --- The last steps of every answer

static void log_access(struct exchange *x, int status, int64_t duration_us)
{
    struct gateway *g = x->gateway;
    enum method method = x->request.method;
    struct access_entry entry = {
        .trace = &x->trace,
        .method = method < METHOD_COUNT ? method_name(method) : STR("_OTHER"),
        .route = x->route ? x->route->pattern : "-",
        .client = x->client.known ? x->client.text : NULL,
        .status = status,
        .bytes = g->response.body.len,
        .duration_us = duration_us,
        .hops = &x->hops,
        .request_id = x->request_id,
    };
    access_log_write(&g->access_log, &entry);
}

static void write_methods(struct response *r, const char *field, unsigned allowed)
{
    buf_append_z(&r->head, field);
    buf_append_z(&r->head, ": OPTIONS");
    for (enum method m = METHOD_GET; m < METHOD_ROUTED; m++) {
        if (allowed & 1U << m) {
            buf_append_z(&r->head, m == METHOD_GET ? ", GET, HEAD" : ", ");
            buf_append_str(&r->head, m == METHOD_GET ? STR("") : method_name(m));
        }
    }
    buf_append(&r->head, "\r\n", 2);
}

static void write_preflight(struct exchange *x)
{
    struct response *r = &x->gateway->response;
    write_methods(r, "Access-Control-Allow-Methods", x->match.allowed);
    cors_write_preflight(&x->policy->cors, &r->head);
}

// Fields of every answer, whatever it says.
static void write_common_fields(struct exchange *x, int status)
{
    if (transform_write_fields(x, status) && status == 204 && transform_is_preflight(x)) {
        write_preflight(x);
    }
    response_field(&x->gateway->response, STR("X-Request-Id"), str_of(x->request_id));
    admission_write_fields(x);
}

// Ends the head and hands everything to the connection. x is gone afterwards.
static void finish(struct exchange *x, int status, struct str content_type, int64_t now_us)
{
    struct gateway *g = x->gateway;
    struct connection *c = x->connection;
    const struct http_request *request = &x->request;
    bool close =
        !request->keep_alive || request->stage != HTTP_STAGE_COMPLETE || connection_must_close(c);
    write_common_fields(x, status);
    if (close) {
        response_field(&g->response, STR("Connection"), STR("close"));
    } else if (request->http_1_0) {
        response_field(&g->response, STR("Connection"), STR("keep-alive"));
    }
    response_end(&g->response, status, content_type);
    if (!buf_ok(&g->response.head) || !buf_ok(&g->response.body)) {
        log_write(LEVEL_ERROR, &x->trace, "an answer of %s does not fit into memory or its limit",
                  x->route ? x->route->pattern : "no route");
        stats_refuse(&g->stats, STATS_REFUSED_BAD_REPLY);
        answer_problem(x, PROBLEM_INTERNAL, "The answer is over a limit of the gateway.");
        return;
    }
    stats_answer(&g->stats, x->route, request->method, status, now_us - x->started_us, &x->trace);
    log_access(x, status, now_us - x->started_us);
    request_span_record(x, status, now_us - x->started_us);
    connection_answer(c, close);
    if (exchange_is_sensitive(x)) {
        buf_wipe(&g->response.body);
        buf_wipe(&g->filtered[0]);
        buf_wipe(&g->filtered[1]);
    }
    exchange_release(x);
}

// --- Problems

// Why, for who looks for it. The gateway's own details say nothing of what was sent; a worker's may,
// and are left to the client.
static void log_refusal(const struct exchange *x, const struct problem_details *d, const char *who,
                        struct str detail)
{
    enum method method = x->request.method;
    log_write(LEVEL_DEBUG, &x->trace, "%s refuses %s %s: %d %.*s%s%.*s", who,
              method < METHOD_COUNT ? method_name(method).p : "_OTHER",
              x->route ? x->route->pattern : "-", d->status, STR_ARG(d->slug), detail.n ? ": " : "",
              STR_ARG(detail));
}

static void write_problem_fields(struct exchange *x, const struct problem_details *d)
{
    struct response *r = &x->gateway->response;
    if (d->status == 401 && x->token_error) {
        response_field(r, STR("WWW-Authenticate"),
                       STR("Bearer realm=\"sluice\", error=\"invalid_token\""));
    } else if (d->status == 401) {
        response_field(r, STR("WWW-Authenticate"), STR("Bearer realm=\"sluice\""));
    } else if (x->scope_error) {
        response_field(r, STR("WWW-Authenticate"),
                       STR("Bearer realm=\"sluice\", error=\"insufficient_scope\""));
    } else if (d->status == 503 || d->status == 429) {
        response_number(r, STR("Retry-After"), x->retry_after_s ? x->retry_after_s : RETRY_AFTER_S);
    }
}

static void finish_problem(struct exchange *x, const struct problem_details *d,
                           const struct frame_reply *reply)
{
    struct response *r = &x->gateway->response;
    int64_t now_us = clock_mono_us();
    write_timing(x, reply, now_us);
    if (!reply || !reply_header(reply, STR("cache-control")).p) {
        response_field(r, STR("Cache-Control"), STR("no-store"));
    }
    problem_write(d, x->request_id, &r->body);
    finish(x, d->status, STR("application/problem+json"), now_us);
}

void answer_problem(struct exchange *x, enum problem problem, const char *detail)
{
    struct problem_details d = problem_of(problem, detail);
    struct response *r = &x->gateway->response;
    log_refusal(x, &d, "the gateway", d.detail);
    response_begin(r, d.status, clock_wall_ms());
    write_problem_fields(x, &d);
    if (problem == PROBLEM_METHOD_NOT_ALLOWED) {
        write_methods(r, "Allow", x->match.allowed);
    } else if (problem == PROBLEM_UNSUPPORTED_MEDIA_TYPE &&
               x->route->body == FRAME_BODY_MERGE_PATCH) {
        response_field(r, STR("Accept-Patch"),
                       STR("application/merge-patch+json, application/vnd.msgpack"));
    }
    if (problem == PROBLEM_UNSUPPORTED_MEDIA_TYPE &&
        http_request_field(&x->request, STR("content-encoding")).n) {
        response_field(r, STR("Accept-Encoding"), STR("identity"));
    }
    finish_problem(x, &d, NULL);
}

// Fills in what a worker leaves to the gateway: title and the status of the reply.
static void complete_problem(const struct router *router, int status, struct problem_details *d)
{
    const struct problem_type *own = problem_find(d->slug);
    const struct frame_problem *announced = own ? NULL : router_problem(router, d->slug);
    d->status = status;
    d->title = own ? own->title : announced ? announced->title : d->slug;
}

static void answer_worker_problem(struct exchange *x, const struct frame_reply *reply,
                                  struct problem_details *d)
{
    struct response *r = &x->gateway->response;
    complete_problem(&x->gateway->router, (int)reply->status, d);
    log_refusal(x, d, "the worker", STR(""));
    response_begin(r, d->status, clock_wall_ms());
    write_reply_headers(x, reply);
    struct str needed = d->status == 401 ? STR("www-authenticate") : STR("retry-after");
    if (!reply_header(reply, needed).p) {
        write_problem_fields(x, d);
    }
    finish_problem(x, d, reply);
}

// --- Replies

static int render_body(struct exchange *x, struct str body)
{
    struct buf *out = &x->gateway->response.body;
    struct reader r = reader_of(body);
    if (!body.p) {
        return 0;
    }
    if (!media_is_msgpack(x->accept)) {
        int rc = msgpack_to_json(&r, out);
        return rc ? rc : reader_left(&r) ? -EBADMSG : 0;
    }
    if (reader_skip(&r) || reader_left(&r)) {
        return -EBADMSG;
    }
    buf_append_str(out, body);
    return buf_error(out);
}

static void answer_bad_reply(struct exchange *x, const struct frame_reply *reply, const char *what)
{
    log_write(LEVEL_ERROR, &x->trace, "a worker of %s answered %s %s with status %u and %s",
              x->route->service->name, method_name(x->route->method).p, x->route->pattern,
              reply->status, what);
    stats_refuse(&x->gateway->stats, STATS_REFUSED_BAD_REPLY);
    answer_problem(x, PROBLEM_INTERNAL, NULL);
}

// Whether the answer says who may keep it, once the policy is through with it.
static bool has_cache_control(const struct exchange *x, const struct frame_reply *reply)
{
    struct str name = STR("cache-control");
    return transform_sets(x, (int)reply->status, name) ||
           (reply_header(reply, name).p && transform_answer_field(x, &name) &&
            str_eq(name, STR("cache-control")));
}

void answer_reply(struct exchange *x, const struct frame_reply *reply)
{
    struct response *r = &x->gateway->response;
    struct problem_details d;
    if (reply->status >= 400) {
        if (problem_read(reply->body, &d)) {
            answer_bad_reply(x, reply, "no problem as body");
        } else {
            answer_worker_problem(x, reply, &d);
        }
        return;
    }
    response_begin(r, (int)reply->status, clock_wall_ms());
    struct str body;
    if (transform_body(x, reply->body, &body) || render_body(x, body)) {
        answer_bad_reply(x, reply, "a body that cannot be rendered");
        return;
    }
    transform_compress(x);
    write_reply_headers(x, reply);
    response_field(r, STR("Vary"),
                   transform_may_compress(x) ? STR("Accept, Accept-Encoding") : STR("Accept"));
    if (x->authenticated && !has_cache_control(x, reply)) {
        response_field(r, STR("Cache-Control"), STR("no-store"));
    }
    int64_t now_us = clock_mono_us();
    write_timing(x, reply, now_us);
    finish(x, (int)reply->status, reply->body.p ? media_name(x->accept) : STR(""), now_us);
}

// --- Documents of the gateway's own

void answer_begin(struct exchange *x, int status)
{
    response_begin(&x->gateway->response, status, clock_wall_ms());
}

// Whether If-None-Match lists the tag (weak comparison, RFC 9110 section 13.1.2).
static bool has_tag(struct str if_none_match, struct str etag)
{
    return str_eq(if_none_match, STR("*")) ||
           (if_none_match.n && memmem(if_none_match.p, if_none_match.n, etag.p, etag.n));
}

typedef void begin_fn(struct response *r, int status, int64_t wall_ms);

static void finish_document(struct exchange *x, int status, const char *media_type, struct str etag,
                            const char *cache_control, begin_fn *begin)
{
    struct response *r = &x->gateway->response;
    int64_t now_us = clock_mono_us();
    transform_conditions(x);
    if (etag.n && has_tag(http_request_field(&x->request, STR("if-none-match")), etag)) {
        status = 304;
        begin(r, status, clock_wall_ms()); // browsers keep the fields of the 304
    } else {
        transform_compress(x);
    }
    if (etag.n) {
        transform_write_etag(x, etag, status == 304);
    }
    if (transform_may_compress(x)) {
        response_field(r, STR("Vary"), STR("Accept-Encoding"));
    }
    if (!transform_sets(x, status, STR("cache-control"))) {
        response_field(r, STR("Cache-Control"), str_of(cache_control));
    }
    write_timing(x, NULL, now_us);
    finish(x, status, str_of(media_type), now_us);
}

void answer_document(struct exchange *x, int status, const char *media_type, struct str etag,
                     const char *cache_control)
{
    finish_document(x, status, media_type, etag, cache_control, response_begin);
}

void answer_page(struct exchange *x, const struct page_file *file)
{
    struct response *r = &x->gateway->response;
    response_begin_page(r, 200, clock_wall_ms());
    buf_append(&r->body, file->bytes, file->n);
    finish_document(x, 200, file->media_type, str_of(file->etag), "no-cache", response_begin_page);
}

void answer_options(struct exchange *x, unsigned allowed)
{
    struct response *r = &x->gateway->response;
    int64_t now_us = clock_mono_us();
    response_begin(r, 204, clock_wall_ms());
    write_methods(r, "Allow", x->request.target.asterisk ? (1U << METHOD_ROUTED) - 1 : allowed);
    write_timing(x, NULL, now_us);
    finish(x, 204, STR(""), now_us);
}
