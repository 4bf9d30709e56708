// SPDX-License-Identifier: MIT
#include "gateway/api_key_auth.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/connection.h"

#include <stdio.h>

#define CHECK_SERVICE STR("users")
#define CHECK_PATH STR("/internal/api-keys/check")

static bool refuse_key(struct exchange *x)
{
    x->token_error = "The API key is not valid: it does not exist, expired or was revoked.";
    stats_refuse(&x->gateway->stats, STATS_REFUSED_TOKEN);
    return exchange_refuse(x, PROBLEM_UNAUTHENTICATED, x->token_error);
}

// The caller is whom the key stands for, as far as its scope goes.
static bool grant(struct exchange *x, const struct api_key_grant *g)
{
    bool write = x->route->method != METHOD_GET;
    struct str service = str_of(x->route->service->name);
    x->claims = g->claims;
    x->authenticated = true;
    if (api_key_scope_allows(str_of(g->scope), service, write)) {
        return true;
    }
    x->scope_error = true;
    stats_refuse(&x->gateway->stats, STATS_REFUSED_SCOPE);
    (void)snprintf(x->detail_text, sizeof x->detail_text,
                   "The API key's scope does not include %s:%s.", x->route->service->name,
                   write ? "write" : "read");
    return exchange_refuse(x, PROBLEM_FORBIDDEN, x->detail_text);
}

bool api_key_admit(struct exchange *x, struct str key)
{
    struct gateway *g = x->gateway;
    if (api_key_hash(key, x->key_hash)) {
        return refuse_key(x);
    }
    const struct revocations *revocations = authenticator_revocations(g->authenticator);
    enum api_key_ask ask;
    const struct api_key_grant *known = api_keys_find(&g->api_keys, x->key_hash, revocations,
                                                      clock_mono_ms(), clock_wall_ms(), &ask);
    if (known) {
        metric_add(&g->stats.keys_known, 1);
        return grant(x, known);
    }
    x->asking = ask != API_KEY_REFUSE;
    x->guessing = ask == API_KEY_ASK;
    return x->asking || refuse_key(x);
}

void api_key_ask(struct exchange *x)
{
    struct gateway *g = x->gateway;
    x->job.route = router_internal(&g->router, CHECK_SERVICE, METHOD_POST, CHECK_PATH);
    if (!x->job.route) {
        exchange_on_failure(&x->job, PROBLEM_UNAVAILABLE, g);
        return;
    }
    metric_add(&g->stats.keys_asked, 1);
    log_write(LEVEL_DEBUG, &x->trace, "the users service is asked about an API key for %s",
              x->route->pattern);
    x->job.movable = true;
    x->asked_mono_ms = clock_mono_ms();
    x->asked_wall_ms = clock_wall_ms();
    x->due_ms = uv_now(g->loop) + (uint64_t)g->config.deadline_ms;
    x->job.due_us = (int64_t)x->due_ms * 1000;
    connection_expect_answer(x->connection, x->due_ms);
    balancer_submit(&g->balancer, &x->job);
}

bool api_key_answered(struct exchange *x, const struct frame_reply *reply)
{
    struct api_key_owner owner;
    struct reader r = reader_of(reply->body);
    struct api_keys *keys = &x->gateway->api_keys;
    if (reply->status == 404) {
        (void)api_keys_put(keys, x->key_hash, NULL, x->asked_mono_ms, x->asked_wall_ms);
        return refuse_key(x);
    }
    admission_on_no_guess(x);
    if (reply->status != 200) {
        return exchange_refuse(x, PROBLEM_UNAVAILABLE, "API keys cannot be looked up now.");
    }
    const struct api_key_grant *known =
        reply->body.p && message_unpack_lenient(&api_key_owner_message, &r, &owner) == 0
            ? api_keys_put(keys, x->key_hash, &owner, x->asked_mono_ms, x->asked_wall_ms)
            : NULL;
    if (!known) {
        stats_refuse(&x->gateway->stats, STATS_REFUSED_BAD_REPLY);
        return exchange_refuse(x, PROBLEM_INTERNAL, NULL);
    }
    return grant(x, known);
}
