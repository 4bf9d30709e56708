// SPDX-License-Identifier: MIT
#include "gateway/options.h"

#include "gateway/gateway.h"

#define OPTION(name_, kind_, field, fallback_, min_, max_, help_)                                  \
    {                                                                                              \
        .name = name_, .kind = kind_, .offset = offsetof(struct gateway_config, field),            \
        .fallback = fallback_, .min = min_, .max = max_, .help = help_                             \
    }

#define OPTION_CHOICE(name_, field, fallback_, choices_, help_)                                    \
    {                                                                                              \
        .name = name_, .kind = CONFIG_CHOICE, .offset = offsetof(struct gateway_config, field),    \
        .fallback = fallback_, .choices = choices_, .help = help_                                  \
    }

// One whose value needs a right.
#define NAMING(name_, field, fallback_, max_, names_, help_)                                       \
    {                                                                                              \
        .name = name_, .kind = CONFIG_STRING, .offset = offsetof(struct gateway_config, field),    \
        .fallback = fallback_, .min = 1, .max = max_, .names = names_, .help = help_               \
    }

const struct config_option gateway_options[] = {
    CONFIG_COMMON(struct gateway_config, "gateway-1", NULL),
    NAMING("SLUICE_LISTEN", listen, "127.0.0.1:8080", 200, CONFIG_NAMES_LISTENER,
           "HOST:PORT of the public listener; an inherited socket (LISTEN_FDS) goes before it"),
    NAMING("SLUICE_GATEWAY_BIND", bind, NULL, 300, CONFIG_NAMES_LISTENER,
           "where workers connect; default ipc://$SLUICE_HOME/run/gateway/<instance>.sock"),
    NAMING("SLUICE_QUEUE", queue, NULL, 300, CONFIG_NAMES_PEER,
           "the event queue; default ipc://$SLUICE_HOME/run/queue.sock"),
    NAMING("SLUICE_JWKS_FILE", jwks_file, NULL, 1024, CONFIG_NAMES_FILE,
           "public keys of access tokens, in a directory that has nothing secret; "
           "default $SLUICE_HOME/secrets/public/jwks.json"),
    OPTION("SLUICE_TOKEN_ISSUER", CONFIG_STRING, issuer, "sluice", 1, 200,
           "iss that access tokens must have"),
    OPTION("SLUICE_TOKEN_AUDIENCE", CONFIG_STRING, audience, "sluice", 1, 200,
           "aud that access tokens must have"),
    NAMING(
        "SLUICE_EXTERNAL_ISSUERS", externals, NULL, 1024, CONFIG_NAMES_FILE,
        "JSON file of other issuers whose access tokens are taken (docs/tokens.md); their keys are "
        "in its directory or below"),
    OPTION("SLUICE_ACCESS_LOG", CONFIG_BOOLEAN, access_log, "true", 0, 0,
           "one log line for each answer"),
    OPTION("SLUICE_MAX_CONNECTIONS", CONFIG_INTEGER, max_connections, "10000", 1, 1000000,
           "client connections at once; more are answered 503"),
    OPTION("SLUICE_MAX_CONNECTIONS_PER_ADDRESS", CONFIG_INTEGER, max_connections_per_address,
           "1024", 1, 1000000, "of one client address; raise it behind a load balancer"),
    OPTION("SLUICE_MAX_REQUESTS_PER_CONNECTION", CONFIG_INTEGER, max_requests_per_connection, "0",
           0, INT64_MAX, "then a connection is closed; 0: never"),
    OPTION("SLUICE_MAX_BODY", CONFIG_BYTES, body_bytes, "1MiB", 1024, 1048576,
           "of a request, unless its route says otherwise"),
    OPTION("SLUICE_DEADLINE", CONFIG_DURATION, deadline_ms, "5s", 100, 60000,
           "for an answer, unless its route is stricter"),
    OPTION("SLUICE_WAIT_QUEUE", CONFIG_INTEGER, wait_queue, "1024", 1, 65536,
           "requests of one service and class that wait for a worker; more are answered 503"),
    OPTION("SLUICE_OVERLOAD_WAIT", CONFIG_DURATION, overload_wait_ms, "100ms", 10, 60000,
           "so long a request waits for a worker of a service that is overloaded; then 503"),
    OPTION("SLUICE_TOKEN_CACHE", CONFIG_INTEGER, token_cache, "16384", 4, 1048576,
           "verified tokens remembered"),
    OPTION("SLUICE_TRUSTED_PROXIES", CONFIG_STRING, trusted_proxies, NULL, 0, 4096,
           "addresses and networks, comma-separated, whose word on the client's address counts"),
    OPTION_CHOICE("SLUICE_CLIENT_FIELD", client_field, "x-forwarded-for",
                  "x-forwarded-for|forwarded", "where they say it; the other field is ignored"),
    OPTION("SLUICE_RATE_LIMIT_ADDRESS", CONFIG_STRING, rate_address, "off", 1, 64,
           "of one client address: off, or as in 100/s or 600/m,burst=1000"),
    OPTION("SLUICE_RATE_LIMIT_PRINCIPAL", CONFIG_STRING, rate_principal, "off", 1, 64,
           "of one account, from wherever; as above"),
    OPTION("SLUICE_RATE_LIMIT_AUTH", CONFIG_STRING, rate_auth, "10/s,burst=300", 1, 64,
           "of one client address on routes that handle credentials; as above"),
    OPTION("SLUICE_RATE_LIMIT_KEY", CONFIG_STRING, rate_key, "10/s,burst=300", 1, 64,
           "of one client address: API keys that nobody knows; as above"),
    OPTION("SLUICE_RATE_LIMIT_WRITE", CONFIG_STRING, rate_write, "off", 1, 64,
           "of one account's (or nobody's: address's) writes; as above"),
    OPTION("SLUICE_RATE_LIMIT_READ", CONFIG_STRING, rate_read, "off", 1, 64,
           "of one account's (or nobody's: address's) other requests; as above"),
    OPTION("SLUICE_RATE_LIMIT_BUCKETS", CONFIG_INTEGER, rate_buckets, "65536", RATE_BUCKETS_MIN,
           RATE_BUCKETS_MAX, "clients that rate limits remember at once, 52 bytes each"),
    OPTION("SLUICE_HEADER_TIMEOUT", CONFIG_DURATION, header_ms, "10s", 100, 600000,
           "for the head of a request; for the first one from the connection's begin on"),
    OPTION("SLUICE_BODY_TIMEOUT", CONFIG_DURATION, body_ms, "30s", 100, 600000,
           "for the body of a request"),
    OPTION("SLUICE_BODY_MIN_RATE", CONFIG_BYTES, body_min_rate, "1000", 0, 1073741824,
           "of a body, in each second; 0: any"),
    OPTION("SLUICE_BODY_GRACE", CONFIG_DURATION, body_grace_ms, "5s", 100, 600000,
           "so far a body may be behind SLUICE_BODY_MIN_RATE"),
    OPTION("SLUICE_IDLE_TIMEOUT", CONFIG_DURATION, idle_ms, "60s", 100, 3600000,
           "between two requests"),
    OPTION("SLUICE_WRITE_TIMEOUT", CONFIG_DURATION, stall_ms, "10s", 100, 600000,
           "for a client that takes too little of its answer (SLUICE_WRITE_MIN_RATE)"),
    OPTION(
        "SLUICE_WRITE_MIN_RATE", CONFIG_BYTES, write_min_rate, "1000", 0, 1073741824,
        "of its answer that a client must take in each second, over SLUICE_WRITE_TIMEOUT; 0: one "
        "byte in that time"),
    NAMING("SLUICE_POLICY", policy, NULL, 1024, CONFIG_NAMES_FILE,
           "file with CORS, header, masking and rewriting rules (docs/policy.md); read again when "
           "it changes"),
    OPTION("SLUICE_COMPRESSION", CONFIG_STRING, compression, "zstd,gzip", 1, 32,
           "codings of answers: " COMPRESSOR_ALLOWED),
    OPTION_CHOICE("SLUICE_DOCS", docs, "page", "page|documents|off",
                  "what everybody may read about the API: the page /docs with /openapi.json and "
                  "/asyncapi.json, these documents alone, or nothing"),
    OPTION("SLUICE_HSTS", CONFIG_DURATION, hsts_ms, "0s", 0, 63072000000,
           "Strict-Transport-Security for so long; only behind TLS; 0s: not sent"),
    NAMING("SLUICE_SUITE", suite, NULL, 1024, CONFIG_NAMES_PEER,
           "admin listeners of processes in other places, HOST:PORT, comma-separated, for "
           "/metrics/suite; those of this home are found"),
    OPTION("SLUICE_ADMIN_TOKEN", CONFIG_SECRET, admin_token, NULL, 0, 0,
           "who has it may use the console (docs/console.md); else secrets/admin-token"),
    OPTION("SLUICE_EXPECT", CONFIG_STRING, expect, NULL, 0, 1024,
           "services, comma-separated, that must have a worker before the port opens"),
    OPTION("SLUICE_EXPECT_WAIT", CONFIG_DURATION, expect_wait_ms, "2s", 0, 600000,
           "how long it waits for them; then it opens without them"),
    OPTION("SLUICE_REVOCATION_WAIT", CONFIG_DURATION, revocation_wait_ms, "5s", 0, 600000,
           "how long the port waits for the revocations in the queue; then it opens without them"),
    OPTION("SLUICE_DRAIN_WAIT", CONFIG_DURATION, drain_wait_ms, "0s", 0, DRAIN_WAIT_MAX_MS,
           "how long the port stays open after SIGTERM, while /readyz says 503: so long load "
           "balancers need to hear of it"),
    CONFIG_END,
};
