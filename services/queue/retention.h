// SPDX-License-Identifier: MIT
// How long events are kept: by age, number and bytes, with rules for topics. Only says what the
// limits are; journal_expire() acts on them.
#ifndef QUEUE_RETENTION_H
#define QUEUE_RETENTION_H

#include "proto/queue_frames.h"

#define RETENTION_MAX_RULES 64 // each costs two sums in each look at the log
#define RETENTION_ERROR_SIZE 512
// Over so many times its limit of bytes events go even though somebody holds them back.
#define RETENTION_HOLD_FACTOR 2

// 0: no limit of that kind.
struct retention_limits {
    int64_t age_ms; // since they were stored
    uint64_t count; // so many events stay at least
    uint64_t bytes; // so many bytes of files stay at most
};

struct retention_rule {
    struct str filter; // of topics; in text
    struct retention_limits limits;
};

struct retention {
    struct retention_limits general; // of topics that no rule is for
    struct retention_rule rules[RETENTION_MAX_RULES];
    size_t n_rules;
    char *text; // owned
};

// Fills r; text (NULL: no rules) is like
//
//     users.session.>:age=1d;orders.>:age=90d,count=5000000,bytes=1GiB
//
// A kind of limit that a rule does not name is the general one. Returns 0, -ENOMEM, or -EINVAL with
// a sentence in error that names what is wrong and what is allowed.
__attribute__((warn_unused_result)) int retention_init(struct retention *r,
                                                       const struct retention_limits *general,
                                                       const char *text,
                                                       char error[RETENTION_ERROR_SIZE]);
void retention_fini(struct retention *r);

// Number of the first rule for this topic; n_rules: the general limits are.
size_t retention_rule_of(const struct retention *r, struct str topic);

// Of a rule, or the general ones.
const struct retention_limits *retention_limits(const struct retention *r, size_t rule);

#endif
