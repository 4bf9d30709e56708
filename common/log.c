// SPDX-License-Identifier: MIT
// A line is built in memory, within LOG_MAX_LINE, and written at once. Text from outside goes
// through append_escaped(), which also does the cutting, so a cut line is still one valid JSON
// object.
#include "common/log.h"

#include "common/clock.h"
#include "proto/buf.h"
#include "proto/timestamp.h"
#include "proto/utf8.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define N_LEVELS (LEVEL_FATAL + 1)
#define NAME_SIZE 64
#define IDENTITY_SIZE (2 * 6 * NAME_SIZE + 64) // both names, each byte escaped
#define USUAL_LINE_BYTES 1024                  // allocated at once
#define ELLIPSIS "..."

// Kept free for what closes a line after the last cut text: quote, brace, newline.
#define TAIL_BYTES 8

static struct {
    char identity[IDENTITY_SIZE]; // the JSON fields that say who writes; empty before log_init()
    char instance[NAME_SIZE];
    bool text; // the human form
    bool colours;
} settings;

_Atomic int log_threshold = LEVEL_INFO;

static _Atomic uint64_t counts[N_LEVELS], suppressed[N_LEVELS];
static struct log_site *_Atomic listed; // those that have left something out
static _Atomic uint64_t lost;
static _Atomic bool nobody_reads; // the last line waited in vain

// clang-format off
static const struct {
    const char *name;
    const char *word;   // of it as a setting
    const char *number; // SeverityNumber of OpenTelemetry's log data model
    const char *colour;
} levels[N_LEVELS] = {
    [LEVEL_DEBUG] = { "DEBUG", "debug", "5", "\033[2m" },
    [LEVEL_INFO] = { "INFO", "info", "9", "\033[32m" },
    [LEVEL_WARN] = { "WARN", "warn", "13", "\033[33m" },
    [LEVEL_ERROR] = { "ERROR", "error", "17", "\033[31m" },
    [LEVEL_FATAL] = { "FATAL", "fatal", "21", "\033[1;31m" },
};
// clang-format on

static bool wants_colours(void)
{
    const char *no_color = getenv("NO_COLOR"); // https://no-color.org
    const char *term = getenv("TERM");
    return !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
}

// Builds settings.identity; without memory it stays empty.
static void set_identity(const char *service, const char *instance)
{
    struct buf b;
    buf_init(&b, sizeof(settings.identity) - 1);
    buf_append_z(&b, ",\"service.name\":\"");
    buf_append_json(&b, (struct str){ service, strnlen(service, NAME_SIZE - 1) });
    buf_append_z(&b, "\",\"service.instance.id\":\"");
    buf_append_json(&b, (struct str){ instance, strnlen(instance, NAME_SIZE - 1) });
    buf_append_char(&b, '"');
    if (buf_ok(&b)) {
        snprintf(settings.identity, sizeof(settings.identity), "%.*s", STR_ARG(buf_str(&b)));
    }
    buf_fini(&b);
}

void log_init(const char *service, const char *instance, enum log_level level,
              enum log_format format)
{
    assert(level < N_LEVELS);
    bool terminal = isatty(STDOUT_FILENO);
    set_identity(service, instance);
    snprintf(settings.instance, sizeof(settings.instance), "%s", instance);
    settings.text = format == LOG_FORMAT_TEXT || (format == LOG_FORMAT_AUTO && terminal);
    settings.colours = settings.text && terminal && wants_colours();
    atomic_store_explicit(&log_threshold, (int)level, memory_order_relaxed);
}

int log_level_parse(struct str name)
{
    for (int level = LEVEL_DEBUG; level < LEVEL_FATAL; level++) {
        if (str_eq(name, str_of(levels[level].word))) {
            return level;
        }
    }
    return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
    assert(level < N_LEVELS);
    return levels[level].word;
}

enum log_level log_level(void)
{
    return (enum log_level)atomic_load_explicit(&log_threshold, memory_order_relaxed);
}

uint64_t log_count(enum log_level level)
{
    assert(level < N_LEVELS);
    return atomic_load_explicit(&counts[level], memory_order_relaxed);
}

uint64_t log_suppressed(enum log_level level)
{
    assert(level < N_LEVELS);
    return atomic_load_explicit(&suppressed[level], memory_order_relaxed);
}

uint64_t log_lost(void)
{
    return atomic_load_explicit(&lost, memory_order_relaxed);
}

// --- Escaping and cutting

// Bytes of the character at s.p; 1 where it is none, for buf_append_json() to replace.
static size_t character_bytes(struct str s)
{
    size_t n = utf8_length((const unsigned char *)s.p, s.n);
    return n ? n : 1;
}

// One character for a terminal: quotes stay as they are, what could steer the terminal is escaped.
static void append_for_terminal(struct buf *b, struct str c)
{
    if (c.n == 1 && (c.p[0] == '"' || c.p[0] == '\\')) {
        buf_append_str(b, c);
    } else if (c.n == 2 && (unsigned char)c.p[0] == 0xC2 && (unsigned char)c.p[1] < 0xA0) {
        // U+0080..U+009F: some terminals take them like ESC.
        buf_printf(b, "\\u00%02x", (unsigned char)c.p[1]);
    } else {
        buf_append_json(b, c);
    }
}

// Whether s can be written as it is. Most text can, and is then copied at once.
static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c < 0x20 || c > 0x7E || c == '"' || c == '\\') {
            return false;
        }
    }
    return true;
}

// Appends s escaped; where b would grow over `end` bytes it is cut after a whole character, and
// "..." follows.
static void append_escaped(struct buf *b, struct str s, size_t end)
{
    if (b->len + s.n <= end && is_plain(s)) {
        buf_append_str(b, s);
        return;
    }
    size_t cut = b->len; // as far as the text may go with "..." behind it
    while (s.n > 0) {
        struct str c = { s.p, character_bytes(s) };
        if (settings.text) {
            append_for_terminal(b, c);
        } else {
            buf_append_json(b, c);
        }
        if (!buf_ok(b)) {
            return;
        }
        if (b->len > end) {
            b->len = cut;
            buf_append_z(b, ELLIPSIS);
            return;
        }
        if (b->len + strlen(ELLIPSIS) <= end) {
            cut = b->len;
        }
        s = (struct str){ s.p + c.n, s.n - c.n };
    }
}

// --- The two forms

static void append_time(struct buf *b)
{
    int64_t now_us = clock_wall_us();
    char time[TIMESTAMP_SIZE];
    struct str s = timestamp_format(now_us / 1000, time);
    int us = (int)(now_us % 1000);
    const char digits[] = { (char)('0' + us / 100), (char)('0' + us / 10 % 10),
                            (char)('0' + us % 10), 'Z' };
    buf_append(b, s.p, s.n - 1); // without its Z
    buf_append(b, digits, sizeof(digits));
}

static void append_json_name(struct buf *b, const char *name)
{
    buf_append(b, ",\"", 2);
    buf_append_z(b, name);
    buf_append(b, "\":", 2);
}

static void append_json_field(struct buf *b, const char *name, const char *value, size_t end)
{
    append_json_name(b, name);
    buf_append_char(b, '"');
    append_escaped(b, str_of(value), end);
    buf_append_char(b, '"');
}

// Whether text is a number as RFC 8259 has it, without exponent.
static bool is_number(const char *text)
{
    const char *p = text + (*text == '-');
    size_t whole = strspn(p, "0123456789");
    if (whole == 0 || (whole > 1 && *p == '0')) {
        return false;
    }
    p += whole;
    if (*p == '.') {
        size_t fraction = strspn(p + 1, "0123456789");
        p += 1 + fraction;
        if (fraction == 0) {
            return false;
        }
    }
    return *p == '\0';
}

// Appends the pairs that fit before `end`.
static void append_fields(struct buf *b, const char *const fields[], size_t end)
{
    for (; fields && fields[0]; fields += 2) {
        const char *name = fields[0], *value = fields[1];
        if (!value) {
            continue;
        }
        bool number = *name == '#';
        name += number;
        number = number && is_number(value) && strlen(value) < NAME_SIZE;
        // Room for the name and what stands around it, and for a value worth its name.
        if (b->len + strlen(name) + NAME_SIZE > end) {
            return;
        }
        if (settings.text) {
            buf_printf(b, " %s=", name);
            append_escaped(b, str_of(value), end);
        } else if (number) {
            append_json_name(b, name);
            buf_append_z(b, value);
        } else {
            append_json_field(b, name, value, end - 1);
        }
    }
}

// What a line is made of.
struct event {
    enum log_level level;
    const struct trace *trace; // NULL: none
    struct str message;
    const char *const *fields; // NULL: none
    uint64_t suppressed;       // lines of its statement that are missing before it
};

// Appends the fields. What is missing comes first: it is not what a long line is cut by.
static void append_all_fields(struct buf *b, const struct event *e, size_t end)
{
    if (e->suppressed > 0) {
        char n[24];
        (void)snprintf(n, sizeof n, "%" PRIu64, e->suppressed);
        append_fields(b, (const char *[]){ "#suppressed", n, NULL }, end);
    }
    append_fields(b, e->fields, end);
}

// Up to where the message may go: a long one leaves half of the line to the fields.
static size_t message_end(const struct buf *b, const struct event *e, size_t end)
{
    return e->fields || e->suppressed ? (b->len + end) / 2 : end;
}

static void append_json_line(struct buf *b, const struct event *e)
{
    const size_t end = LOG_MAX_LINE - TAIL_BYTES;
    buf_append_z(b, "{\"timestamp\":\"");
    append_time(b);
    buf_append_z(b, "\",\"severity_text\":\"");
    buf_append_z(b, levels[e->level].name);
    buf_append_z(b, "\",\"severity_number\":");
    buf_append_z(b, levels[e->level].number);
    buf_append_z(b, settings.identity);
    if (e->trace && trace_is_set(e->trace)) {
        char trace_id[TRACE_ID_TEXT + 1], span_id[SPAN_ID_TEXT + 1];
        trace_id_text(e->trace, trace_id);
        span_id_text(e->trace, span_id);
        append_json_field(b, "trace_id", trace_id, end);
        append_json_field(b, "span_id", span_id, end);
    }
    buf_append_z(b, ",\"body\":\"");
    append_escaped(b, e->message, message_end(b, e, end));
    buf_append_char(b, '"');
    append_all_fields(b, e, end);
    buf_append_z(b, "}\n");
}

static void append_text_line(struct buf *b, const struct event *e)
{
    const size_t end = LOG_MAX_LINE - TAIL_BYTES - SPAN_ID_TEXT - TRACE_ID_TEXT;
    append_time(b);
    const char *colour = settings.colours ? levels[e->level].colour : "";
    const char *plain = settings.colours ? "\033[0m" : "";
    buf_printf(b, " %s%-5s%s %s%s", colour, levels[e->level].name, plain, settings.instance,
               *settings.instance ? " " : "");
    append_escaped(b, e->message, message_end(b, e, end));
    append_all_fields(b, e, end);
    if (e->trace && trace_is_set(e->trace)) {
        char trace_id[TRACE_ID_TEXT + 1];
        trace_id_text(e->trace, trace_id);
        buf_printf(b, " trace=%s", trace_id);
    }
    buf_append_char(b, '\n');
}

// --- Writing

// Lines of this thread that wait for log_release().
static _Thread_local struct {
    bool on;
    size_t n;
    char bytes[LOG_MAX_LINE];
} held;

// Whether a full pipe takes something again within LOG_WAIT_MS, unless it has lately let that pass.
static bool wait_for_room(void)
{
    struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
    int wait_ms = atomic_load_explicit(&nobody_reads, memory_order_relaxed) ? 0 : LOG_WAIT_MS;
    return poll(&p, 1, wait_ms) > 0 && (p.revents & POLLOUT);
}

// A log that nobody takes (closed pipe, full disk) must not stop the service: the lines are gone.
static void lose(struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        lost += bytes.p[i] == '\n';
    }
}

static void write_bytes(struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(STDOUT_FILENO, bytes.p, bytes.n);
        if (n < 0 && errno == EAGAIN && !wait_for_room()) {
            atomic_store_explicit(&nobody_reads, true, memory_order_relaxed);
            lose(bytes);
            return;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            lose(bytes);
            return;
        }
        bytes = n > 0 ? (struct str){ bytes.p + n, bytes.n - (size_t)n } : bytes;
    }
    if (atomic_load_explicit(&nobody_reads, memory_order_relaxed)) {
        atomic_store_explicit(&nobody_reads, false, memory_order_relaxed);
    }
}

void log_release(void)
{
    if (held.n > 0) {
        write_bytes((struct str){ held.bytes, held.n });
    }
    held.n = 0;
    held.on = false;
}

void log_hold(void)
{
    held.on = true;
}

static void write_line(struct str line)
{
    if (!held.on) {
        write_bytes(line);
        return;
    }
    if (held.n + line.n > sizeof(held.bytes)) {
        log_release();
        log_hold();
    }
    assert(line.n <= sizeof(held.bytes));
    memcpy(held.bytes + held.n, line.p, line.n);
    held.n += line.n;
}

static void write_event(const struct event *e)
{
    atomic_fetch_add_explicit(&counts[e->level], 1, memory_order_relaxed);
    // A character may be appended before it is seen to be one too many: room for that, and for the
    // "...".
    struct buf line;
    buf_init(&line, 2 * LOG_MAX_LINE);
    (void)buf_reserve(&line, USUAL_LINE_BYTES); // a failure sticks, and is seen below
    if (settings.text) {
        append_text_line(&line, e);
    } else {
        append_json_line(&line, e);
    }
    if (buf_ok(&line)) {
        assert(line.len <= LOG_MAX_LINE);
        write_line(buf_str(&line));
    } else {
        write_line(STR("{\"severity_text\":\"ERROR\",\"body\":\"no memory for a log line\"}\n"));
    }
    buf_fini(&line);
}

// --- What one statement may write

// Takes a token. The bucket is kept as the time at which it is full again (GCRA): one word, which is
// compared and swapped.
static bool take_token(struct log_site *site, enum log_level level)
{
    bool debug = level == LEVEL_DEBUG;
    int64_t interval_us = 1000 * (debug ? LOG_DEBUG_INTERVAL_MS : LOG_INTERVAL_MS);
    int64_t depth_us = interval_us * (debug ? LOG_DEBUG_BURST : LOG_BURST);
    int64_t now_us = clock_mono_us(), full_us, next_us;
    full_us = atomic_load_explicit(&site->full_us, memory_order_relaxed);
    do {
        next_us = (full_us > now_us ? full_us : now_us) + interval_us;
        if (next_us - now_us > depth_us) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&site->full_us, &full_us, next_us,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

// Puts a site into the list, once.
static void list_site(struct log_site *site, enum log_level level, const char *message)
{
    if (atomic_load_explicit(&site->listed, memory_order_relaxed) ||
        atomic_exchange_explicit(&site->listed, true, memory_order_relaxed)) {
        return;
    }
    site->level = level;
    site->message = message;
    site->next = atomic_load_explicit(&listed, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&listed, &site->next, site, memory_order_release,
                                                  memory_order_relaxed)) {
    }
}

// Whether a line may be written, and then how many before it were not. message is as it stands in
// the statement.
static bool admit(struct log_site *site, enum log_level level, const char *message,
                  uint64_t *ret_suppressed)
{
    *ret_suppressed = 0;
    if (!site || level == LEVEL_FATAL) {
        return true;
    }
    if (!take_token(site, level)) {
        atomic_fetch_add_explicit(&site->suppressed, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&suppressed[level], 1, memory_order_relaxed);
        list_site(site, level, message);
        return false;
    }
    if (atomic_load_explicit(&site->suppressed, memory_order_relaxed) > 0) {
        *ret_suppressed = atomic_exchange_explicit(&site->suppressed, 0, memory_order_relaxed);
    }
    return true;
}

void log_tell_suppressed(void)
{
    struct log_site *site = atomic_load_explicit(&listed, memory_order_acquire);
    for (; site; site = site->next) {
        struct event e = { .level = site->level, .message = STR("lines like this were left out") };
        const char *const fields[] = { "log.template", site->message, NULL };
        e.fields = fields;
        if (atomic_load_explicit(&site->suppressed, memory_order_relaxed) > 0 &&
            log_enabled(site->level) && admit(site, site->level, site->message, &e.suppressed) &&
            e.suppressed > 0) {
            write_event(&e);
        }
    }
}

// --- Lines

void log_write_at(struct log_site *site, enum log_level level, const struct trace *trace,
                  const char *format, ...)
{
    assert(level < N_LEVELS);
    struct event e = { .level = level, .trace = trace };
    if (!log_enabled(level) || !admit(site, level, format, &e.suppressed)) {
        return;
    }
    // Longer than a line: what is too long is cut with the rest, after a whole character.
    char text[LOG_MAX_LINE + 1];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    e.message = (struct str){ text, length };
    write_event(&e);
}

void log_fields_at(struct log_site *site, enum log_level level, const struct trace *trace,
                   const char *message, const char *const fields[])
{
    assert(level < N_LEVELS);
    struct event e = {
        .level = level, .trace = trace, .message = str_of(message), .fields = fields
    };
    if (log_enabled(level) && admit(site, level, message, &e.suppressed)) {
        write_event(&e);
    }
}

void log_lines_at(struct log_site *site, enum log_level level, struct str text)
{
    assert(level < N_LEVELS);
    struct event e = { .level = level };
    if (text.n == 0 || !log_enabled(level) ||
        !admit(site, level, "a text of several lines", &e.suppressed)) {
        return;
    }
    while (text.n > 0) {
        e.message = str_take_line(&text);
        write_event(&e);
        e.suppressed = 0;
    }
}

void log_set_level(enum log_level level)
{
    assert(level < LEVEL_FATAL);
    enum log_level before =
        (enum log_level)atomic_exchange_explicit(&log_threshold, (int)level, memory_order_relaxed);
    if (before == level) {
        return;
    }
    const char *const fields[] = {
        "event.name",           "log-level", "log.level", log_level_name(level), "log.level.before",
        log_level_name(before), NULL
    };
    // Not by log_fields(): who reads a log without lines of this level must see why there are more
    // of them, or less, from here on.
    struct event e = { .level = LEVEL_INFO,
                       .message = STR("the log level was changed"),
                       .fields = fields };
    write_event(&e);
}
