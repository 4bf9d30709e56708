// SPDX-License-Identifier: MIT
// group ls, set and delete, and what moves a group: seek, pause, resume.
#include "services/tap/ask.h"

#include <inttypes.h>
#include <stdio.h>

#include "services/tap/confirm.h"
#include "services/tap/fields.h"
#include "services/tap/lag.h"

#define SHOWN_BYTES 64

static void print_group(struct tap *t, struct str group)
{
    static const char *const settings[] = { "filters",    "order",          "ack_wait_ms",
                                            "backoff_ms", "backoff_max_ms", "max_deliveries",
                                            "max_pending" };
    struct buf *b = &t->out;
    if (t->options.style.format != RENDER_PRETTY) {
        tap_element(t);
        render_value(group, b);
        tap_element_end(t);
        return;
    }
    buf_append_str(b, fields_str(group, "group"));
    buf_append_z(b, fields_bool(group, "paused") ? "  paused\n" : "\n");
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        buf_printf(b, "    %-16s  ", settings[i]);
        render_value(fields_raw(group, settings[i]), b);
        buf_append_char(b, '\n');
    }
    buf_append_z(b, "    created           ");
    render_time(fields_int(group, "created_ms"), b);
    buf_printf(b, "\n    next_seq          %" PRIu64 "\n    floor_seq         %" PRIu64 "\n",
               fields_uint(group, "next_seq"), fields_uint(group, "floor_seq"));
}

int group_ls(struct tap *t)
{
    struct buf result;
    struct str group;
    buf_init(&result, TAP_RESULT_BYTES);
    int status = tap_connect(t);
    status = status ? status : lag_ask_groups(t, t->options.target, &result);
    struct fields_list l = fields_list(status ? STR("") : buf_str(&result), "groups");
    uint32_t n = l.left;
    while (fields_next(&l, &group)) {
        print_group(t, group);
    }
    if (status == TAP_OK) {
        tap_list_end(t);
    }
    buf_fini(&result);
    return status ? status : n ? TAP_OK : TAP_NOTHING;
}

static const char *start_name(enum queue_start from)
{
    return from == QUEUE_FROM_START ? "start"
           : from == QUEUE_FROM_END ? "end"
           : from == QUEUE_FROM_SEQ ? "seq"
                                    : "time";
}

// Asks the method with the group and nothing else.
static int ask_group(struct tap *t, const char *method, struct buf *result)
{
    struct ask a;
    ask_begin(&a);
    ask_text(&a, "group", t->options.target);
    return ask_call(t, method, &a, result);
}

static int print_result(struct tap *t, struct str result, const char *text)
{
    if (t->options.style.format == RENDER_PRETTY) {
        buf_printf(&t->out, "%s: %s\n", t->options.target, text);
    } else {
        render_value(result, &t->out);
        buf_append_char(&t->out, '\n');
    }
    return TAP_OK;
}

static int set(struct tap *t, struct buf *result)
{
    const struct options *o = &t->options;
    struct ask a;
    ask_begin(&a);
    ask_text(&a, "group", o->target);
    if (o->n_filters) {
        ask_texts(&a, "filters", o->filters, o->n_filters);
    }
    if (o->has_from) {
        ask_text(&a, "from", start_name(o->from.from));
        ask_number(&a, "value", (int64_t)o->from.value);
    }
    ask_text(&a, "order", o->order);
    ask_number(&a, "ack_wait_ms", o->ack_wait_ms);
    ask_number(&a, "max_deliveries", o->max_deliveries);
    ask_number(&a, "backoff_ms", o->backoff_ms);
    ask_number(&a, "backoff_max_ms", o->backoff_max_ms);
    ask_number(&a, "max_pending", o->max_pending);
    int status = ask_call(t, "group-set", &a, result);
    if (status) {
        return status;
    }
    struct str map = buf_str(result);
    return print_result(t, map,
                        fields_bool(map, "created")   ? "created"
                        : fields_bool(map, "changed") ? "changed"
                                                      : "is so already");
}

// What every command that changes a group does first.
static int begin_change(struct tap *t, const char *question)
{
    int status = tap_connect(t);
    return status ? status : confirm(t, "%s %s?", question, t->options.target);
}

int group_set(struct tap *t)
{
    struct buf result;
    int status = begin_change(t, "Set the group");
    if (status >= 0) {
        return status;
    }
    buf_init(&result, TAP_RESULT_BYTES);
    status = set(t, &result);
    buf_fini(&result);
    return status;
}

int group_delete(struct tap *t)
{
    struct buf result;
    int status = begin_change(t, "Delete the group");
    if (status >= 0) {
        return status;
    }
    buf_init(&result, TAP_RESULT_BYTES);
    status = ask_group(t, "group-delete", &result);
    if (status == TAP_OK) {
        bool deleted = fields_bool(buf_str(&result), "deleted");
        (void)print_result(t, buf_str(&result), deleted ? "deleted" : "there is none");
        status = deleted ? TAP_OK : TAP_NOTHING;
    }
    buf_fini(&result);
    return status;
}

static int switch_group(struct tap *t, const char *method, const char *question, const char *done)
{
    struct buf result;
    int status = begin_change(t, question);
    if (status >= 0) {
        return status;
    }
    buf_init(&result, TAP_RESULT_BYTES);
    status = ask_group(t, method, &result);
    if (status == TAP_OK) {
        bool changed = fields_bool(buf_str(&result), "changed");
        status = print_result(t, buf_str(&result), changed ? done : "is so already");
    }
    buf_fini(&result);
    return status;
}

int group_pause(struct tap *t)
{
    return switch_group(t, "group-pause", "Pause the group", "paused");
}

int group_resume(struct tap *t)
{
    return switch_group(t, "group-resume", "Resume the group", "resumed");
}

static int ask_seek(struct tap *t, bool dry_run, struct buf *result)
{
    const struct options *o = &t->options;
    struct ask a;
    ask_begin(&a);
    ask_text(&a, "group", o->target);
    ask_text(&a, "to", start_name(o->from.from));
    if (o->from.from == QUEUE_FROM_SEQ || o->from.from == QUEUE_FROM_TIME) {
        ask_number(&a, "value", (int64_t)o->from.value);
    }
    ask_flag(&a, "dry_run", dry_run);
    return ask_call(t, "group-seek", &a, result);
}

// The queue says first what a seek would do; that is what is asked about.
static int seek(struct tap *t, struct buf *result)
{
    char text[SHOWN_BYTES];
    int status = ask_seek(t, true, result);
    if (status) {
        return status;
    }
    struct str map = buf_str(result);
    uint64_t from = fields_uint(map, "from_seq"), to = fields_uint(map, "to_seq");
    status = confirm(t, "Move %s from %" PRIu64 " to %" PRIu64 ", giving up %" PRIu64 " pending?",
                     t->options.target, from, to, fields_uint(map, "pending"));
    if (status >= 0 && !t->options.dry_run) {
        return status;
    }
    status = t->options.dry_run ? TAP_OK : ask_seek(t, false, result);
    if (status == TAP_OK) {
        map = buf_str(result);
        (void)snprintf(text, sizeof text, "%" PRIu64 " -> %" PRIu64, fields_uint(map, "from_seq"),
                       fields_uint(map, "to_seq"));
        status = print_result(t, map, text);
    }
    return status;
}

int group_seek(struct tap *t)
{
    struct buf result;
    buf_init(&result, TAP_RESULT_BYTES);
    int status = tap_connect(t);
    status = status ? status : seek(t, &result);
    buf_fini(&result);
    return status;
}
