// SPDX-License-Identifier: MIT
#include "tests/unit/sample.h"

#include "common/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_BYTES (1024 * 1024)

int64_t sample(const char *series)
{
    struct buf text;
    size_t n = strlen(series);
    buf_init(&text, TEXT_BYTES);
    metrics_render(&text, METRICS_TEXT);
    buf_append_char(&text, '\0');
    assert_true(buf_ok(&text));
    const char *line = text.data;
    while (line && (strncmp(line, series, n) != 0 || line[n] != ' ')) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    int64_t value = line ? strtoll(line + n, NULL, 10) : -1;
    buf_fini(&text);
    if (!line) {
        fail_msg("no %s in /metrics", series);
    }
    return value;
}
