// SPDX-License-Identifier: MIT
// The conditions that the supervisor looks at by itself, for machines without Prometheus, and which
// of them hold: each by its subject (an instance, a service, a group), pending until it has held for
// its time, then firing until it holds no more. Pure: reports and times in, changes out.
//
// The names and severities are those of the rules in deploy/prometheus, a section of
// docs/runbook.md each; tests compare the three. To add one: a line here, a rule there, a section,
// and who reports it (alert_watch.c).
//
//     (none) --reported--> PENDING --held for its time--> FIRING --not reported--> (none)
//                             +---------not reported--> (none)
#ifndef DEPLOY_ALERTS_H
#define DEPLOY_ALERTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// X(symbol, name, severity, seconds that it must hold, unit of its value, sentence about the
// subject, with %s)
// clang-format off
#define ALERTS(X)                                                                                  \
    X(CRASH_LOOP, "SluiceCrashLoop", "page", 0, "", "%s does not stay up")                         \
    X(UNEXPECTED_EXIT, "SluiceUnexpectedExit", "ticket", 0, "times",                               \
      "%s ended a short while ago though nobody had asked for it")                                 \
    X(NOT_READY, "SluiceProcessNotReady", "page", 60, "", "%s is not ready")                       \
    X(ERRORS_FAST, "SluiceErrorBudgetBurnFast", "page", 0, "per million",                          \
      "so many requests of %s fail that the budget of 30 days is gone in two days")                \
    X(ERRORS_MEDIUM, "SluiceErrorBudgetBurnMedium", "page", 0, "per million",                      \
      "so many requests of %s fail that the budget of 30 days is gone in five days")               \
    X(ERRORS_SLOW, "SluiceErrorBudgetBurnSlow", "ticket", 0, "per million",                        \
      "so many requests of %s fail that the budget of 30 days is gone in ten days")                \
    X(ERRORS_STEADY, "SluiceErrorBudgetBurnSteady", "ticket", 0, "per million",                    \
      "so many requests of %s fail that nothing of the budget of 30 days is left")                 \
    X(LATENCY_FAST, "SluiceLatencyBudgetBurnFast", "page", 0, "per million",                       \
      "so many requests of %s are slow that the budget of 30 days is gone in two days")            \
    X(LATENCY_MEDIUM, "SluiceLatencyBudgetBurnMedium", "page", 0, "per million",                   \
      "so many requests of %s are slow that the budget of 30 days is gone in five days")           \
    X(LATENCY_SLOW, "SluiceLatencyBudgetBurnSlow", "ticket", 0, "per million",                     \
      "so many requests of %s are slow that the budget of 30 days is gone in ten days")            \
    X(LATENCY_STEADY, "SluiceLatencyBudgetBurnSteady", "ticket", 0, "per million",                 \
      "so many requests of %s are slow that nothing of the budget of 30 days is left")             \
    X(GROUP_BEHIND, "SluiceQueueGroupBehind", "ticket", 300, "s",                                  \
      "group %s has not settled an event for long")                                                \
    X(GROUP_ALONE, "SluiceQueueGroupWithoutMembers", "page", 300, "events",                        \
      "nobody works for group %s, and it has events")                                              \
    X(DEAD_LETTERS, "SluiceQueueDeadLetters", "ticket", 3600, "events",                            \
      "group %s has dead letters")                                                                 \
    X(STORE_TROUBLE, "SluiceStoreTrouble", "page", 60, "", "the store of %s cannot be used")       \
    X(OUTBOX_FILLS, "SluiceOutboxFills", "page", 0, "events", "many events of %s wait for the queue") \
    X(OUTBOX_OLD, "SluiceOutboxOld", "page", 60, "s", "events of %s wait for the queue for long")  \
    X(OUTBOX_FULL, "SluiceOutboxFull", "page", 0, "requests",                                      \
      "%s refuses writes, because too many events wait for the queue")                             \
    X(LOST_RECORDS, "SluiceQueueLostRecords", "page", 0, "events", "events of the log of %s are damaged") \
    X(QUEUE_FULL, "SluiceQueueDiskFull", "page", 0, "requests",                                    \
      "%s refuses events: no room on its disk")                                                    \
    X(QUEUE_IDENTITY, "SluiceQueueIdentityRefused", "page", 0, "requests",                         \
      "a client of %s tries what its key does not allow")                                          \
    X(EVENTS_SKIPPED, "SluiceQueueEventsSkipped", "page", 0, "events",                             \
      "events went before group %s had settled them")                                              \
    X(NO_WORKER, "SluiceNoWorker", "page", 15, "gateways",                                         \
      "a gateway has no worker of %s: its routes answer 503")                                      \
    X(OVERLOADED, "SluiceOverloaded", "page", 180, "classes",                                      \
      "more is asked of %s than its workers do, and some of it is refused")                        \
    X(WORKER_STUCK, "SluiceWorkerStuck", "page", 0, "times",                                       \
      "a worker of %s has a request that is never answered")                                       \
    X(CONNECTIONS_FULL, "SluiceConnectionsFull", "page", 300, "connections",                       \
      "%s turns clients away, because it has all the connections that it may")                     \
    X(WAIT_QUEUE_FULL, "SluiceWaitQueueFull", "ticket", 300, "requests",                           \
      "%s refuses requests, because as many as may wait for a worker do")                          \
    X(FOREIGN_WORKER, "SluiceForeignWorker", "page", 0, "times",                                   \
      "a worker at %s claims to be a service whose key it does not have")                          \
    X(LINK_KEY, "SluiceLinkKeyUnknown", "page", 300, "times",                                      \
      "%s: an encrypted link is refused, because a key is not known")                              \
    X(TOKEN_KEY, "SluiceTokenKeyUnusable", "page", 0, "times",                                     \
      "%s cannot use the token keys that are in secrets/ now; it goes on with those from before")  \
    X(TOKEN_KEY_OLD, "SluiceTokenKeyOld", "ticket", 3600, "s",                                     \
      "the key of %s that signs access tokens is old and was not rotated")                         \
    X(REVOCATIONS, "SluiceGatewayRevocationsMissing", "page", 60, "s",                             \
      "%s has not heard of revocations: revoked access tokens are taken until they expire")        \
    X(SEARCH_BEHIND, "SluiceSearchBehind", "ticket", 300, "s", "%s is behind the events")          \
    X(DESCRIPTORS, "SluiceDescriptorsLow", "page", 120, "open",                                    \
      "%s has more than four fifths of the files and connections open that it may")                \
    X(MEMORY, "SluiceMemoryHigh", "ticket", 600, "bytes", "%s has far more memory than it needs")  \
    X(WAL, "SluiceStoreWalLarge", "ticket", 900, "bytes",                                          \
      "the write-ahead log of the store of %s is large and is not taken over into it")             \
    X(DISK, "SluiceDiskNearlyFull", "page", 60, "% free", "the disk of %s is nearly full")         \
    X(LOG, "SluiceLogLost", "ticket", 60, "errno", "%s cannot be written, and lines are lost")     \
    X(BACKUP_OLD, "SluiceBackupOld", "ticket", 600, "s", "the store of %s was not backed up for long") \
    X(SANDBOX, "SluiceSandboxMissing", "ticket", 300, "", "%s runs without a part of its sandbox") \
    X(AT_MAXIMUM, "SluiceScalingAtMaximum", "ticket", 300, "processes",                            \
      "%s has all the processes that its rule allows, and they are not enough")                    \
    X(RULES_STALE, "SluiceScalingRulesStale", "ticket", 60, "",                                    \
      "the scaling rules of %s have mistakes; older ones are in use")
// clang-format on

enum alert_condition {
#define X(symbol, name, severity, hold_s, unit, sentence) ALERT_##symbol,
    ALERTS(X)
#undef X
        ALERT_COUNT
};

#define ALERTS_MAX 128 // pending and firing; of a machine in flames the first ones are enough
#define ALERTS_SUBJECT 64
#define ALERTS_TEXT 256 // of a summary

struct alert {
    enum alert_condition condition;
    char subject[ALERTS_SUBJECT];
    bool firing;
    int64_t began_ms; // monotonic: it holds since
    int64_t since_ms; // the same as wall time
    int64_t value;    // the last one, in the condition's unit
    bool reported;    // in this round
};

struct alerts {
    struct alert active[ALERTS_MAX];
    size_t n;
    int64_t max_hold_ms; // no condition must hold for longer than this
    uint64_t dropped;    // reports for which there was no room
    // An alert begins to fire or is resolved; borrowed.
    void (*on_change)(const struct alert *alert, bool firing, void *data);
    void *data;
};

void alerts_init(struct alerts *a, int64_t max_hold_ms,
                 void (*on_change)(const struct alert *alert, bool firing, void *data), void *data);

// In a round, each condition that holds is reported, with the subject; the round's end says what
// became of those that were not.
void alerts_report(struct alerts *a, enum alert_condition condition, const char *subject,
                   int64_t value, int64_t now_ms, int64_t wall_ms);
void alerts_end_round(struct alerts *a, int64_t now_ms);

size_t alerts_firing(const struct alerts *a);

const char *alert_name(enum alert_condition condition);
const char *alert_severity(enum alert_condition condition);
const char *alert_unit(enum alert_condition condition);

// The sentence about an alert.
void alert_summary(const struct alert *alert, char out[ALERTS_TEXT]);

#endif
