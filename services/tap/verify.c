// SPDX-License-Identifier: MIT
// verify: of the running queue, which is asked; or of a directory, for which the queue's program is
// run, as it alone knows the format.
#include "services/tap/ask.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "services/tap/fields.h"
#include "services/tap/progress.h"

#define POLL_MS 200
#define PATH_BYTES 4096

static int verify_directory(struct tap *t)
{
    char path[PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof "sluice-queue");
    if (n < 0) {
        return tap_fail(t, TAP_USAGE, "cannot find sluice-queue: %s", strerror(errno));
    }
    path[n] = 0;
    char *name = strrchr(path, '/');
    (void)snprintf(name ? name + 1 : path, sizeof "sluice-queue",
                   "sluice-queue"); // fits, see above
    (void)execl(path, "sluice-queue", "--verify", t->options.target, t->options.archive,
                (char *)NULL); // no archive: the list ends there
    return tap_fail(t, TAP_USAGE, "%s: %s", path, strerror(errno));
}

static int ask_verify(struct tap *t, bool deep, struct buf *result)
{
    struct ask a;
    ask_begin(&a);
    ask_flag(&a, "deep", deep);
    return ask_call(t, "verify", &a, result);
}

// Asks again until all was read.
static int wait_for_end(struct tap *t, struct buf *result)
{
    struct progress p;
    int status = TAP_OK;
    progress_begin(&p, "sequences verified", fields_uint(buf_str(result), "last_seq"));
    while (status == TAP_OK && fields_bool(buf_str(result), "running")) {
        progress_at(&p, fields_uint(buf_str(result), "next_seq"));
        int rc = tap_wait(t, NULL, POLL_MS);
        status = rc == -ETIMEDOUT ? ask_verify(t, false, result) : tap_waited(t, rc);
        if (status == TAP_OK && rc != -ETIMEDOUT) {
            break; // nobody reads any more
        }
    }
    progress_end(&p);
    return status;
}

static void report(struct tap *t, struct str result)
{
    struct fields_list l = fields_list(result, "lost");
    struct str range;
    uint64_t first, last;
    t->damaged = l.left > 0;
    if (t->options.style.format != RENDER_PRETTY) {
        render_value(result, &t->out);
        buf_append_char(&t->out, '\n');
        return;
    }
    while (fields_next(&l, &range)) {
        struct reader r = reader_of(range);
        uint32_t two;
        if (reader_array(&r, &two) == 0 && two == 2 && reader_uint(&r, &first) == 0 &&
            reader_uint(&r, &last) == 0) {
            buf_printf(&t->out, "LOST %" PRIu64 "..%" PRIu64 "\n", first, last);
        }
    }
    if (!t->damaged) {
        buf_printf(&t->out, "no damage%s, last sequence %" PRIu64 "\n",
                   t->options.deep ? "" : " is known", fields_uint(result, "last_seq"));
    }
}

int verify_run(struct tap *t)
{
    struct buf result;
    if (t->options.target) {
        return verify_directory(t);
    }
    int status = tap_connect(t);
    buf_init(&result, TAP_RESULT_BYTES);
    status = status ? status : ask_verify(t, t->options.deep, &result);
    status = status || !t->options.deep ? status : wait_for_end(t, &result);
    if (status == TAP_OK) {
        report(t, buf_str(&result));
    }
    buf_fini(&result);
    return status;
}
