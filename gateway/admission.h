// SPDX-License-Identifier: MIT
// Which rate limits a request is subject to, in the order in which they are cheapest to refuse:
//
//     head complete ->  address    every request of the client address but health checks
//                       auth       and those to routes that handle credentials (`sensitive`)
//     API key new ->    key        those with an API key that this gateway has to ask for and that was
//                                  not good before; given back when it is good
//     token checked ->  principal  every request of the account, wherever it comes from
//                       write      requests that change something: of the account, or of the
//                       read       address when there is none; all others likewise
//
// A request counts for each policy up to the first that refuses it, whatever becomes of it later:
// a wrong token and a wrong path count, too. Health checks (/livez, /readyz) are exempt, because who
// asks must get an answer whatever others do.
#ifndef GATEWAY_ADMISSION_H
#define GATEWAY_ADMISSION_H

#include "gateway/client_address.h"
#include "gateway/rate_limit.h"

struct exchange;
struct gateway;
struct gateway_config;

struct admission {
    struct rate_limit limits;
    struct client_networks proxies;
    const char *client_field; // "x-forwarded-for" or "forwarded"; borrowed
};

// The policies that a request has met, for its answer.
struct admission_record {
    uint8_t n;
    struct {
        enum rate_policy policy;
        struct rate_verdict verdict;
    } met[4];
};

#define ADMISSION_ERROR_SIZE 512

// Takes the options. Returns 0; -ENOMEM; or -EINVAL with one line in error that names the variable,
// its value and what is allowed.
__attribute__((warn_unused_result)) int admission_init(struct admission *a,
                                                       const struct gateway_config *config,
                                                       char error[ADMISSION_ERROR_SIZE]);
void admission_fini(struct admission *a);

// The head is complete and x->route is what it will be: finds out who the client is (x->client) and
// takes from the policies of its address. False: x is to be refused as x->problem,
// x->retry_after_s and x->detail_text say.
bool admission_on_head(struct exchange *x);

// The token was checked (x->authenticated), or an API key has to be asked for (x->asking): then it is
// called again with the answer. As above.
bool admission_on_caller(struct exchange *x);

// The API key that was asked for is good, or nobody could say: the policy `key` does not count it.
void admission_on_no_guess(struct exchange *x);

// Writes RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10) into the answer
// when some policy applied.
void admission_write_fields(struct exchange *x);

#endif
