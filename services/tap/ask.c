// SPDX-License-Identifier: MIT
#include "services/tap/ask.h"

#include <errno.h>

#include "proto/writer.h"

#define ARGUMENT_BYTES 65536

struct answer {
    struct buf *to;
    int status;
    bool done;
};

void ask_begin(struct ask *a)
{
    buf_init(&a->arguments, ARGUMENT_BYTES);
    a->mark = writer_open_map(&a->arguments);
    a->n = 0;
}

static void begin_argument(struct ask *a, const char *name)
{
    writer_key(&a->arguments, name);
    a->n++;
}

void ask_text(struct ask *a, const char *name, const char *text)
{
    if (text) {
        begin_argument(a, name);
        writer_str(&a->arguments, str_of(text));
    }
}

void ask_number(struct ask *a, const char *name, int64_t value)
{
    if (value >= 0) {
        begin_argument(a, name);
        writer_uint(&a->arguments, (uint64_t)value);
    }
}

void ask_flag(struct ask *a, const char *name, bool value)
{
    if (value) {
        begin_argument(a, name);
        writer_bool(&a->arguments, value);
    }
}

void ask_texts(struct ask *a, const char *name, const struct str *texts, size_t n)
{
    begin_argument(a, name);
    writer_array(&a->arguments, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        writer_str(&a->arguments, texts[i]);
    }
}

void ask_numbers(struct ask *a, const char *name, const uint64_t *numbers, size_t n)
{
    begin_argument(a, name);
    writer_array(&a->arguments, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        writer_uint(&a->arguments, numbers[i]);
    }
}

static void on_answer(int status, struct str result, void *data)
{
    struct answer *a = data;
    a->status = status;
    a->done = true;
    if (status == -ECANCELED) {
        return;
    }
    buf_reset(a->to);
    buf_append_str(a->to, result);
}

// Waits for what was asked.
static int wait_for(struct tap *t, const char *what, struct answer *a)
{
    int rc = tap_wait(t, &a->done, -1); // the client gives up by itself
    if (rc) {
        queue_client_close(&t->queue); // the answer has nobody to come to
        return tap_waited(t, rc);
    }
    if (a->status == -ETIMEDOUT) {
        return tap_waited(t, -ETIMEDOUT);
    }
    if (a->status) {
        return tap_fail(t, TAP_USAGE, "%s: the queue refuses: %.*s", what, STR_ARG(buf_str(a->to)));
    }
    return buf_ok(a->to) ? TAP_OK : tap_fail(t, TAP_UNREACHABLE, "%s: out of memory", what);
}

int ask_call(struct tap *t, const char *method, struct ask *a, struct buf *ret_result)
{
    struct answer answer = { .to = ret_result };
    writer_close(&a->arguments, a->mark, a->n);
    int rc = buf_error(&a->arguments);
    rc = rc ? rc
            : queue_client_call(t->queue, str_of(method), buf_str(&a->arguments),
                                (int)t->options.timeout_ms, on_answer, &answer);
    buf_fini(&a->arguments);
    if (rc) {
        return tap_fail(t, TAP_UNREACHABLE, "%s: cannot ask the queue: %s", method, strerror(-rc));
    }
    return wait_for(t, method, &answer);
}

int ask_info(struct tap *t, struct buf *ret_map)
{
    struct answer answer = { .to = ret_map };
    int rc = queue_client_info(t->queue, (int)t->options.timeout_ms, on_answer, &answer);
    if (rc) {
        return tap_fail(t, TAP_UNREACHABLE, "cannot ask the queue: %s", strerror(-rc));
    }
    return wait_for(t, "info", &answer);
}
