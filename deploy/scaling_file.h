// SPDX-License-Identifier: MIT
// Reads the file with the scaling rules (docs/scaling.md), and finds every mistake in it in one go.
#ifndef DEPLOY_SCALING_FILE_H
#define DEPLOY_SCALING_FILE_H

#include "common/json_check.h"
#include "deploy/scaling.h"
#include "deploy/services.h"

#define SCALING_FILE_BYTES 65536       // far above a rule for each service
#define SCALING_INTERVAL_MS 1000       // between samples, when the file does not say
#define SCALING_COOLDOWN_UP_MS 5000    // a worker that was just added takes its part within that
#define SCALING_COOLDOWN_DOWN_MS 60000 // cheaper than to start one again
#define SCALING_IDLE_MS 300000

struct scaling_rules {
    int64_t interval_ms;
    struct scaling_rule services[SERVICES]; // `on` in those that have a rule
};

// Reads the file. Returns 0; -EINVAL with lines in mistakes, which the caller initialised; or
// -ENOMEM. *ret_rules is written on success only.
__attribute__((warn_unused_result)) int scaling_file_read(const char *path, struct buf *mistakes,
                                                          struct scaling_rules *ret_rules);

// The same from memory; name stands for the file in messages.
__attribute__((warn_unused_result)) int scaling_file_parse(const char *name, struct str text,
                                                           struct buf *mistakes,
                                                           struct scaling_rules *ret_rules);

#endif
