// SPDX-License-Identifier: MIT
// Asks a dispatcher as a gateway would, and collects what it answers. Bodies are written and answers read as JSON,
// by the code that the gateway uses for it.
#ifndef TESTS_UNIT_CALLS_H
#define TESTS_UNIT_CALLS_H

#include "common/dispatch.h"
#include "common/store.h"

#define CALLS_LIMIT_MS 10000
#define CALLS_MAX 1024 // requests of one case

extern struct dispatch *dispatch; // of the current case
extern struct store *store;       // NULL for a service without one
extern int idle_calls;            // of on_idle

// Opens a dispatcher, and the service's store when it has migrations (as its writer); and closes both.
void calls_open(const struct service *service, uint32_t capacity);
void calls_close(void);

// The same while somebody else holds the lease of a store that is there: it can only read. Does not wait.
void calls_open_reader(const struct service *service, uint32_t capacity);

struct ask {
    uint32_t route;
    const char *json;            // body; NULL: none
    const char *params[4];       // ended by NULL
    const char *query[12];       // name, value, ... ended by NULL
    const char *headers[8];      // name, value, ... ended by NULL
    const char *user, *role;     // NULL: nobody
    uint32_t deadline_ms;        // 0: 5000
    bool expired;                // its deadline is over
    const char *traceparent;     // NULL: none
    struct gateway_link *link;   // NULL: always the same one
};

// Sends a request; returns its id.
uint64_t ask(struct ask a);

struct answer {
    bool there;
    bool returned;               // by a RETURN; then reason is set
    char reason[32];
    uint32_t status;
    char headers[2048];          // "name: value\n" each
    char body[8192];             // JSON; "" for none
    uint32_t queue_us, handler_us, store_us;
    int times;                   // that it was answered
    struct gateway_link *link;
    bool sensitive;              // it is sent as what holds credentials
};

// The answer to a request, waited for.
const struct answer *answer_to(uint64_t id);

// The answer as it is now; there is false when it has not come.
const struct answer *answer_now(uint64_t id);

// Both at once.
const struct answer *asked(struct ask a);

// Fails the case unless the body has the text in it, or the header has the value.
void assert_body_has(const struct answer *a, const char *text);
void assert_header(const struct answer *a, const char *name, const char *value);
void assert_no_header(const struct answer *a, const char *name);

// The value of a header, until its line ends; NULL when it is not there. Valid until the next call.
const char *header_of(const struct answer *a, const char *name);

// Two connections to tell apart.
extern struct gateway_link *const link_a, *const link_b;

// The one integer that a query on the store's reader gives.
int64_t stored_number(const char *sql);

#endif
