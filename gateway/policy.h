// SPDX-License-Identifier: MIT
// What an operator configured about requests and answers: the content of SLUICE_POLICY
// (docs/policy.md), checked and ready for use. It does not change once it is made; a reload makes
// another one, and each request keeps the one that it began with.
//
// Rules are compared with routes when routes or the policy change, not when a request comes: a
// route carries a set of rule numbers (struct route_policy).
#ifndef GATEWAY_POLICY_H
#define GATEWAY_POLICY_H

#include "common/arena.h"
#include "gateway/cors.h"
#include "gateway/field_edits.h"
#include "gateway/field_filter.h"
#include "gateway/client_address.h"
#include "gateway/router.h"

#define POLICY_MAX_BYTES (256 * 1024)         // of the file
#define POLICY_MEMORY_BYTES (4 * 1024 * 1024) // of what is made from it
#define POLICY_MAX_RULES 64                   // one bit each
#define POLICY_MAX_REWRITES 32
#define POLICY_MAX_NETWORKS 32 // of one list
#define POLICY_MAX_ROLES 16    // of one mask

struct policy_rule {
    unsigned methods;           // bit 1 << method
    struct str path;            // pattern; without the "/*" when `below`
    bool below;                 // the path and everything below it
    struct field_edits request; // fields that workers see
    struct field_edits answer;
    struct str notice;        // whole fields about the route's end, with line ends; n == 0: none
    bool deprecated;          // it has a Deprecation
    bool masked;              // then:
    struct field_filter mask; // members that are left out of answers,
    struct str *roles;        // except for those who have one of these n_roles roles
    size_t n_roles;
    uint64_t mask_hash; // of the paths
    bool fields;        // clients may choose members with ?fields=
};

// A path prefix that takes the place of another one. Both are segments.
struct policy_rewrite {
    struct str from[HTTP_MAX_SEGMENTS], to[HTTP_MAX_SEGMENTS];
    size_t n_from, n_to;
};

// Whose word counts.
struct policy_trust {
    bool all;                 // everybody's
    struct network *networks; // else that of clients in one of these
    size_t n_networks;
};

struct policy {
    unsigned references;
    struct arena memory; // of everything below
    struct cors cors;
    struct policy_trust trace, request_id;
    struct policy_rewrite *rewrites;
    size_t n_rewrites;
    struct policy_rule *rules;
    size_t n_rules;
};

// An empty policy, which changes nothing, with one reference; NULL without memory.
struct policy *policy_new(void);

static inline struct policy *policy_ref(struct policy *p)
{
    if (p) {
        p->references++;
    }
    return p;
}

// Gives a reference back; the last one frees the policy.
void policy_unref(struct policy **p);

// Tells each route which rules are for it (policy NULL: none). Returns how many rules are for no
// live route.
size_t policy_bind(const struct policy *p, struct router *r);

// Applies at most one rewrite: the one with the longest prefix. The target then borrows from p.
void policy_rewrite(const struct policy *p, struct target *target);

bool policy_trusts(const struct policy_trust *t, const struct client_address *client);

// A field of the request as a worker gets to see it after the edits of these rules; p == NULL when
// it is not there.
struct str policy_request_field(const struct policy *p, uint64_t rules,
                                struct str (*field)(const void *request, struct str name),
                                const void *request, struct str name);

// What becomes of a field of a worker's answer: 0, perhaps with another name, or -ENOENT.
int policy_answer_field(const struct policy *p, uint64_t rules, struct str *name);

// Calls write for each field that these rules set in answers.
void policy_answer_sets(const struct policy *p, uint64_t rules,
                        void (*write)(void *data, struct str name, struct str value), void *data);

// The rules of this set whose mask is for somebody with this role (n == 0: none).
uint64_t policy_masks(const struct policy *p, uint64_t rules, struct str role);

#endif
