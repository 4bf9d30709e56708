// SPDX-License-Identifier: MIT
#include "common/handshakes.h"

#include "common/metrics.h"

#include <stddef.h>

#define NAME "sluice_curve_handshake_failures_total"
#define HELP "Handshakes of encrypted links that failed, on this side, by reason."

static struct metric failures[HANDSHAKE_FAILURES] = {
    [HANDSHAKE_AUTH] = METRIC_COUNTER_INIT(NAME, HELP, "reason=\"auth\""),
    [HANDSHAKE_PROTOCOL] = METRIC_COUNTER_INIT(NAME, HELP, "reason=\"protocol\""),
    [HANDSHAKE_CLOSED] = METRIC_COUNTER_INIT(NAME, HELP, "reason=\"closed\""),
};

static void (*print_report)(const char *text);

void handshakes_open(void (*print)(const char *text))
{
    print_report = print;
    for (int i = 0; i < HANDSHAKE_FAILURES; i++) {
        metrics_register(&failures[i]);
    }
}

void handshakes_close(void)
{
    print_report = NULL;
    for (int i = 0; i < HANDSHAKE_FAILURES; i++) {
        metrics_unregister(&failures[i]);
    }
}

void handshakes_count(enum handshake_failure failure)
{
    metric_add(&failures[failure], 1);
}

void handshakes_report(const char *text)
{
    if (print_report) {
        print_report(text);
    }
}
