// SPDX-License-Identifier: MIT
#include "gateway/shedding.h"

#include "common/log.h"
#include "gateway/exchange.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

void shedding_init(struct shedding *s)
{
    memset(s, 0, sizeof *s);
    static_assert(sizeof s->hash_key == crypto_shorthash_KEYBYTES, "as the hash wants");
    randombytes_buf(s->hash_key, sizeof s->hash_key);
}

static uint64_t hash(const struct shedding *s, const void *bytes, size_t n)
{
    uint64_t h;
    static_assert(sizeof h == crypto_shorthash_BYTES, "as the hash gives");
    (void)crypto_shorthash((unsigned char *)&h, bytes, n, s->hash_key); // cannot fail
    return h;
}

static uint64_t hash_client(const struct shedding *s, const struct exchange *x)
{
    uint8_t key[CLIENT_KEY_BYTES];
    if (x->authenticated) {
        return hash(s, x->claims.sub, strlen(x->claims.sub));
    }
    client_address_key(&x->client, key);
    return hash(s, key, sizeof key);
}

void shedding_describe(struct job *job, void *data)
{
    const struct gateway *g = data;
    const struct exchange *x = exchange_of(job);
    job->waiter.client = hash_client(&g->shedding, x);
    log_write(LEVEL_DEBUG, &x->trace, "%s %s has to wait: no worker has credit for it; %zu wait",
              method_name(job->route->method).p, job->route->pattern,
              lane_waiting(&g->balancer.lanes[job->route->service->index]));
    if (x->asking) { // about an API key that may be anything: as every read
        job->waiter.priority = WAIT_READ;
    } else if (x->authenticated && strcmp(x->claims.role, "admin") == 0) {
        job->waiter.priority = WAIT_ADMIN;
    }
}

void shedding_note(struct exchange *x)
{
    static struct log_site sites[SERVICES_MAX]; // one service's flood does not hide another's
    const struct service *service = x->job.route->service;
    x->retry_after_s = 1 + x->gateway->shedding.turn++ % SHEDDING_RETRY_SPREAD;
    log_write_at(&sites[service->index], LEVEL_WARN, &x->trace,
                 "%s is overloaded: gave up a request to %s, %zu wait", service->name,
                 x->job.route->pattern, lane_waiting(&x->gateway->balancer.lanes[service->index]));
}
