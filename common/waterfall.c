// SPDX-License-Identifier: MIT
#include "common/waterfall.h"

#include "common/config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PROCESS_WIDTH 12
#define DURATION_WIDTH 8
#define MIN_BAR 16
#define MAX_TEXT 56 // name and status with their indentation
#define CELL 160    // bytes
#define FAILED " failed"

#define RED "\x1b[31m"
#define PLAIN "\x1b[0m"

void waterfall_init(struct waterfall *w)
{
    *w = (struct waterfall){ 0 };
}

void waterfall_fini(struct waterfall *w)
{
    free(w->spans);
    waterfall_init(w);
}

// --- Reading

// A member's text; empty when it has none.
static const char *text_of(yyjson_val *object, const char *member)
{
    const char *text = yyjson_get_str(yyjson_obj_get(object, member));
    return text ? text : "";
}

static const char *attribute(yyjson_val *object, const char *key)
{
    size_t i, n;
    yyjson_val *v;
    yyjson_arr_foreach(yyjson_obj_get(object, "attributes"), i, n, v)
    {
        if (strcmp(text_of(v, "key"), key) == 0) {
            yyjson_val *value = yyjson_obj_get(v, "value");
            const char *text = text_of(value, "stringValue");
            return *text ? text : text_of(value, "intValue");
        }
    }
    return "";
}

static int64_t time_us(yyjson_val *span, const char *member)
{
    int64_t ns;
    return config_parse_number(CONFIG_INTEGER, text_of(span, member), &ns) == 0 ? ns / 1000 : 0;
}

static int grow(struct waterfall *w)
{
    size_t cap = w->cap ? 2 * w->cap : 64;
    struct waterfall_span *grown = realloc(w->spans, cap * sizeof *grown);
    if (!grown) {
        return -ENOMEM;
    }
    w->spans = grown;
    w->cap = cap;
    return 0;
}

static int add_span(struct waterfall *w, const char *process, yyjson_val *v)
{
    struct waterfall_span s = { .process = process,
                                .name = text_of(v, "name"),
                                .trace = text_of(v, "traceId"),
                                .id = text_of(v, "spanId"),
                                .parent = text_of(v, "parentSpanId"),
                                .status = attribute(v, "http.response.status_code"),
                                .start_us = time_us(v, "startTimeUnixNano"),
                                .end_us = time_us(v, "endTimeUnixNano") };
    s.error = yyjson_get_int(yyjson_obj_get(yyjson_obj_get(v, "status"), "code")) == 2;
    if (!*s.trace || !*s.id || s.end_us < s.start_us) {
        return 0;
    }
    w->more = w->n == WATERFALL_MAX_SPANS;
    if (w->more) {
        return 0;
    }
    if (w->n == w->cap && grow(w) < 0) {
        return -ENOMEM;
    }
    w->spans[w->n++] = s;
    return 0;
}

int waterfall_add(struct waterfall *w, yyjson_doc *doc)
{
    yyjson_val *of_resource, *scope, *span;
    size_t i, n, k, m, l, o;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "resourceSpans"), i, n, of_resource)
    {
        yyjson_val *resource = yyjson_obj_get(of_resource, "resource");
        const char *instance = attribute(resource, "service.instance.id");
        const char *process = *instance ? instance : attribute(resource, "service.name");
        yyjson_arr_foreach(yyjson_obj_get(of_resource, "scopeSpans"), k, m, scope)
        {
            yyjson_arr_foreach(yyjson_obj_get(scope, "spans"), l, o, span)
            {
                int rc = add_span(w, process, span);
                if (rc) {
                    return rc;
                }
            }
        }
    }
    return 0;
}

// --- Order

static int by_start(const void *a, const void *b)
{
    const struct waterfall_span *s = a, *t = b;
    if (s->start_us != t->start_us) {
        return s->start_us < t->start_us ? -1 : 1;
    }
    return s->end_us > t->end_us ? -1 : s->end_us < t->end_us; // the longer one may be the parent
}

static int latest_first(const void *a, const void *b)
{
    return by_start(b, a);
}

static bool is_child(const struct waterfall_span *s, const struct waterfall_span *of)
{
    return strcmp(s->parent, of->id) == 0 && strcmp(s->trace, of->trace) == 0;
}

static bool has_parent(const struct waterfall *w, size_t i)
{
    bool found = false;
    for (size_t k = 0; !found && *w->spans[i].parent && k < w->n; k++) {
        found = k != i && is_child(&w->spans[i], &w->spans[k]);
    }
    return found;
}

// Moves span number i to the place *at of the sorted ones, and what is below it behind it.
static void take(struct waterfall_span *from, size_t n, bool *taken, size_t i, int depth,
                 struct waterfall_span *to, size_t *at)
{
    to[*at] = from[i];
    to[(*at)++].depth = depth;
    taken[i] = true;
    for (size_t k = 0; depth < WATERFALL_MAX_DEPTH && k < n; k++) {
        if (!taken[k] && is_child(&from[k], &from[i])) {
            take(from, n, taken, k, depth + 1, to, at);
        }
    }
}

// Puts each span behind its parent. Without memory they stay in the order of time.
static void sort_tree(struct waterfall *w)
{
    qsort(w->spans, w->n, sizeof *w->spans, by_start);
    struct waterfall_span *sorted = calloc(w->n, sizeof *sorted);
    bool *taken = calloc(w->n, sizeof *taken);
    size_t at = 0;
    for (size_t i = 0; sorted && taken && i < w->n; i++) {
        if (!has_parent(w, i)) {
            take(w->spans, w->n, taken, i, 0, sorted, &at);
        }
    }
    for (size_t i = 0; sorted && taken && i < w->n; i++) {
        if (!taken[i]) { // parents in a circle, or too deep
            take(w->spans, w->n, taken, i, WATERFALL_MAX_DEPTH, sorted, &at);
        }
    }
    if (sorted && taken) {
        assert(at == w->n);
        memcpy(w->spans, sorted, w->n * sizeof *sorted);
    }
    free(sorted);
    free(taken);
}

// --- Drawing

int waterfall_columns(void)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : WATERFALL_COLUMNS;
}

static void append_duration(int64_t us, struct buf *b)
{
    if (us < 1000) {
        buf_printf(b, "%" PRId64 "us", us);
    } else if (us < 1000000) {
        buf_printf(b, "%" PRId64 ".%" PRId64 "ms", us / 1000, us % 1000 / 100);
    } else {
        buf_printf(b, "%" PRId64 ".%02" PRId64 "s", us / 1000000, us % 1000000 / 10000);
    }
}

static void append_time(int64_t us, struct buf *b)
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    char text[32] = "";
    if (gmtime_r(&s, &tm)) {
        (void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    }
    buf_printf(b, "%s.%03d", text, (int)(us / 1000 % 1000));
}

// Text of others, at most width of its characters and filled up to it: what would move the terminal's
// cursor is shown as '?'.
static void append_cell(const char *text, int width, struct buf *b)
{
    int n = 0;
    for (; text[n] && n < width; n++) {
        unsigned char c = (unsigned char)text[n];
        buf_append_char(b, c < ' ' || c >= 0x7F ? '?' : (char)c);
    }
    for (; n < width; n++) {
        buf_append_char(b, ' ');
    }
}

static void append_right(int64_t us, struct buf *b)
{
    struct buf text;
    buf_init(&text, 64);
    append_duration(us, &text);
    buf_printf(b, "%*.*s", DURATION_WIDTH, STR_ARG(buf_str(&text)));
    buf_fini(&text);
}

static void append_bar(const struct waterfall_span *s, int64_t begin_us, int64_t whole_us,
                       int width, struct buf *b)
{
    int64_t whole = whole_us > 0 ? whole_us : 1;
    int64_t from = (s->start_us - begin_us) * width / whole;
    int64_t to = (s->end_us - begin_us) * width / whole;
    from = from < width ? from : width - 1;
    to = to > from ? to : from + 1; // every span is seen
    buf_append_char(b, '|');
    for (int64_t i = 0; i < width; i++) {
        buf_append_char(b, i >= from && i < to ? '#' : ' ');
    }
    buf_append_z(b, "|");
}

static void append_text(const struct waterfall_span *s, int width, struct buf *b)
{
    char text[CELL];
    (void)snprintf(text, sizeof text, "%*s%s%s%s", 2 * s->depth, "", s->name, *s->status ? " " : "",
                   s->status);
    append_cell(text, width, b);
}

static int text_width(const struct waterfall *w)
{
    int widest = 20;
    for (size_t i = 0; i < w->n; i++) {
        const struct waterfall_span *s = &w->spans[i];
        size_t n = 2 * (size_t)s->depth + strlen(s->name) + strlen(s->status) + 1;
        widest = n > (size_t)widest ? n < MAX_TEXT ? (int)n : MAX_TEXT : widest;
    }
    return widest;
}

static size_t count_errors(const struct waterfall *w)
{
    size_t errors = 0;
    for (size_t i = 0; i < w->n; i++) {
        errors += w->spans[i].error;
    }
    return errors;
}

static void append_head(const struct waterfall *w, int64_t begin_us, int64_t end_us, size_t errors,
                        struct buf *b)
{
    buf_append_z(b, "trace ");
    append_cell(w->spans[0].trace, 32, b);
    buf_append_z(b, "  ");
    append_time(begin_us, b);
    buf_append_z(b, " UTC  ");
    append_duration(end_us - begin_us, b);
    buf_printf(b, "  %zu span%s", w->n, w->n == 1 ? "" : "s");
    if (errors) {
        buf_printf(b, ", %zu failed", errors);
    }
    buf_append_z(b, "\n\n");
}

void waterfall_draw(struct waterfall *w, int columns, bool color, struct buf *out)
{
    if (w->n == 0) {
        return;
    }
    sort_tree(w);
    int64_t begin_us = w->spans[0].start_us, end_us = w->spans[0].end_us;
    for (size_t i = 1; i < w->n; i++) {
        begin_us = w->spans[i].start_us < begin_us ? w->spans[i].start_us : begin_us;
        end_us = w->spans[i].end_us > end_us ? w->spans[i].end_us : end_us;
    }
    columns = columns < WATERFALL_MIN_COLUMNS ? WATERFALL_MIN_COLUMNS : columns;
    size_t errors = count_errors(w);
    int rest = columns - PROCESS_WIDTH - DURATION_WIDTH - 6, text = text_width(w);
    rest -= errors ? (int)sizeof FAILED - 1 : 0;
    text = text < rest - MIN_BAR ? text : rest - MIN_BAR;
    append_head(w, begin_us, end_us, errors, out);
    for (size_t i = 0; i < w->n; i++) {
        const struct waterfall_span *s = &w->spans[i];
        buf_append_z(out, color && s->error ? RED : "");
        append_cell(s->process, PROCESS_WIDTH, out);
        buf_append_char(out, ' ');
        append_text(s, text, out);
        buf_append_char(out, ' ');
        append_right(s->end_us - s->start_us, out);
        buf_append_char(out, ' ');
        append_bar(s, begin_us, end_us - begin_us, rest - text, out);
        buf_append_z(out, s->error ? FAILED : "");
        buf_append_z(out, color && s->error ? PLAIN "\n" : "\n");
    }
}

void waterfall_list(struct waterfall *w, bool color, struct buf *out)
{
    size_t n = 0;
    qsort(w->spans, w->n, sizeof *w->spans, latest_first);
    buf_printf(out, "%-23s %*s %-*s %-44s %s\n", "TIME (UTC)", DURATION_WIDTH, "DURATION",
               PROCESS_WIDTH, "PROCESS", "WHAT", "TRACE");
    for (size_t i = 0; i < w->n && n < WATERFALL_LIST; i++) {
        const struct waterfall_span *s = &w->spans[i];
        if (has_parent(w, i)) {
            continue;
        }
        n++;
        buf_append_z(out, color && s->error ? RED : "");
        append_time(s->start_us, out);
        buf_append_char(out, ' ');
        append_right(s->end_us - s->start_us, out);
        buf_append_char(out, ' ');
        append_cell(s->process, PROCESS_WIDTH, out);
        buf_append_char(out, ' ');
        append_text(s, 44, out);
        buf_append_char(out, ' ');
        append_cell(s->trace, 32, out);
        buf_append_z(out, color && s->error ? PLAIN "\n" : "\n");
    }
}
