// SPDX-License-Identifier: MIT
#include "services/tap/export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "services/tap/log.h"

int export_open(struct export *x, struct tap *t, const char *path)
{
    *x = (struct export){ .path = path && strcmp(path, "-") != 0 ? path : NULL };
    progress_begin(&x->progress, "exported", 0);
    t->options.style.format = RENDER_NDJSON;
    if (!x->path) {
        x->progress.terminal = x->progress.terminal && !isatty(STDOUT_FILENO);
        return TAP_OK;
    }
    int n = snprintf(x->part, sizeof x->part, "%s.part", x->path);
    x->file = n < (int)sizeof x->part ? fopen(x->part, "wxe") : NULL;
    if (!x->file) {
        return tap_fail(t, TAP_USAGE, "%s: %s", x->part,
                        strerror(n < (int)sizeof x->part ? errno : ENAMETOOLONG));
    }
    return TAP_OK;
}

int export_flush(struct export *x, struct tap *t)
{
    progress_at(&x->progress, x->n);
    if (!x->file) {
        return tap_flush(t) ? TAP_OK : LOG_STOP;
    }
    bool written = t->out.len == 0 || fwrite(t->out.data, 1, t->out.len, x->file) == t->out.len;
    buf_reset(&t->out);
    return written ? TAP_OK : tap_fail(t, TAP_USAGE, "%s: %s", x->part, strerror(errno));
}

int export_close(struct export *x, struct tap *t, int status)
{
    status = status ? status : export_flush(x, t);
    progress_end(&x->progress);
    if (!x->file) {
        return status == LOG_STOP ? TAP_OK : status ? status : x->n ? TAP_OK : TAP_NOTHING;
    }
    if (status == TAP_OK && (fflush(x->file) || fsync(fileno(x->file)))) {
        status = tap_fail(t, TAP_USAGE, "%s: %s", x->part, strerror(errno));
    }
    if (fclose(x->file) && status == TAP_OK) {
        status = tap_fail(t, TAP_USAGE, "%s: %s", x->part, strerror(errno));
    }
    if (status == TAP_OK && rename(x->part, x->path)) {
        status = tap_fail(t, TAP_USAGE, "%s: %s", x->path, strerror(errno));
    }
    if (status) {
        (void)unlink(x->part);
        return status;
    }
    (void)fprintf(stderr, "%" PRIu64 " events in %s\n", x->n, x->path);
    return x->n ? TAP_OK : TAP_NOTHING;
}

static int write_event(struct tap *t, const struct log_entry *e, void *data)
{
    struct export *x = data;
    int64_t limit = t->options.number;
    struct render_entry entry = { .seq = e->seq, .stored_ms = e->stored_ms, .encoded = e->encoded };
    if (limit == 0) {
        return LOG_STOP;
    }
    t->damaged = render_event(&t->options.style, &entry, &t->out) != 0 || t->damaged;
    buf_append_char(&t->out, '\n');
    x->n++;
    return x->n == (uint64_t)limit ? LOG_STOP : TAP_OK;
}

static int flush(struct tap *t, void *data)
{
    return export_flush(data, t);
}

int export_run(struct tap *t)
{
    struct export x;
    struct queue_subscribe wanted;
    bool any = log_wanted(&t->options, &wanted);
    int status = tap_connect(t);
    status = status ? status : export_open(&x, t, t->options.file);
    if (status) {
        return status;
    }
    tap_catch_signals(t); // the unfinished file goes away
    status = any ? log_read(t, &wanted, write_event, flush, &x) : TAP_OK;
    return export_close(&x, t, status);
}
