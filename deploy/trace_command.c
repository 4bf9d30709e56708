// SPDX-License-Identifier: MIT
#include "deploy/trace_command.h"

#include "common/process.h"
#include "common/traces_fetch.h"
#include "common/waterfall.h"
#include "deploy/complaint.h"
#include "deploy/rundir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_BYTES (64 * 1024 * 1024)

const char trace_command_help[] =
    "  --home DIR           $SLUICE_HOME, else ./var\n"
    "  --json               one OTLP/JSON object, which other tools read\n"
    "\nID is a trace id (32 hexadecimal digits, `trace_id` in the log) or a whole traceparent. "
    "ADDRESS\n"
    "is an admin listener, unix:/PATH or HOST:PORT; without one every process of the home is "
    "asked.\n"
    "Without an ID, the traces that were kept are listed: errors, the slowest, those sampled.\n"
    "Processes have their last 2048 spans in memory, and for longer 512 errors and slow\n"
    "ones and 512 sampled ones.\n"
    "\nExamples:\n"
    "  sluice trace\n"
    "  sluice trace 0af7651916cd43dd8448eb211c80319c\n"
    "  sluice trace --json ID | curl --json @- http://collector:4318/v1/traces\n";

#define say(status_, ...) complain("sluice trace", status_, __VA_ARGS__)

// --- Asking

static void say_failure(const char *address, int status)
{
    if (status < 0) {
        (void)say(0, "%s does not answer: %s", address, strerror(-status));
    } else {
        (void)say(0, "%s answers with status %d", address, status);
    }
}

// A socket may be left from a process that is gone, or be the supervisor's, who keeps no spans.
static void on_failure(const char *address, int status)
{
    if (status != -ECONNREFUSED && status != -ENOENT && status != 404) {
        say_failure(address, status);
    }
}

static int ask_home(struct traces_fetch *f, const char *home)
{
    char absolute[RUNDIR_PATH_SIZE], error[CONFIG_ERROR_SIZE];
    if (rundir_open(home, false, absolute, error) < 0) {
        return say(EXIT_FAILED, "%s", error);
    }
    return traces_fetch_home(f, absolute, on_failure)
               ? EXIT_OK
               : say(EXIT_FAILED, "no process answers in %s/run", absolute);
}

static int ask_all(struct traces_fetch *f, const char *home, int n_words, char **words)
{
    if (n_words < 2) {
        return ask_home(f, home);
    }
    for (int i = 1; i < n_words; i++) {
        int status = traces_fetch_ask(f, words[i]);
        if (status != 200) {
            say_failure(words[i], status); // a person gave the address
        }
    }
    return f->n ? EXIT_OK : EXIT_FAILED; // it was told
}

// --- Showing

static int print(struct buf *b)
{
    bool ok = buf_ok(b) && fwrite(b->data, 1, b->len, stdout) == b->len && fflush(stdout) == 0;
    return ok ? EXIT_OK : say(EXIT_FAILED, "cannot write all of it");
}

static int print_json(const struct traces_fetch *f)
{
    yyjson_mut_doc *all = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(all), *list = yyjson_mut_arr(all);
    bool ok = all && yyjson_mut_obj_add_val(all, root, "resourceSpans", list);
    for (size_t i = 0; ok && i < f->n; i++) {
        size_t k, n;
        yyjson_val *v;
        yyjson_val *spans = yyjson_obj_get(yyjson_doc_get_root(f->docs[i]), "resourceSpans");
        yyjson_arr_foreach(spans, k, n, v)
        {
            ok = ok && yyjson_mut_arr_append(list, yyjson_val_mut_copy(all, v));
        }
    }
    yyjson_mut_doc_set_root(all, root);
    char *text = ok ? yyjson_mut_write(all, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL) : NULL;
    ok = text && puts(text) >= 0 && fflush(stdout) == 0;
    free(text);
    yyjson_mut_doc_free(all);
    return ok ? EXIT_OK : say(EXIT_FAILED, "cannot write all of it");
}

static bool wants_color(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
           !(term && strcmp(term, "dumb") == 0);
}

static int show(const struct traces_fetch *f, const char *id, bool json)
{
    struct waterfall w;
    struct buf out;
    int rc = 0;
    waterfall_init(&w);
    buf_init(&out, OUTPUT_BYTES);
    for (size_t i = 0; !rc && i < f->n; i++) {
        rc = waterfall_add(&w, f->docs[i]);
    }
    int status = rc ? say(EXIT_FAILED, "%s", strerror(-rc)) : EXIT_OK;
    if (status == EXIT_OK && json) {
        status = print_json(f);
    } else if (status == EXIT_OK && w.n && id) {
        waterfall_draw(&w, waterfall_columns(), wants_color(), &out);
        status = print(&out);
    } else if (status == EXIT_OK && w.n) {
        waterfall_list(&w, wants_color(), &out);
        status = print(&out);
    }
    if (status == EXIT_OK && w.more) {
        (void)say(0, "there are more than %d spans; these are some of them", WATERFALL_MAX_SPANS);
    }
    if (status == EXIT_OK && !w.n) {
        status = id ? say(EXIT_FAILED, "no process has a span of %s (any more)", id)
                    : say(EXIT_FAILED, "no trace was kept until now");
    }
    buf_fini(&out);
    waterfall_fini(&w);
    return status;
}

int trace_command(const char *home, int n_words, char **words, bool json)
{
    struct traces_fetch f;
    char id[TRACE_ID_TEXT + 1] = "";
    if (n_words && traces_fetch_id(words[0], id) < 0) {
        return say(EXIT_USAGE,
                   "\"%s\" is no trace id (32 lower-case hexadecimal digits) and no traceparent",
                   words[0]);
    }
    traces_fetch_init(&f, id);
    int status = ask_all(&f, home, n_words, words);
    if (status == EXIT_OK) {
        status = show(&f, n_words ? id : NULL, json);
    }
    traces_fetch_fini(&f);
    return status;
}
