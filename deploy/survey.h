// SPDX-License-Identifier: MIT
// Looks at all processes of a fleet at an interval: asks each that is wanted for its metrics, also one
// that is not ready (it may say why), the gateways for their queues of waiting requests as well, and
// keeps the last two readings. What follows from them is decided elsewhere (scaling.h, alerts.h).
#ifndef DEPLOY_SURVEY_H
#define DEPLOY_SURVEY_H

#include "deploy/fleet.h"
#include "deploy/reading.h"
#include "deploy/scaling.h"

#define SURVEY_PARALLEL 8      // processes asked at once
#define SURVEY_TIMEOUT_MS 2000 // for one page; a process that is busier than that counts as silent

struct survey;

// The readings of one process.
struct survey_process {
    pid_t pid;       // that they are of; 0: nothing is known
    bool ready;      // when it was asked
    bool answered;   // in the last round
    bool has_before; // `before` is of the same process
    struct reading now, before;
    int64_t now_ms, before_ms; // monotonic, when they were taken
};

struct survey_options {
    struct fleet *fleet;
    const char *home;             // borrowed
    void (*on_round)(void *data); // every process has answered or has not
    void *data;
};

__attribute__((warn_unused_result)) int
survey_open(uv_loop_t *loop, const struct survey_options *options, struct survey **ret_survey);

// From the beginning of a round to that of the next one, if it is over by then.
void survey_interval(struct survey *s, int64_t interval_ms);

// Of a process by its slot in the fleet; NULL: nothing is known of it.
const struct survey_process *survey_process(const struct survey *s, int slot);

// Groups of the queue, n of them.
const struct group_reading *survey_groups(const struct survey *s, size_t *ret_n);

// Fills in what was measured of a service. `demanded` is the caller's.
void survey_service(const struct survey *s, int service, struct scaling_input *ret_input);

// Answers of all gateways between the last two readings.
struct survey_answers {
    int64_t requests, errors; // all, and those with 5xx
    int64_t served, slow;     // the others, and those of them that took longer than READING_SLOW_S
};

struct survey_answers survey_answers(const struct survey *s);

// Rounds that began, and pages that were not answered by processes that were ready.
int64_t survey_rounds(const struct survey *s);
int64_t survey_failures(const struct survey *s);

// Stops; memory goes when the loop has closed the handles.
void survey_close(struct survey **survey);

#endif
