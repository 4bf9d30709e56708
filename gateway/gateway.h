// SPDX-License-Identifier: MIT
// What the parts of the gateway share: its configuration and each part once. The parts that do no
// I/O (router, balancer, response, stats) know nothing of this struct.
//
//     listener -> connection -> exchange -> balancer -> backend ==ZeroMQ==> worker
//                     ^            |  ^                    |
//                     +-- answer --+  +--------------------+
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "common/process.h"
#include "gateway/access_log.h"
#include "gateway/address_table.h"
#include "gateway/api_keys.h"
#include "gateway/admission.h"
#include "gateway/authenticator.h"
#include "gateway/balancer.h"
#include "gateway/compressor.h"
#include "gateway/field_filter.h"
#include "gateway/on_demand.h"
#include "gateway/response.h"
#include "gateway/router.h"
#include "gateway/shedding.h"
#include "gateway/slow_requests.h"
#include "gateway/stats.h"

struct gateway_config {
    struct process_config common;
    char *listen, *bind, *queue, *jwks_file, *issuer, *audience, *expect, *externals, *policy;
    char *compression, *docs;
    char *suite, *admin_token;
    int64_t access_log;
    int64_t max_connections, max_connections_per_address, max_requests_per_connection;
    int64_t body_bytes, deadline_ms, wait_queue, token_cache;
    int64_t body_min_rate, body_grace_ms; // bytes a second
    int64_t overload_wait_ms, write_min_rate;
    char *trusted_proxies, *client_field;
    char *rate_address, *rate_principal, *rate_auth, *rate_key, *rate_write, *rate_read;
    int64_t rate_buckets;
    int64_t header_ms, body_ms, idle_ms, stall_ms, expect_wait_ms, revocation_wait_ms, hsts_ms;
    int64_t drain_wait_ms;
};

struct backend;
struct connection;
struct console;
struct curve;
struct exchange;
struct document;
struct opening;
struct policy;
struct policy_watch;
struct revocation_feed;
struct suite;

struct gateway {
    struct gateway_config config;
    struct process *process;
    uv_loop_t *loop;
    struct router router;
    struct balancer balancer;
    struct on_demand on_demand;
    struct stats stats;
    struct response response; // for the answer at hand
    struct compressor *compressor;
    struct policy *policy;             // the one in use; NULL: none
    struct policy_watch *policy_watch; // NULL without a policy
    struct field_filter projection;    // for the request at hand
    struct buf filtered[2];            // for the answer at hand
    struct access_log access_log;
    struct admission admission;
    struct shedding shedding;
    struct slow_requests slow_requests;
    struct authenticator *authenticator;
    struct api_keys api_keys;
    struct revocation_feed *revocation_feed;
    struct backend *backend;
    struct curve *curve; // NULL without TCP endpoints
    struct document *openapi, *asyncapi;
    struct suite *suite;
    struct console *console; // NULL without an admin listener
    struct opening *opening; // NULL once the port is open

    // Listening and connections.
    uv_tcp_t listener;
    bool listener_open;
    bool accept_waits; // a client was not taken over for want of memory
    struct address_table addresses;
    struct connection *connections; // all, in a list
    size_t n_connections;
    size_t pending_out_bytes; // answers that clients have not read yet
    bool draining;
    uv_timer_t drain_timer; // bounds the draining
    char read_buffer[READ_BUFFER_BYTES];

    // Exchanges for reuse.
    struct exchange *spare_exchanges;
    size_t n_spare_exchanges;
};

// The last connection of a draining gateway is closed.
void gateway_drained(struct gateway *g);

#endif
