// SPDX-License-Identifier: MIT
// What /metrics of this process says at the moment.
#ifndef TESTS_UNIT_SAMPLE_H
#define TESTS_UNIT_SAMPLE_H

#include <stdint.h>

// The value of the sample whose line begins with this series, "name" or "name{labels}", without what
// is behind its point. Fails the case when there is none.
int64_t sample(const char *series);

#endif
