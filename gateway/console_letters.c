// SPDX-License-Identifier: MIT
#include "gateway/console_letters.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/console_answer.h"
#include "gateway/console_json.h"
#include "proto/writer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ARGUMENT_BYTES 4096

struct letter {
    uint64_t seq, origin_seq, died_ms, attempts;
    struct buf event; // JSON; empty: not seen
};

// A look at dead letters: which there are, and then what they are.
struct look {
    struct console_letters *all;
    struct admin_request *request; // NULL: it is gone, only the answer of the queue is waited for
    struct queue_subscription *subscription;
    char group[QUEUE_MAX_GROUP + 1];
    uint64_t after, total;
    struct letter letters[CONSOLE_LETTERS];
    size_t n;
    uint32_t done; // events since the last grant
    int64_t deadline_ms;
    bool asked; // a call is on its way
};

struct order {
    struct console_queue *queue;
    struct admin_request *request; // NULL: it is gone
    const char *method;
    struct console_order what;
};

struct console_letters {
    struct console_queue *queue;
    struct look *looks[CONSOLE_MAX_LOOKS]; // NULL: the place is free
    size_t n_looks;
    uv_timer_t tick; // runs while there are looks
};

// --- Looking

static void free_look(struct look *l)
{
    struct console_letters *all = l->all;
    for (size_t i = 0; i < CONSOLE_MAX_LOOKS; i++) {
        all->looks[i] = all->looks[i] == l ? NULL : all->looks[i];
    }
    if (--all->n_looks == 0) {
        (void)uv_timer_stop(&all->tick); // cannot fail
    }
    queue_subscription_close(&l->subscription);
    for (size_t i = 0; i < l->n; i++) {
        buf_fini(&l->letters[i].event);
    }
    free(l);
    console_queue_release(all->queue);
}

static void on_look_gone(void *data)
{
    struct look *l = data;
    l->request = NULL;
    if (!l->asked) {
        free_look(l);
    }
}

static void refuse_look(struct look *l, int status, const char *what)
{
    struct admin_request *r = l->request;
    free_look(l);
    if (r) {
        console_refuse(r, status, what);
    }
}

static void answer_look(struct look *l)
{
    struct admin_request *r = l->request;
    struct buf *b = admin_answer_body(r);
    buf_printf(b, "{\"group\":\"%s\",\"total\":%" PRIu64 ",\"letters\":[", l->group, l->total);
    for (size_t i = 0; i < l->n; i++) {
        const struct letter *one = &l->letters[i];
        buf_printf(b,
                   "%s{\"seq\":%" PRIu64 ",\"origin_seq\":%" PRIu64 ",\"died_ms\":%" PRIu64
                   ",\"attempts\":%" PRIu64 ",\"event\":",
                   i ? "," : "", one->seq, one->origin_seq, one->died_ms, one->attempts);
        buf_append_str(b, one->event.len ? buf_str(&one->event) : STR("null"));
        buf_append_char(b, '}');
    }
    buf_append_z(b, "]}\n");
    free_look(l);
    console_answer(r);
}

static void on_letter(struct queue_subscription *s, uint64_t seq, int64_t stored_ms,
                      struct str encoded, void *data)
{
    struct look *l = data;
    (void)s;
    l->done++;
    for (size_t i = 0; i < l->n; i++) {
        struct buf *event = &l->letters[i].event;
        if (l->letters[i].seq == seq && event->len == 0 &&
            (console_json_event(seq, stored_ms, encoded, event) || !buf_ok(event))) {
            buf_reset(event);
        }
    }
}

static void on_letters(struct queue_subscription *s, void *data)
{
    struct look *l = data;
    queue_subscription_grant(s, l->done);
    l->done = 0;
}

static void on_letters_ended(struct queue_subscription *s, struct str reason, struct str detail,
                             uint64_t next_seq, void *data)
{
    struct look *l = data;
    (void)s, (void)reason, (void)detail, (void)next_seq; // what was not seen is answered as such
    l->subscription = NULL;
    answer_look(l);
}

static void read_letters(struct look *l, struct str result)
{
    struct reader r;
    struct str entry;
    uint32_t n = 0;
    l->total = console_json_uint(result, "total");
    if (!console_json_find_list(result, "entries", &r, &n)) {
        return;
    }
    for (; n > 0 && l->n < CONSOLE_LETTERS && reader_raw(&r, &entry) == 0; n--) {
        struct letter *one = &l->letters[l->n++];
        one->seq = console_json_uint(entry, "seq");
        one->origin_seq = console_json_uint(entry, "origin_seq");
        one->died_ms = console_json_uint(entry, "died_ms");
        one->attempts = console_json_uint(entry, "attempts");
        buf_init(&one->event, CONSOLE_EVENT_BYTES);
    }
}

// They are in order of sequence.
static int read_events(struct look *l)
{
    char topic[QUEUE_MAX_GROUP + 8];
    (void)snprintf(topic, sizeof topic, "$dead.%s", l->group);
    struct queue_subscribe options = { .filters = { str_of(topic) },
                                       .n_filters = 1,
                                       .from = QUEUE_FROM_SEQ,
                                       .from_value = l->letters[0].seq,
                                       .until_seq = l->letters[l->n - 1].seq,
                                       .credit = CONSOLE_LETTERS };
    struct queue_subscription_callbacks callbacks = {
        .on_event = on_letter, .on_batch_end = on_letters, .on_ended = on_letters_ended, .data = l
    };
    return queue_client_subscribe(console_queue_client(l->all->queue), &options, &callbacks,
                                  &l->subscription);
}

static void on_dead(int status, struct str result, void *data)
{
    struct look *l = data;
    l->asked = false;
    if (status || !l->request) {
        struct admin_request *r = l->request;
        free_look(l);
        if (r) {
            console_refuse_as_queue(r, status, result, status == -ETIMEDOUT ? 504 : 503,
                                    "the queue does not answer");
        }
        return;
    }
    read_letters(l, result);
    if (l->n == 0) {
        answer_look(l);
    } else if (read_events(l)) {
        refuse_look(l, 503, "the queue cannot be asked now");
    }
}

static int ask_dead(struct look *l)
{
    struct buf arguments;
    buf_init(&arguments, ARGUMENT_BYTES);
    writer_map(&arguments, 3);
    writer_key(&arguments, "group");
    writer_str(&arguments, str_of(l->group));
    writer_key(&arguments, "after");
    writer_uint(&arguments, l->after);
    writer_key(&arguments, "limit");
    writer_uint(&arguments, CONSOLE_LETTERS);
    int rc = console_queue_call(l->all->queue, "dead", &arguments, on_dead, l);
    buf_fini(&arguments);
    return rc;
}

static void turn_look(struct look *l, int64_t now_ms)
{
    if (l->subscription && l->request && now_ms > l->deadline_ms) {
        queue_subscription_close(&l->subscription);
        answer_look(l); // with what was read
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct console_letters *all = timer->data;
    int64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < CONSOLE_MAX_LOOKS; i++) {
        if (all->looks[i]) {
            turn_look(all->looks[i], now_ms);
        }
    }
}

void console_letters_look(struct console_letters *all, struct admin_request *r)
{
    char group[QUEUE_MAX_GROUP + 1];
    uint64_t from = 0;
    struct str query = admin_request_query(r);
    if (console_json_parameter(query, "group", group, sizeof group) < 0 ||
        !queue_group_valid(str_of(group)) ||
        console_json_number(query, "after", INT64_MAX, &from)) {
        console_refuse(r, 400, "expected ?group=NAME&after=SEQUENCE");
        return;
    }
    size_t place = 0;
    while (place < CONSOLE_MAX_LOOKS && all->looks[place]) {
        place++;
    }
    struct look *l = place < CONSOLE_MAX_LOOKS ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        console_refuse(r, 503, "too many looks at dead letters");
        return;
    }
    *l = (struct look){ .all = all, .request = r, .after = from, .asked = true };
    memcpy(l->group, group, sizeof group);
    l->deadline_ms = clock_mono_ms() + CONSOLE_QUEUE_WAIT_MS;
    console_queue_hold(all->queue);
    all->looks[place] = l;
    if (all->n_looks++ == 0) { // fails without callback only
        (void)uv_timer_start(&all->tick, on_tick, CONSOLE_LOOK_TICK_MS, CONSOLE_LOOK_TICK_MS);
    }
    if (ask_dead(l)) {
        refuse_look(l, 503, "the queue is away, or not reached yet");
        return;
    }
    admin_request_on_gone(r, on_look_gone, l);
}

// --- Orders

static void free_order(struct order *o)
{
    console_queue_release(o->queue);
    free(o);
}

static void on_order_gone(void *data)
{
    struct order *o = data;
    o->request = NULL; // it goes on
}

static void on_ordered(int status, struct str result, void *data)
{
    struct order *o = data;
    struct admin_request *r = o->request;
    uint64_t changed = console_json_uint(result, "changed");
    uint64_t missing = console_json_uint(result, "missing");
    log_info("console: %s of %zu dead letters of %s: %s, %" PRIu64 " changed", o->method, o->what.n,
             o->what.group, status ? "not done, or not known to be done" : "done", changed);
    free_order(o);
    if (!r) {
        return;
    }
    if (status == 0) {
        buf_printf(admin_answer_body(r), "{\"changed\":%" PRIu64 ",\"missing\":%" PRIu64 "}\n",
                   changed, missing);
        console_answer(r);
    } else {
        console_refuse_as_queue(r, status, result, 504,
                                "the queue does not answer: it may be done or not");
    }
}

static int send_order(struct order *o)
{
    struct buf arguments;
    buf_init(&arguments, ARGUMENT_BYTES);
    writer_map(&arguments, 2);
    writer_key(&arguments, "group");
    writer_str(&arguments, str_of(o->what.group));
    writer_key(&arguments, "seqs");
    writer_array(&arguments, (uint32_t)o->what.n);
    for (size_t i = 0; i < o->what.n; i++) {
        writer_uint(&arguments, o->what.seqs[i]);
    }
    int rc = console_queue_call(o->queue, o->method, &arguments, on_ordered, o);
    buf_fini(&arguments);
    return rc;
}

void console_letters_order(struct console_letters *all, struct admin_request *r, const char *method)
{
    const char *mistake = NULL;
    struct order *o = calloc(1, sizeof *o);
    if (!o) {
        console_refuse(r, 503, "no memory");
        return;
    }
    *o = (struct order){ .queue = all->queue, .request = r, .method = method };
    if (!str_starts(admin_request_field(r, ADMIN_CONTENT_TYPE), STR(CONSOLE_JSON_MEDIA))) {
        mistake = "Content-Type must be application/json";
    } else if (console_json_order(admin_request_body(r), &o->what, &mistake) == 0) {
        mistake = NULL;
    }
    if (mistake) {
        free(o);
        console_refuse(r, 400, mistake);
        return;
    }
    console_queue_hold(o->queue);
    if (send_order(o)) {
        free_order(o);
        console_refuse(r, 503, "the queue is away, or not reached yet: nothing was done");
        return;
    }
    admin_request_on_gone(r, on_order_gone, o);
}

// --- All of it

int console_letters_open(uv_loop_t *loop, struct console_queue *queue,
                         struct console_letters **ret_letters)
{
    struct console_letters *l = calloc(1, sizeof *l);
    if (!l) {
        return -ENOMEM;
    }
    l->queue = queue;
    l->tick.data = l;
    (void)uv_timer_init(loop, &l->tick); // cannot fail
    *ret_letters = l;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void console_letters_close(struct console_letters **letters)
{
    struct console_letters *l = *letters;
    *letters = NULL;
    if (!l) {
        return;
    }
    for (size_t i = 0; i < CONSOLE_MAX_LOOKS; i++) {
        if (l->looks[i] && !l->looks[i]->asked) {
            refuse_look(l->looks[i], 503, "the gateway stops");
        }
    }
    uv_close((uv_handle_t *)&l->tick, on_closed);
}
