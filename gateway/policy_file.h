// SPDX-License-Identifier: MIT
// Reads the policy file (docs/policy.md) into a struct policy, and finds every mistake in it in one
// go. Nothing is taken for granted and nothing is ignored: a key that is not known is a mistake.
#ifndef GATEWAY_POLICY_FILE_H
#define GATEWAY_POLICY_FILE_H

#include "common/json_check.h"
#include "gateway/policy.h"

// Reads the file. Returns 0; -EINVAL with lines in mistakes ("FILE:LINE:COLUMN: path: what is wrong;
// allowed: ..."), which the caller initialised; or -ENOMEM. A file that cannot be read is a mistake,
// too.
__attribute__((warn_unused_result)) int policy_file_read(const char *path, struct buf *mistakes,
                                                         struct policy **ret_policy);

// The same from memory; name stands for the file in messages.
__attribute__((warn_unused_result)) int policy_file_parse(const char *name, struct str text,
                                                          struct buf *mistakes,
                                                          struct policy **ret_policy);

#endif
