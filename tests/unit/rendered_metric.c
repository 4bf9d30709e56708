// SPDX-License-Identifier: MIT
#include "tests/unit/rendered_metric.h"

#include "common/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RENDERED_BYTES (1024 * 1024)

int64_t rendered_metric(const char *series)
{
    struct buf b;
    char line[200];
    buf_init(&b, RENDERED_BYTES);
    metrics_render(&b, METRICS_TEXT);
    buf_append_char(&b, '\0');
    snprintf(line, sizeof line, "\n%s ", series);
    const char *found = buf_ok(&b) ? strstr(b.data, line) : NULL;
    int64_t value = found ? strtoll(found + strlen(line), NULL, 10) : -1;
    buf_fini(&b);
    return value;
}
