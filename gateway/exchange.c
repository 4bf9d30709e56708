// SPDX-License-Identifier: MIT
// The checks come in the order in which they are cheapest to refuse: path, method, rate limits,
// token, media types, size. A request that is refused with its body still on the way is answered when the body
// is through, so that the connection can be kept; unless the client waits to be asked for the body,
// or announced too much of it.
#include "gateway/exchange.h"

#include "common/clock.h"
#include "common/json_to_msgpack.h"
#include "common/log.h"
#include "common/traces.h"
#include "gateway/answer.h"
#include "gateway/api_key_auth.h"
#include "gateway/backend.h"
#include "gateway/connection.h"
#include "gateway/policy.h"
#include "gateway/request_frame.h"
#include "gateway/request_span.h"
#include "gateway/shedding.h"
#include "gateway/transform.h"
#include "proto/utf8.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

// --- Life

struct exchange *exchange_take(struct gateway *g, struct connection *c)
{
    struct exchange *x = g->spare_exchanges;
    if (x) {
        g->spare_exchanges = x->next_spare;
        g->n_spare_exchanges--;
    } else {
        x = malloc(sizeof *x);
        if (!x) {
            return NULL;
        }
        buf_init(&x->packed, FRAME_MAX_BYTES);
        buf_init(&x->request.body, 0);
        x->packed.wipes = x->request.body.wipes = true;
    }
    x->gateway = g;
    x->connection = c;
    memset(&x->job, 0, sizeof x->job);
    x->route = NULL;
    x->match.route = NULL;
    x->accept = MEDIA_JSON;
    x->authenticated = x->asking = x->guessing = x->refused = x->scope_error = x->holds_secrets =
        false;
    x->detail = x->token_error = NULL;
    x->started_us = 0;
    x->due_ms = 0;
    x->retry_after_s = 0;
    x->client = *connection_client(c);
    x->rate_record.n = 0;
    x->body = (struct str){ NULL, 0 };
    x->request_id[0] = '\0';
    x->policy = policy_ref(g->policy);
    x->rules = (struct route_policy){ 0 };
    x->masks = x->shape = 0;
    x->fields = (struct str){ NULL, 0 };
    x->coding = CODING_IDENTITY;
    x->is_coded = false;
    memset(&x->trace, 0, sizeof x->trace);
    memset(&x->parent_id, 0, sizeof x->parent_id);
    memset(&x->at, 0, sizeof x->at);
    http_request_start(&x->request, (uint64_t)g->config.body_bytes);
    return x;
}

static void destroy(struct exchange *x)
{
    buf_fini(&x->packed);
    buf_fini(&x->request.body);
    free(x);
}

void exchange_release(struct exchange *x)
{
    struct gateway *g = x->gateway;
    if (x->started_us) {
        metric_add(&g->stats.requests_active, -1);
    }
    if (exchange_is_sensitive(x)) {
        buf_wipe(&x->packed);
        buf_wipe(&x->request.body);
    }
    if (exchange_holds_secrets(x)) {
        http_request_wipe_head(&x->request);
    }
    policy_unref(&x->policy);
    if (g->n_spare_exchanges == SPARE_EXCHANGES) {
        destroy(x);
        return;
    }
    if (x->packed.cap > KEPT_BODY_BYTES) {
        buf_fini(&x->packed);
    }
    if (x->request.body.cap > KEPT_BODY_BYTES) {
        buf_fini(&x->request.body);
    }
    x->next_spare = g->spare_exchanges;
    g->spare_exchanges = x;
    g->n_spare_exchanges++;
}

void exchange_free_spares(struct gateway *g)
{
    while (g->spare_exchanges) {
        struct exchange *x = g->spare_exchanges;
        g->spare_exchanges = x->next_spare;
        destroy(x);
    }
    g->n_spare_exchanges = 0;
}

// --- The head

bool exchange_refuse(struct exchange *x, enum problem problem, const char *detail)
{
    x->refused = true;
    x->problem = problem;
    x->detail = detail;
    return false;
}

static bool check_token(struct exchange *x)
{
    if (x->route->auth == FRAME_AUTH_NONE) {
        return true;
    }
    struct gateway *g = x->gateway;
    struct str authorization = http_request_field(&x->request, STR("authorization"));
    if (!authorization.p) {
        return x->route->auth == FRAME_AUTH_OPTIONAL ||
               exchange_refuse(x, PROBLEM_UNAUTHENTICATED, NULL);
    }
    struct str token = authenticator_token(authorization);
    if (api_key_is(token)) {
        return api_key_admit(x, token);
    }
    x->token_error = authenticator_check(g->authenticator, authorization, &x->claims);
    if (x->token_error) {
        stats_refuse(&g->stats, STATS_REFUSED_TOKEN);
        return exchange_refuse(x, PROBLEM_UNAUTHENTICATED, x->token_error);
    }
    x->authenticated = true;
    return true;
}

// Who asks, and whether they ask too much. Limits count whatever is wrong with the request.
static bool check_caller(struct exchange *x)
{
    bool known = !x->route || check_token(x);
    return admission_on_caller(x) && known;
}

static bool has_body(const struct http_request *r)
{
    return r->chunked || r->content_length > 0;
}

static bool check_body_type(struct exchange *x)
{
    const struct http_request *r = &x->request;
    if (x->route->body == FRAME_BODY_NONE || !has_body(r)) {
        return true;
    }
    struct str coding = http_request_field(r, STR("content-encoding"));
    if (coding.n && !str_eq(coding, STR("identity"))) {
        return exchange_refuse(x, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                               "Bodies are taken without a Content-Encoding only.");
    }
    enum content content = media_content(http_request_field(r, STR("content-type")));
    bool patch = x->route->body == FRAME_BODY_MERGE_PATCH;
    if (content == CONTENT_MSGPACK || content == (patch ? CONTENT_MERGE_PATCH : CONTENT_JSON)) {
        return true;
    }
    return exchange_refuse(
        x, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
        patch ? "The Content-Type must be application/merge-patch+json or application/vnd.msgpack."
              : "The Content-Type must be application/json or application/vnd.msgpack.");
}

static bool check_body_size(struct exchange *x)
{
    struct http_request *r = &x->request;
    if (x->route->max_body_bytes) {
        r->max_body_bytes = r->body.max = x->route->max_body_bytes;
    }
    if (r->content_length <= r->max_body_bytes) {
        return true;
    }
    (void)snprintf(x->detail_text, sizeof x->detail_text,
                   "The body has %llu bytes; the limit is %llu.",
                   (unsigned long long)r->content_length, (unsigned long long)r->max_body_bytes);
    return exchange_refuse(x, PROBLEM_BODY_TOO_LARGE, x->detail_text);
}

static bool find_route(struct exchange *x)
{
    const struct http_request *r = &x->request;
    transform_target(x);
    if (r->target.asterisk) {
        return true;
    }
    route_tree_find(&x->gateway->router.tree, &r->target, r->method, &x->match);
    x->route = x->match.route;
    if (x->route) {
        transform_route(x);
    }
    if (x->route || (r->method == METHOD_OPTIONS && x->match.allowed)) {
        return true;
    }
    return exchange_refuse(x, x->match.allowed ? PROBLEM_METHOD_NOT_ALLOWED : PROBLEM_NOT_FOUND,
                           NULL);
}

static bool check_accept(struct exchange *x)
{
    x->accept = media_accept(http_request_field(&x->request, STR("accept")));
    if (x->accept < MEDIA_COUNT) {
        return true;
    }
    x->accept = MEDIA_JSON;
    // The gateway's own documents are what they are: a client that asks for them takes them.
    return x->route->own || exchange_refuse(x, PROBLEM_NOT_ACCEPTABLE, NULL);
}

// What the client may not see depends on who it is.
static bool check_query(struct exchange *x)
{
    if (x->asking) {
        return true; // then it is done when the answer is there
    }
    const char *wrong = transform_query(x);
    return !wrong || exchange_refuse(x, PROBLEM_INVALID_PARAMETER, wrong);
}

static bool shows_text(struct exchange *x, const struct table *table)
{
    const struct frame_route *route = router_frame_route(table, x->route);
    for (size_t i = 0; i < route->n_headers; i++) {
        struct str value = transform_request_field(x, route->headers[i]);
        if (value.p && !utf8_valid(value)) {
            return exchange_refuse(x, PROBLEM_INVALID_PARAMETER,
                                   "A header field that the service reads is not UTF-8.");
        }
    }
    return true;
}

// Of fields that the service sees: its strings are UTF-8. Other fields may have any bytes.
static bool check_fields(struct exchange *x)
{
    bool ok = true;
    for (size_t i = 0; ok && x->route->service && i < TABLES_MAX; i++) {
        ok = x->route->index[i] < 0 || shows_text(x, x->route->service->tables[i]);
    }
    return ok;
}

bool exchange_on_head(struct exchange *x)
{
    struct http_request *r = &x->request;
    bool found = find_route(x);
    x->holds_secrets =
        exchange_is_sensitive(x) || http_request_field(r, STR("authorization")).p != NULL;
    if (admission_on_head(x) && check_caller(x) && found && x->route && check_body_type(x) &&
        check_body_size(x) && check_accept(x) && check_query(x) && check_fields(x)) {
        return false;
    }
    r->discard_body = true;
    bool announced_too_much = r->content_length > r->max_body_bytes;
    return r->stage == HTTP_STAGE_BODY && x->refused && (r->expects_continue || announced_too_much);
}

// --- The body

static bool fail_body(struct exchange *x, bool json, const struct json_error *e)
{
    if (json) {
        (void)snprintf(x->detail_text, sizeof x->detail_text,
                       "The body is not valid JSON at byte %zu (line %zu, column %zu): %s.",
                       e->position, e->line, e->column, e->what);
    } else {
        (void)snprintf(x->detail_text, sizeof x->detail_text,
                       "The body is not one MessagePack value as used here, at byte %zu: %s.",
                       e->position, e->what);
    }
    stats_refuse(&x->gateway->stats, STATS_REFUSED_BODY);
    return exchange_refuse(x, PROBLEM_MALFORMED_BODY, x->detail_text);
}

// Makes x->body from what came.
static bool take_body(struct exchange *x)
{
    struct http_request *r = &x->request;
    struct str bytes = buf_str(&r->body);
    struct json_error error;
    if (x->route->body == FRAME_BODY_NONE) {
        return r->body_bytes == 0 ||
               exchange_refuse(x, PROBLEM_MALFORMED_BODY, "This request takes no body.");
    }
    if (bytes.n == 0) {
        return exchange_refuse(x, PROBLEM_MALFORMED_BODY, "The body is missing.");
    }
    if (media_content(http_request_field(r, STR("content-type"))) == CONTENT_MSGPACK) {
        x->body = bytes;
        return msgpack_check(bytes, &error) == 0 || fail_body(x, false, &error);
    }
    buf_reset(&x->packed);
    int rc = json_to_msgpack(bytes, &x->packed, &error);
    x->body = buf_str(&x->packed);
    if (rc == -EINVAL) {
        return fail_body(x, true, &error);
    }
    return rc == 0 ||
           exchange_refuse(x, rc == -EMSGSIZE ? PROBLEM_BODY_TOO_LARGE : PROBLEM_OVERLOADED, NULL);
}

// --- To a worker

static bool is_movable(const struct exchange *x)
{
    return x->route->method == METHOD_GET ||
           (x->route->keyed && http_request_field(&x->request, STR("idempotency-key")).n > 0);
}

static void submit(struct exchange *x)
{
    struct gateway *g = x->gateway;
    uint64_t deadline = (uint64_t)g->config.deadline_ms;
    if (x->route->deadline_ms && x->route->deadline_ms < deadline) {
        deadline = x->route->deadline_ms;
    }
    if (!x->due_ms || x->due_ms > uv_now(g->loop) + deadline) { // time spent on asking counts
        x->due_ms = uv_now(g->loop) + deadline;
    }
    connection_expect_answer(x->connection, x->due_ms);
    x->job.route = x->route;
    x->job.movable = is_movable(x);
    x->job.due_us = (int64_t)x->due_ms * 1000;
    transform_conditions(x);
    balancer_submit(&g->balancer, &x->job);
}

// From here on the exchange has a name and an age.
static void start(struct exchange *x)
{
    struct trace parent;
    struct str traceparent = http_request_field(&x->request, STR("traceparent"));
    x->started_us = clock_mono_us();
    metric_add(&x->gateway->stats.requests_active, 1);
    struct str id = transform_request_id(x);
    if (id.p) {
        memcpy(x->request_id, id.p, id.n);
        x->request_id[id.n] = '\0';
    } else {
        uuid_v7(clock_wall_ms(), x->request_id);
    }
    if (traceparent.p && transform_trusts_trace(x) && trace_parse(traceparent, &parent) == 0) {
        memcpy(x->parent_id, parent.span_id, sizeof x->parent_id);
        traces_begin(&parent, &x->trace);
    } else {
        traces_begin(NULL, &x->trace);
    }
}

void exchange_on_complete(struct exchange *x)
{
    start(x);
    if (!x->refused && x->request.method == METHOD_OPTIONS) {
        answer_options(x, x->match.allowed);
    } else if (x->refused || !take_body(x)) {
        answer_problem(x, x->problem, x->detail);
    } else if (x->route->own) {
        x->route->own(x);
    } else if (x->asking) {
        api_key_ask(x);
    } else {
        submit(x);
    }
}

void exchange_on_failed(struct exchange *x)
{
    struct http_request *r = &x->request;
    assert(r->stage == HTTP_STAGE_FAILED);
    bool large = r->problem == PROBLEM_BODY_TOO_LARGE || r->problem == PROBLEM_HEADERS_TOO_LARGE ||
                 r->problem == PROBLEM_URI_TOO_LONG;
    if (r->problem != PROBLEM_REQUEST_TIMEOUT) { // which its connection counts
        stats_refuse(&x->gateway->stats, large ? STATS_REFUSED_TOO_LARGE : STATS_REFUSED_MALFORMED);
    }
    start(x);
    answer_problem(x, r->problem, r->detail);
}

static struct stats_service *stats_of(struct job *job)
{
    return &exchange_of(job)->gateway->stats.services[job->route->service->index];
}

int exchange_send(struct job *job, const struct worker *w, uint64_t id, void *data)
{
    struct gateway *g = data;
    struct exchange *x = exchange_of(job);
    uint64_t now = uv_now(g->loop);
    uint64_t left = x->due_ms > now ? x->due_ms - now : 0;
    metric_observe_us(&stats_of(job)->wait, job->sent_us - job->submitted_us);
    request_span_sent(x, w);
    log_write(LEVEL_DEBUG, &x->trace,
              "%s %s goes to worker %s: attempt %u, after waiting for %lld us, with %llu ms left; "
              "it has %u of %u",
              method_name(job->route->method).p, job->route->pattern, w->instance, job->attempt,
              (long long)(job->sent_us - job->submitted_us), (unsigned long long)left, w->in_flight,
              w->credit);
    return backend_send_request(g->backend, w, x, id, (uint32_t)left);
}

void exchange_on_reply(struct job *job, const struct frame_reply *reply, void *data)
{
    struct exchange *x = exchange_of(job);
    (void)data;
    metric_observe_traced_us(&stats_of(job)->worker_time, job->replied_us - job->sent_us,
                             &x->trace);
    log_write(LEVEL_DEBUG, &x->trace, "%s %s was answered %u after %lld us",
              method_name(job->route->method).p, job->route->pattern, reply->status,
              (long long)(job->replied_us - job->sent_us));
    if (!x->asking) {
        answer_reply(x, reply);
        return;
    }
    x->asking = false;
    memset(&x->job, 0, sizeof x->job);
    bool admitted = api_key_answered(x, reply);
    if (admission_on_caller(x) && admitted && check_query(x)) {
        submit(x);
    } else {
        answer_problem(x, x->problem, x->detail);
    }
}

static void count_failure(struct gateway *g, enum problem problem)
{
    if (problem == PROBLEM_OVERLOADED) {
        stats_refuse(&g->stats, STATS_REFUSED_OVERLOADED);
    } else if (problem == PROBLEM_UNAVAILABLE) {
        stats_refuse(&g->stats, STATS_REFUSED_UNAVAILABLE);
    } else if (problem == PROBLEM_OUTCOME_UNKNOWN) {
        stats_refuse(&g->stats, STATS_REFUSED_WORKER_LOST);
    } else if (problem == PROBLEM_DEADLINE_EXCEEDED) {
        stats_refuse(&g->stats, STATS_REFUSED_DEADLINE);
    }
}

void exchange_on_failure(struct job *job, enum problem problem, void *data)
{
    struct exchange *x = exchange_of(job);
    count_failure(data, problem);
    if (x->asking) {
        admission_on_no_guess(x); // nobody said so
    }
    if (problem == PROBLEM_OVERLOADED) {
        shedding_note(x);
    }
    answer_problem(x, problem, NULL);
}

static void log_unanswered(const struct exchange *x, const char *what)
{
    log_write(LEVEL_DEBUG, &x->trace, "%s to %s: %s while it %s", method_name(x->request.method).p,
              x->route ? x->route->pattern : "-", what,
              x->job.state == JOB_FLYING ? "was at a worker" : "waited for one");
}

void exchange_on_deadline(struct exchange *x)
{
    struct balancer *b = &x->gateway->balancer;
    uint64_t id;
    enum problem problem = balancer_deadline_problem(b, &x->job);
    log_unanswered(x, "its deadline has come");
    (void)balancer_withdraw(b, &x->job, &id); // the worker knows the deadline itself
    exchange_on_failure(&x->job, problem, x->gateway);
}

void exchange_on_gone(struct exchange *x)
{
    struct gateway *g = x->gateway;
    uint64_t id;
    const struct worker *w = NULL;
    if (x->job.state == JOB_WAITING || x->job.state == JOB_FLYING || x->job.state == JOB_SHED) {
        metric_add(&g->stats.cancels, 1);
        log_unanswered(x, "the client went away");
        w = balancer_withdraw(&g->balancer, &x->job, &id);
    }
    if (w) {
        backend_send_cancel(g->backend, w, id);
    }
    exchange_release(x);
}
