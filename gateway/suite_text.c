// SPDX-License-Identifier: MIT
// A text is cut into families, each a head and a stretch of samples; they are sorted by name and
// written with the labels put in. Nothing is copied before that.
#include "gateway/suite_text.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct family {
    struct str name, head, type; // head: its lines that begin with '#'
    struct str samples;          // its other lines
    size_t process;
};

struct families {
    struct family *list; // owned
    size_t n, cap;
};

// --- Reading

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == ':';
}

static struct str take_name(struct str *rest)
{
    struct str name = { rest->p, 0 };
    while (name.n < rest->n && is_name_char(rest->p[name.n])) {
        name.n++;
    }
    *rest = (struct str){ rest->p + name.n, rest->n - name.n };
    return name;
}

static bool take(struct str *rest, struct str what)
{
    if (!str_starts(*rest, what)) {
        return false;
    }
    *rest = (struct str){ rest->p + what.n, rest->n - what.n };
    return true;
}

// A label's value with its quotes. False: it does not end.
static bool take_value(struct str *rest)
{
    if (!take(rest, STR("\""))) {
        return false;
    }
    for (size_t i = 0; i < rest->n; i++) {
        if (rest->p[i] == '"') {
            *rest = (struct str){ rest->p + i + 1, rest->n - i - 1 };
            return true;
        }
        i += rest->p[i] == '\\';
    }
    return false;
}

// The labels in braces, if there are any; false: they are not as they should be, or have our names.
static bool take_labels(struct str *rest)
{
    if (!take(rest, STR("{"))) {
        return true;
    }
    while (!take(rest, STR("}"))) {
        struct str name = take_name(rest);
        if (name.n == 0 || str_eq(name, STR("job")) || str_eq(name, STR("instance")) ||
            !take(rest, STR("=")) || !take_value(rest)) {
            return false;
        }
        (void)take(rest, STR(",")); // there may be one before the brace
    }
    return true;
}

static bool is_sample_of(struct str family, struct str line)
{
    struct str name = take_name(&line);
    return name.n > 0 && str_starts(name, family) && take_labels(&line) && line.n > 1 &&
           line.p[0] == ' ' && line.p[1] > ' ';
}

static struct str next_line(struct str *rest)
{
    const char *end = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
    struct str line = { rest->p, end ? (size_t)(end - rest->p) : 0 };
    *rest = end ? (struct str){ end + 1, rest->n - line.n - 1 } : (struct str){ NULL, 0 };
    return line;
}

static int add_family(struct families *f, struct str name, struct str line, size_t process)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 512;
        struct family *grown = realloc(f->list, cap * sizeof *grown);
        if (!grown) {
            return -ENOMEM;
        }
        f->list = grown;
        f->cap = cap;
    }
    f->list[f->n++] = (struct family){ .name = name,
                                       .head = { line.p, line.n + 1 },
                                       .samples = { line.p + line.n + 1, 0 },
                                       .process = process };
    return 0;
}

// "# HELP name ..." or "# TYPE name type".
static int read_head(struct families *f, size_t begin, struct str line, size_t process)
{
    struct str rest = line;
    bool type = take(&rest, STR("# TYPE "));
    if (!type && !take(&rest, STR("# HELP "))) {
        return -EBADMSG;
    }
    struct str name = take_name(&rest);
    if (name.n == 0 || !take(&rest, STR(" "))) {
        return -EBADMSG;
    }
    struct family *last = f->n > begin ? &f->list[f->n - 1] : NULL;
    if (last && str_eq(last->name, name)) {
        if (last->samples.n > 0) {
            return -EBADMSG;
        }
        last->head.n += line.n + 1;
        last->samples.p = last->head.p + last->head.n;
    } else {
        int rc = add_family(f, name, line, process);
        if (rc) {
            return rc;
        }
        last = &f->list[f->n - 1];
    }
    last->type = type ? rest : last->type;
    return 0;
}

static int read_line(struct families *f, size_t begin, struct str line, size_t process)
{
    for (size_t i = 0; i < line.n; i++) {
        if ((unsigned char)line.p[i] < ' ') {
            return -EBADMSG;
        }
    }
    if (line.n > 0 && line.p[0] == '#') {
        return read_head(f, begin, line, process);
    }
    struct family *last = f->n > begin ? &f->list[f->n - 1] : NULL;
    if (!last || last->type.n == 0 || !is_sample_of(last->name, line)) {
        return -EBADMSG;
    }
    last->samples.n += line.n + 1;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct family *x = a, *y = b;
    int by_name = str_cmp(x->name, y->name);
    return by_name ? by_name : (x->process > y->process) - (x->process < y->process);
}

// 0, -EBADMSG (nothing was added), or -ENOMEM.
static int read_text(struct families *f, struct str text, size_t process,
                     enum metrics_format format)
{
    size_t begin = f->n;
    bool ended = format == METRICS_TEXT;
    int rc = text.n == 0 || text.p[text.n - 1] != '\n' ? -EBADMSG : 0;
    while (rc == 0 && text.n > 0) {
        struct str line = next_line(&text);
        if (format == METRICS_OPENMETRICS && str_eq(line, STR("# EOF"))) {
            ended = text.n == 0;
            break;
        }
        rc = read_line(f, begin, line, process);
    }
    rc = rc || ended ? rc : -EBADMSG;
    if (rc == 0) { // a family that is there twice would be one to us
        qsort(f->list + begin, f->n - begin, sizeof *f->list, compare);
        for (size_t i = begin + 1; i < f->n; i++) {
            rc = str_eq(f->list[i].name, f->list[i - 1].name) ? -EBADMSG : rc;
        }
    }
    f->n = rc ? begin : f->n;
    return rc;
}

// --- Identity

// The value of a label on a line, without its quotes, if it is a name that we give.
static bool find_label(struct str line, const char *name, char ret_value[SUITE_NAME_BYTES])
{
    const char *at = memmem(line.p, line.n, name, strlen(name));
    if (!at) {
        return false;
    }
    at += strlen(name);
    size_t n = 0, left = line.n - (size_t)(at - line.p);
    while (n < left && (is_name_char(at[n]) || at[n] == '.' || at[n] == '-')) {
        n++;
    }
    if (n == 0 || n == left || at[n] != '"' || n >= SUITE_NAME_BYTES) {
        return false;
    }
    memcpy(ret_value, at, n);
    ret_value[n] = '\0';
    return true;
}

void suite_text_identify(struct suite_process *p)
{
    static const char mark[] = "\nsluice_process_info{";
    const char *at = p->text.n ? memmem(p->text.p, p->text.n, mark, sizeof mark - 1) : NULL;
    if (!at) {
        return;
    }
    struct str rest = { at + 1, p->text.n - (size_t)(at + 1 - p->text.p) };
    struct str line = next_line(&rest);
    char job[SUITE_NAME_BYTES], instance[SUITE_NAME_BYTES];
    if (find_label(line, "name=\"", instance) && find_label(line, "program=\"", job)) {
        memcpy(p->instance, instance, sizeof instance);
        memcpy(p->job, job, sizeof job);
    }
}

// --- Writing

static void append_labels(struct buf *b, const struct suite_process *p)
{
    buf_printf(b, "{job=\"%s\",instance=\"%s\"", p->job, p->instance);
}

static void append_samples(struct buf *b, const struct family *f, const struct suite_process *p)
{
    struct str rest = f->samples;
    while (rest.n > 0) {
        struct str line = next_line(&rest), name = take_name(&line);
        buf_append_str(b, name);
        append_labels(b, p);
        bool labels = line.n > 1 && line.p[0] == '{' && line.p[1] != '}';
        if (line.p[0] == '{') {
            (void)take(&line, STR("{"));
            buf_append_z(b, labels ? "," : "");
        } else {
            buf_append_char(b, '}');
        }
        buf_append_str(b, line);
        buf_append_char(b, '\n');
    }
}

static void append_gauge(struct buf *b, const char *name, const char *help)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

static void append_linked(struct buf *b, const struct suite_process *p, size_t n)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (!p[i].linked) {
            continue;
        }
        if (!any) {
            append_gauge(b, "sluice_suite_linked",
                         "Processes that are connected (1), but that nobody could be asked for.");
        }
        any = true;
        buf_append_z(b, "sluice_suite_linked");
        append_labels(b, &p[i]);
        buf_append_z(b, "} 1\n");
    }
}

static void append_own(struct buf *b, const struct suite_process *p, size_t n, size_t left_out,
                       size_t conflicts)
{
    append_gauge(b, "sluice_suite_up",
                 "Whether the metrics of this process are here (1), or it did not answer (0).");
    for (size_t i = 0; i < n; i++) {
        buf_append_z(b, "sluice_suite_up");
        append_labels(b, &p[i]);
        buf_printf(b, "} %d\n", p[i].up);
    }
    append_linked(b, p, n);
    append_gauge(b, "sluice_suite_left_out", "Processes that were too many to be asked.");
    buf_printf(b, "sluice_suite_left_out %zu\n", left_out);
    append_gauge(b, "sluice_suite_conflicts",
                 "Families left out because another process has them with another type.");
    buf_printf(b, "sluice_suite_conflicts %zu\n", conflicts);
}

// Writes the families, and returns how many were left out.
static size_t append_families(struct buf *b, const struct families *f,
                              const struct suite_process *p)
{
    size_t conflicts = 0;
    const struct family *first = NULL;
    for (size_t i = 0; i < f->n; i++) {
        const struct family *one = &f->list[i];
        if (!first || !str_eq(first->name, one->name)) {
            first = one;
            buf_append_str(b, one->head);
        } else if (!str_eq(first->type, one->type)) {
            conflicts++;
            continue;
        }
        append_samples(b, one, &p[one->process]);
    }
    return conflicts;
}

int suite_text_merge(struct suite_process *p, size_t n, size_t left_out, enum metrics_format format,
                     struct buf *b)
{
    struct families f = { NULL, 0, 0 };
    int rc = 0;
    for (size_t i = 0; i < n && rc != -ENOMEM; i++) {
        if (p[i].up) {
            rc = read_text(&f, p[i].text, i, format);
            p[i].up = rc == 0;
        }
    }
    if (rc != -ENOMEM) {
        if (f.n > 0) {
            qsort(f.list, f.n, sizeof *f.list, compare);
        }
        size_t conflicts = append_families(b, &f, p);
        append_own(b, p, n, left_out, conflicts);
        if (format == METRICS_OPENMETRICS) {
            buf_append_z(b, "# EOF\n");
        }
    }
    free(f.list);
    return rc == -ENOMEM ? rc : 0;
}
