// SPDX-License-Identifier: MIT
#include "gateway/admission.h"

#include "common/log.h"
#include "gateway/connection.h"
#include "gateway/exchange.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

// Keys of addresses and of accounts are of different kinds.
#define KIND_ADDRESS 'a'
#define KIND_PRINCIPAL 'p'

// --- Options

static int init_limits(struct admission *a, const struct gateway_config *config,
                       char error[ADMISSION_ERROR_SIZE])
{
    const struct {
        enum rate_policy policy;
        const char *name, *text;
    } options[] = {
        { RATE_ADDRESS, "SLUICE_RATE_LIMIT_ADDRESS", config->rate_address },
        { RATE_PRINCIPAL, "SLUICE_RATE_LIMIT_PRINCIPAL", config->rate_principal },
        { RATE_AUTH, "SLUICE_RATE_LIMIT_AUTH", config->rate_auth },
        { RATE_KEY, "SLUICE_RATE_LIMIT_KEY", config->rate_key },
        { RATE_WRITE, "SLUICE_RATE_LIMIT_WRITE", config->rate_write },
        { RATE_READ, "SLUICE_RATE_LIMIT_READ", config->rate_read },
    };
    struct rate_limit_policy policies[RATE_POLICIES_COUNT];
    static_assert(sizeof options / sizeof *options == RATE_POLICIES_COUNT, "one each");
    for (size_t i = 0; i < RATE_POLICIES_COUNT; i++) {
        if (rate_limit_parse(options[i].text, options[i].policy, &policies[options[i].policy])) {
            (void)snprintf(error, ADMISSION_ERROR_SIZE, "%s: \"%s\" is not allowed: it must be %s",
                           options[i].name, options[i].text, RATE_SYNTAX);
            return -EINVAL;
        }
    }
    return rate_limit_init(&a->limits, policies, (uint32_t)config->rate_buckets);
}

int admission_init(struct admission *a, const struct gateway_config *config,
                   char error[ADMISSION_ERROR_SIZE])
{
    struct str wrong;
    memset(a, 0, sizeof *a);
    a->client_field = config->client_field;
    int rc = client_networks_parse(config->trusted_proxies, &a->proxies, &wrong);
    if (rc == -E2BIG) {
        (void)snprintf(error, ADMISSION_ERROR_SIZE,
                       "SLUICE_TRUSTED_PROXIES: more than %d networks are not allowed",
                       CLIENT_NETWORKS_MAX);
        return -EINVAL;
    }
    if (rc) {
        (void)snprintf(
            error, ADMISSION_ERROR_SIZE,
            "SLUICE_TRUSTED_PROXIES: \"%.*s\" is not allowed: each entry must be an IPv4 "
            "or IPv6 address, or a network as in 10.0.0.0/8 or fd00::/8 with no bit set "
            "behind its prefix",
            STR_ARG(wrong));
        return rc;
    }
    return init_limits(a, config, error);
}

void admission_fini(struct admission *a)
{
    rate_limit_fini(&a->limits);
}

// --- Requests

static void log_refusal(const struct exchange *x, enum rate_policy policy)
{
    static struct log_site sites[RATE_POLICIES_COUNT]; // a flood of reads hides none of logins
    log_write_at(&sites[policy], LEVEL_WARN, NULL, "rate limit %s refused a request of %s to %s",
                 rate_policy_name(policy), x->client.known ? x->client.text : "an unknown address",
                 x->route ? x->route->pattern : "no route");
}

static bool take(struct exchange *x, enum rate_policy policy, char kind, struct str key)
{
    struct rate_limit *l = &x->gateway->admission.limits;
    if (l->policies[policy].period_ns == 0) {
        return true;
    }
    struct rate_verdict v =
        rate_limit_take(l, policy, kind, key, uv_now(x->gateway->loop) * NS_PER_MS);
    struct admission_record *r = &x->rate_record;
    assert(r->n < sizeof r->met / sizeof *r->met);
    r->met[r->n].policy = policy;
    r->met[r->n++].verdict = v;
    if (v.allowed) {
        return true;
    }
    stats_refuse(&x->gateway->stats, STATS_REFUSED_RATE_LIMIT);
    log_refusal(x, policy);
    x->refused = true;
    x->problem = PROBLEM_TOO_MANY_REQUESTS;
    x->retry_after_s = v.reset_s;
    (void)snprintf(x->detail_text, sizeof x->detail_text,
                   "The rate limit \"%s\" is reached; try again in %u s.", rate_policy_name(policy),
                   v.reset_s);
    x->detail = x->detail_text;
    return false;
}

// The key of the client's address, in memory of the caller's.
static struct str address_key(const struct exchange *x, uint8_t key[CLIENT_KEY_BYTES])
{
    client_address_key(&x->client, key);
    return (struct str){ (const char *)key, CLIENT_KEY_BYTES };
}

static bool take_of_address(struct exchange *x, enum rate_policy policy)
{
    uint8_t key[CLIENT_KEY_BYTES];
    return take(x, policy, KIND_ADDRESS, address_key(x, key));
}

static bool is_exempt(const struct exchange *x)
{
    return x->route && !route_is_limited(x->route);
}

static bool is_auth(const struct exchange *x)
{
    return x->route && x->route->sensitive;
}

bool admission_on_head(struct exchange *x)
{
    struct admission *a = &x->gateway->admission;
    if (a->proxies.n > 0) {
        client_address_resolve(&a->proxies, a->client_field, connection_client(x->connection),
                               &x->request, &x->client);
    }
    if (!a->limits.any || is_exempt(x)) {
        return true;
    }
    return take_of_address(x, RATE_ADDRESS) && (!is_auth(x) || take_of_address(x, RATE_AUTH));
}

bool admission_on_caller(struct exchange *x)
{
    if (!x->gateway->admission.limits.any || is_exempt(x)) {
        return true;
    }
    if (x->asking) { // who it is will be known when the users service has answered
        return !x->guessing || take_of_address(x, RATE_KEY);
    }
    struct str account = str_of(x->claims.sub);
    if (x->authenticated && !take(x, RATE_PRINCIPAL, KIND_PRINCIPAL, account)) {
        return false;
    }
    enum rate_policy policy = x->route && x->route->write ? RATE_WRITE : RATE_READ;
    if (is_auth(x)) {
        return true; // its class has counted it
    }
    return x->authenticated ? take(x, policy, KIND_PRINCIPAL, account) : take_of_address(x, policy);
}

void admission_on_no_guess(struct exchange *x)
{
    struct rate_limit *l = &x->gateway->admission.limits;
    if (x->guessing && l->policies[RATE_KEY].period_ns > 0) {
        uint8_t key[CLIENT_KEY_BYTES];
        rate_limit_give_back(l, RATE_KEY, KIND_ADDRESS, address_key(x, key),
                             uv_now(x->gateway->loop) * NS_PER_MS);
    }
    x->guessing = false;
}

// --- Answers

void admission_write_fields(struct exchange *x)
{
    const struct admission_record *r = &x->rate_record;
    struct buf *head = &x->gateway->response.head;
    if (r->n == 0) {
        return;
    }
    for (size_t i = 0; i < r->n; i++) {
        buf_append_z(head, i ? ", " : "RateLimit-Policy: ");
        buf_append_z(head, x->gateway->admission.limits.policies[r->met[i].policy].text);
    }
    for (size_t i = 0; i < r->n; i++) {
        buf_append_z(head, i ? ", \"" : "\r\nRateLimit: \"");
        buf_append_z(head, rate_policy_name(r->met[i].policy));
        buf_append_z(head, "\";r=");
        buf_append_decimal(head, r->met[i].verdict.left, 1);
        buf_append_z(head, ";t=");
        buf_append_decimal(head, r->met[i].verdict.reset_s, 1);
    }
    buf_append_z(head, "\r\n");
}
