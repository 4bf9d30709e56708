// SPDX-License-Identifier: MIT
// What a scraper would read of this process.
#ifndef TESTS_UNIT_RENDERED_METRIC_H
#define TESTS_UNIT_RENDERED_METRIC_H

#include <stdint.h>

// The value of a series, named as it is rendered: "name{label=\"value\"}"; -1: there is none.
int64_t rendered_metric(const char *series);

#endif
