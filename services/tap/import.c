// SPDX-License-Identifier: MIT
// import: NDJSON as export wrote it. The input is read twice: the first time every line is checked
// and the name of the producer is made of the content, the second time the events are published,
// numbered by their lines. So a mistake stores nothing, and the same content again stores nothing
// twice.
#include "services/tap/batch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <sodium.h>

#include "services/tap/cloudevent.h"
#include "services/tap/confirm.h"
#include "services/tap/pace.h"
#include "services/tap/progress.h"

#define MAX_LINE (4 * 1024 * 1024) // bytes; an event of 1 MiB as JSON stays below
#define HASH_BYTES 12

struct import {
    struct tap *t;
    FILE *in;
    struct buf line;
    uint64_t n_lines, n_events;
    char producer[QUEUE_MAX_PRODUCER + 1];
    crypto_generichash_state hash;
};

// 1 and the next line without its end, 0 at the end of the input, or a negative errno.
static int next_line(struct import *m)
{
    int c = 0;
    buf_reset(&m->line);
    while ((c = getc_unlocked(m->in)) != EOF && c != '\n') {
        buf_append_char(&m->line, (char)c);
    }
    if (ferror(m->in)) {
        return -EIO;
    }
    m->n_lines++;
    return !buf_ok(&m->line) ? buf_error(&m->line) : c == EOF && m->line.len == 0 ? 0 : 1;
}

// Calls f for the event of each line.
static int each_event(struct import *m,
                      int (*f)(struct import *m, const struct event *e, void *data), void *data)
{
    struct cloudevent c;
    char what[CLOUDEVENT_MISTAKE];
    int64_t limit = m->t->options.limit;
    int status = TAP_OK, rc = 0;
    rewind(m->in);
    m->n_lines = m->n_events = 0;
    while (status == TAP_OK && (limit < 0 || m->n_events < (uint64_t)limit) &&
           (rc = next_line(m)) == 1) {
        if (m->line.len == 0) {
            continue;
        }
        status = cloudevent_parse(buf_str(&m->line), &c, what)
                     ? tap_fail(m->t, TAP_USAGE, "line %" PRIu64 ": %s", m->n_lines, what)
                     : f(m, &c.event, data);
        m->n_events++;
        cloudevent_free(&c);
    }
    if (rc < 0) {
        return tap_fail(m->t, TAP_USAGE, "line %" PRIu64 ": %s", m->n_lines,
                        rc == -EMSGSIZE ? "longer than 4 MiB" : strerror(-rc));
    }
    return status;
}

static int check_event(struct import *m, const struct event *e, void *data)
{
    struct buf event;
    (void)data;
    buf_init(&event, QUEUE_MAX_EVENT_BYTES);
    event_encode(&event, e);
    bool fits = buf_ok(&event);
    buf_fini(&event);
    (void)crypto_generichash_update(&m->hash, (const unsigned char *)m->line.data, m->line.len);
    (void)crypto_generichash_update(&m->hash, (const unsigned char *)"\n", 1);
    return fits ? TAP_OK
                : tap_fail(m->t, TAP_USAGE, "line %" PRIu64 ": an event is at most %d bytes",
                           m->n_lines, QUEUE_MAX_EVENT_BYTES);
}

static int check_all(struct import *m)
{
    unsigned char hash[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];
    (void)crypto_generichash_init(&m->hash, NULL, 0, sizeof hash);
    int status = each_event(m, check_event, NULL);
    (void)crypto_generichash_final(&m->hash, hash, sizeof hash);
    (void)sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    (void)snprintf(m->producer, sizeof m->producer, "import-%s", hex);
    if (m->t->options.producer) {
        (void)snprintf(m->producer, sizeof m->producer, "%s", m->t->options.producer);
    }
    return status;
}

struct publishing {
    struct batch batch;
    struct progress progress;
    struct pace pace;
};

static int publish_event(struct import *m, const struct event *e, void *data)
{
    struct publishing *p = data;
    int status = pace_wait(&p->pace, m->t, &p->batch);
    status = status ? status : batch_add(&p->batch, m->n_lines, e);
    progress_at(&p->progress, m->n_events);
    return status;
}

static int publish_all(struct import *m, uint64_t n)
{
    struct publishing p;
    struct tap *t = m->t;
    batch_open(&p.batch, t, m->producer);
    progress_begin(&p.progress, "imported", n);
    pace_begin(&p.pace, t->options.rate);
    int status = each_event(m, publish_event, &p);
    status = status ? status : batch_finish(&p.batch);
    progress_end(&p.progress);
    if (t->options.style.format == RENDER_PRETTY) {
        buf_printf(&t->out, "%" PRIu64 " stored, %" PRIu64 " were there already, producer %s\n",
                   p.batch.stored, p.batch.duplicates, m->producer);
    } else {
        buf_printf(&t->out, "{\"stored\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"producer\":\"",
                   p.batch.stored, p.batch.duplicates);
        buf_append_json(&t->out, str_of(m->producer));
        buf_append_z(&t->out, "\"}\n");
    }
    batch_close(&p.batch);
    return status;
}

static int import(struct import *m)
{
    int status = check_all(m);
    uint64_t n = m->n_events;
    if (status || n == 0) {
        return status ? status : TAP_NOTHING;
    }
    status = confirm(m->t, "Import %" PRIu64 " event%s as producer %s?", n, n == 1 ? "" : "s",
                     m->producer);
    if (status >= 0) {
        return status;
    }
    status = tap_connect(m->t);
    return status ? status : publish_all(m, n);
}

// Input that cannot be read twice is copied to a file without a name.
static FILE *rewindable(FILE *in)
{
    static char chunk[65536];
    size_t n;
    if (fseek(in, 0, SEEK_CUR) == 0) {
        return in;
    }
    FILE *copy = tmpfile();
    while (copy && (n = fread(chunk, 1, sizeof chunk, in)) > 0) {
        if (fwrite(chunk, 1, n, copy) < n) {
            (void)fclose(copy);
            return NULL;
        }
    }
    return copy;
}

int import_run(struct tap *t)
{
    const char *file = t->options.file;
    bool standard = !file || strcmp(file, "-") == 0;
    struct import m = { .t = t, .in = standard ? stdin : fopen(file, "re") };
    if (!m.in) {
        return tap_fail(t, TAP_USAGE, "%s: %s", file, strerror(errno));
    }
    FILE *given = m.in;
    m.in = rewindable(given);
    if (!m.in) {
        return tap_fail(t, TAP_USAGE, "cannot keep a copy of the input: %s", strerror(errno));
    }
    buf_init(&m.line, MAX_LINE);
    int status = import(&m);
    buf_fini(&m.line);
    if (m.in != given) {
        (void)fclose(m.in);
    }
    if (!standard) {
        (void)fclose(given);
    }
    return status;
}
