// SPDX-License-Identifier: MIT
// Many processes' metrics as one text. Each sample gets the labels `job` ("sluice-users") and
// `instance` ("users-1"), which are those that it would have if each process were scraped by itself:
// rules and dashboards do not see a difference, when the scraper honours the labels.
#ifndef GATEWAY_SUITE_TEXT_H
#define GATEWAY_SUITE_TEXT_H

#include "common/metrics.h"

#define SUITE_NAME_BYTES 112 // of a job or an instance: "HOST:PORT" of a process that is not there

struct suite_process {
    char job[SUITE_NAME_BYTES], instance[SUITE_NAME_BYTES];
    bool up;         // its metrics are here
    bool linked;     // it is known by its link alone, and so was not asked
    struct str text; // as it wrote them; borrowed
};

// Takes job and instance from a process's own sluice_process_info, when it has that.
void suite_text_identify(struct suite_process *p);

// Appends all of them, families together, and sluice_suite_up for each process (sluice_suite_linked as
// well for those that are known by their links alone: that they are not up says nothing). What is not text of
// the format counts as not up, and p->up says so afterwards; a family that has another type than at
// the process before is left out, and counted. left_out: processes that were too many to be asked.
// 0, or -ENOMEM. b's own error is the caller's to look at.
__attribute__((warn_unused_result)) int suite_text_merge(struct suite_process *p, size_t n,
                                                         size_t left_out,
                                                         enum metrics_format format, struct buf *b);

#endif
