// SPDX-License-Identifier: MIT
#include "common/handshakes.h"

#include "common/clock.h"
#include "common/metrics.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME "sluice_curve_handshake_failures_total"
#define HELP "Handshakes of encrypted links that failed, on this side, by reason."

static struct metric failures[HANDSHAKE_FAILURES] = {
    [HANDSHAKE_AUTH] = METRIC_COUNTER_INIT(NAME, HELP, "reason=\"auth\""),
    [HANDSHAKE_PROTOCOL] = METRIC_COUNTER_INIT(NAME, HELP, "reason=\"protocol\""),
    [HANDSHAKE_CLOSED] = METRIC_COUNTER_INIT(NAME, HELP, "reason=\"closed\""),
};

static void (*print_report)(const char *text);
static _Atomic int64_t next_ms;  // when a line may be written again
static _Atomic int64_t left_out; // lines since the last one

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
    char line[HANDSHAKES_TEXT_SIZE + 64];
    int64_t now = clock_mono_ms(), due = atomic_load(&next_ms);
    if (!print_report) {
        return;
    }
    if (now < due || !atomic_compare_exchange_strong(&next_ms, &due, now + HANDSHAKES_REPORT_MS)) {
        atomic_fetch_add(&left_out, 1);
        return;
    }
    int64_t n = atomic_exchange(&left_out, 0);
    if (n) {
        (void)snprintf(line, sizeof line, "%s; %" PRId64 " more like this", text, n);
    }
    print_report(n ? line : text);
}
