// SPDX-License-Identifier: MIT
// Rate limits by token bucket. A policy gives each key (a client address, a principal) a bucket of
// `burst` tokens that refills at a steady rate; a request takes one, and is refused when there is
// none. Kept as GCRA (ITU-T I.371), which needs one number for each bucket: the time at which it
// will be full again. All of it is in integers.
//
// Buckets are in one table of fixed size. A key without a bucket counts as full, so a bucket that is
// full again is forgotten without loss. When all buckets of the table are in debt, the one that is
// nearest to full makes room: who makes up addresses to be forgotten only ever pushes out the least
// of debts. A request of a known key costs O(1), one of a new key O(log n); nothing allocates after
// the start.
//
// Counts are this gateway's own: N gateways together let N times as much through.
#ifndef GATEWAY_RATE_LIMIT_H
#define GATEWAY_RATE_LIMIT_H

#include "common/metrics.h"
#include "proto/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The policies: X(symbol, name). docs/limits.md says what each one counts.
#define RATE_POLICIES(X)                                                                           \
    X(ADDRESS, "address")                                                                          \
    X(PRINCIPAL, "principal")                                                                      \
    X(AUTH, "auth")                                                                                \
    X(KEY, "key")                                                                                  \
    X(WRITE, "write")                                                                              \
    X(READ, "read")

enum rate_policy {
#define X(symbol, name) RATE_##symbol,
    RATE_POLICIES(X)
#undef X
        RATE_POLICIES_COUNT
};

#define RATE_MAX_COUNT 1000000 // tokens per window, and of a burst
#define RATE_MAX_DEBT_S                                                                            \
    (24 * 3600) // from empty to full: longer is a quota and belongs into a store

#define RATE_POLICY_TEXT 64 // of a policy as an item of RateLimit-Policy

struct rate_limit_policy {
    uint64_t period_ns; // of one token; 0: the policy is off
    uint64_t burst;
    char text[RATE_POLICY_TEXT]; // "auth";q=200;w=20
};

// Parses "off", "0", "COUNT/WINDOW" or "COUNT/WINDOW,burst=BURST": 1 to RATE_MAX_COUNT tokens in a
// window of s, m or h (one second, minute, hour). BURST is COUNT when not given. Returns 0 or
// -EINVAL.
__attribute__((warn_unused_result)) int rate_limit_parse(const char *text, enum rate_policy policy,
                                                         struct rate_limit_policy *ret_policy);

#define RATE_SYNTAX                                                                                \
    "off, or COUNT/s, COUNT/m or COUNT/h with COUNT from 1 to 1000000, and ,burst=N behind it "    \
    "when more than COUNT may come at once (N from 1 to 1000000, refilled within a day)"

struct bucket;

struct rate_limit {
    struct rate_limit_policy policies[RATE_POLICIES_COUNT];
    bool any;               // some policy is on
    struct bucket *buckets; // owned
    uint32_t *slots;        // owned; hash table: number of the first bucket of a chain, plus 1
    uint32_t *heap;         // owned; bucket numbers, by the time they were last known to be full
    uint32_t n, max, slot_mask;
    uint8_t hash_key[16];
    struct metric refused[RATE_POLICIES_COUNT];
    struct metric in_use, forgotten;
};

#define RATE_BUCKETS_MIN 16
#define RATE_BUCKETS_MAX 4194304

// Copies the policies; max is the size of the table. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int
rate_limit_init(struct rate_limit *l, const struct rate_limit_policy policies[RATE_POLICIES_COUNT],
                uint32_t max);
void rate_limit_fini(struct rate_limit *l);

// What became of one request at one policy.
struct rate_verdict {
    bool allowed;
    uint32_t left; // tokens that are left
    uint32_t
        reset_s; // allowed: until the bucket is full; refused: until there is a token. Up, >= 1
};

// Takes one token. kind tells keys apart that may have the same bytes. now_ns is of a clock that
// never goes back. The policy must be on.
struct rate_verdict rate_limit_take(struct rate_limit *l, enum rate_policy policy, char kind,
                                    struct str key, uint64_t now_ns);

// Gives one token back that was taken, when it turned out that nothing was to be counted. It may be
// lost when the table was full in between. The policy must be on.
void rate_limit_give_back(struct rate_limit *l, enum rate_policy policy, char kind, struct str key,
                          uint64_t now_ns);

const char *rate_policy_name(enum rate_policy policy);

#endif
