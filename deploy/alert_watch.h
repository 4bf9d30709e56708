// SPDX-License-Identifier: MIT
// Looks at the conditions of alerts.h after every survey, logs what begins and ends, and has it
// delivered (alert_delivery.h).
#ifndef DEPLOY_ALERT_WATCH_H
#define DEPLOY_ALERT_WATCH_H

#include "deploy/autoscaler.h"
#include "deploy/fleet.h"
#include "deploy/survey.h"

// Limits that are the same as in the rules of deploy/prometheus.
#define ALERT_OUTBOX_PERCENT 30 // of the rows that there may be
#define ALERT_OUTBOX_OLD_S 60
#define ALERT_BACKUP_OLD_S (26 * 3600)
#define ALERT_BEHIND_S 60
#define ALERT_REVOCATION_LAG_S 30
#define ALERT_TOKEN_KEY_OLD_S (100 * 86400)
#define ALERT_DESCRIPTORS_PERCENT 80 // of those that a process may have
#define ALERT_MEMORY_BYTES INT64_C(805306368)
#define ALERT_WAL_BYTES INT64_C(268435456)
#define ALERT_RISE_MS 300000  // for so long it matters that a counter has risen
#define ALERT_STUCK_MS 600000 // and that a worker was stuck

struct alert_watch;

struct alert_watch_options {
    struct fleet *fleet;
    struct survey *survey;
    struct autoscaler *autoscaler;
    const char *home;                       // borrowed
    const struct supervisor_config *config; // likewise
    const struct log_writer *log_writer;    // likewise; NULL: none
};

// Whether the options about alerts can be used. Prints what is wrong with them on stderr. Returns 0
// or -EINVAL.
__attribute__((warn_unused_result)) int alert_watch_check(const struct supervisor_config *config);

__attribute__((warn_unused_result)) int alert_watch_open(uv_loop_t *loop,
                                                         const struct alert_watch_options *options,
                                                         struct alert_watch **ret_watch);

// A survey is complete.
void alert_watch_round(struct alert_watch *w);

// Alerts that fire.
size_t alert_watch_firing(const struct alert_watch *w);

// Appends the member "alerts" of a JSON object: an array of those that fire or may soon.
void alert_watch_list(const struct alert_watch *w, struct buf *out);

// The supervisor ends: what is to be told still is, as alert_delivery_finish() does it.
void alert_watch_finish(struct alert_watch *w, int64_t limit_ms, void (*done)(void *data),
                        void *data);

// Memory goes when the loop has closed the handles.
void alert_watch_close(struct alert_watch **watch);

#endif
