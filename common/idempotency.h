// SPDX-License-Identifier: MIT
// Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): the first answer is kept in the
// store in the transaction of the change, and a repeat with the same key and request gets it again.
#ifndef COMMON_IDEMPOTENCY_H
#define COMMON_IDEMPOTENCY_H

#include "common/db.h"

#define IDEMPOTENCY_MAX_KEY 255 // bytes

struct call;

// Takes the key out of the header: a quoted string of RFC 9651, or a bare token. Returns 0 with
// *ret_key, or -EINVAL.
__attribute__((warn_unused_result)) int idempotency_parse(struct str header, struct str *ret_key);

// Sets the call's scope and fingerprint. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int idempotency_prepare(struct call *c);

// Looks for a kept answer; writer thread. 1: the call was answered (replayed, or refused because
// the key belongs to another request); 0: it is new; or a negative errno.
__attribute__((warn_unused_result)) int idempotency_find(struct db *db, struct call *c);

// Keeps the call's answer; writer thread, in the transaction of the change. 0 or a negative errno.
__attribute__((warn_unused_result)) int idempotency_keep(struct db *db, struct call *c);

// Removes a bounded number of answers that are older than WORKER_IDEMPOTENCY_MS. 0 or a negative
// errno.
__attribute__((warn_unused_result)) int idempotency_expire(struct db *db, int64_t now_ms);

#endif
