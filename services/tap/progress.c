// SPDX-License-Identifier: MIT
#include "services/tap/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "services/tap/render.h"

#define EVERY_MS 200
#define LINE_BYTES 160

void progress_begin(struct progress *p, const char *what, uint64_t total)
{
    int64_t now = clock_mono_ms();
    *p = (struct progress){ what, total, now, now, isatty(STDERR_FILENO) == 1, false };
}

void progress_at(struct progress *p, uint64_t done)
{
    struct buf b;
    int64_t now = clock_mono_ms(), took;
    if (!p->terminal || now - p->shown_ms < EVERY_MS) {
        return;
    }
    buf_init(&b, LINE_BYTES);
    took = now - p->begun_ms;
    buf_printf(&b, "%" PRIu64 " %s", done, p->what);
    if (took > 0) {
        buf_printf(&b, ", %" PRIu64 "/s", done * 1000 / (uint64_t)took);
    }
    if (p->total && done && done <= p->total) {
        buf_printf(&b, ", %" PRIu64 "%%, ", done * 100 / p->total);
        render_duration(took * (int64_t)(p->total - done) / (int64_t)done, &b);
        buf_append_z(&b, " left");
    }
    (void)fprintf(stderr, "\r\033[K%.*s", STR_ARG(buf_str(&b)));
    p->shown_ms = now;
    p->shown = true;
    buf_fini(&b);
}

void progress_end(struct progress *p)
{
    if (p->shown) {
        (void)fprintf(stderr, "\r\033[K");
        p->shown = false;
    }
}
