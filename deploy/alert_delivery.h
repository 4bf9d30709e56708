// SPDX-License-Identifier: MIT
// Tells somebody of alerts: a POST of JSON to a webhook, by the program curl, which knows TLS,
// names and proxies; and a command of the operator's. In the order of what happened, one at a time,
// again after a while when it fails, from a bounded queue. Nothing waits for it.
//
//     {"version":1,"status":"firing","alert":"SluiceCrashLoop","severity":"page","subject":"users-1",
//      "since":"2026-11-27T02:00:00.000Z","at":"..","value":5,"unit":"","summary":"..","runbook":"..",
//      "host":"..","home":".."}
//
// The command gets the same on its standard input, and in its environment as SLUICE_ALERT_STATUS,
// _NAME, _SEVERITY, _SUBJECT, _SINCE, _VALUE, _SUMMARY and _RUNBOOK.
#ifndef DEPLOY_ALERT_DELIVERY_H
#define DEPLOY_ALERT_DELIVERY_H

#include "deploy/alerts.h"
#include "proto/buf.h"

#include <uv.h>

#define ALERT_DELIVERY_QUEUE 64      // one more takes the place of the oldest, which is counted
#define ALERT_DELIVERY_ATTEMPTS 6    // the last one half a minute after the first
#define ALERT_DELIVERY_RETRY_MS 1000 // doubled each time
#define ALERT_DELIVERY_BYTES 4096    // of one JSON object
#define ALERT_DELIVERY_LAST_MS                                                                     \
    5000 // at the end: enough for who answers, short for who waits for it

struct alert_delivery;

struct alert_delivery_options {
    const char *home;    // these are borrowed
    const char *webhook; // NULL: none
    const char *command; // NULL: none
    const char *runbook; // where its sections are: "URL#" or "FILE#" is put before the name
};

__attribute__((warn_unused_result)) int
alert_delivery_open(uv_loop_t *loop, const struct alert_delivery_options *options,
                    struct alert_delivery **ret_delivery);

// Puts it on the queue, if there is anybody to tell.
void alert_delivery_send(struct alert_delivery *d, const struct alert *alert, bool firing);

// What became of so many, each target counted: for metrics.
enum alert_delivery_result { ALERT_DELIVERED, ALERT_FAILED, ALERT_OUTRUN, ALERT_DELIVERY_RESULTS };
int64_t alert_delivery_count(const struct alert_delivery *d, enum alert_delivery_result result);

// Appends the link to the alert's section.
void alert_delivery_runbook(struct buf *out, const char *runbook, enum alert_condition condition);

// The end is near: what is queued is tried now, once each, and done is called when none is left or
// limit_ms are over, at once (within the call) or later. What has not been told by then is lost,
// and the log says so. A second call, with another limit, takes the place of the first.
void alert_delivery_finish(struct alert_delivery *d, int64_t limit_ms, void (*done)(void *data),
                           void *data);

// What has not been delivered is not. Memory goes when the loop has closed the handles.
void alert_delivery_close(struct alert_delivery **delivery);

#endif
