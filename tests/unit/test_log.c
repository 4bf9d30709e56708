// SPDX-License-Identifier: MIT
// Whatever is logged, what comes out is whole lines of valid JSON (or text that cannot steer a
// terminal), each in one write. Lines are read from a pipe in packet mode, where a read returns
// exactly what one write wrote.
#include "common/log.h"

#include "common/clock.h"

#include <yyjson.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int stdout_copy = -1;
static int reader = -1;
static char line[2 * LOG_MAX_LINE];

// Puts stdout into a pipe.
static int capture(void **state)
{
    (void)state;
    fflush(stdout);
    int ends[2];
    stdout_copy = dup(STDOUT_FILENO);
    if (pipe2(ends, O_DIRECT | O_NONBLOCK) < 0 || dup2(ends[1], STDOUT_FILENO) < 0) {
        return -1;
    }
    close(ends[1]);
    reader = ends[0];
    log_init("sluice-test", "test-1", LEVEL_DEBUG, LOG_FORMAT_JSON);
    return 0;
}

static int release(void **state)
{
    (void)state;
    dup2(stdout_copy, STDOUT_FILENO);
    close(stdout_copy);
    close(reader);
    return 0;
}

// The next line, without its newline; NULL when there is none.
static char *next_line(void)
{
    ssize_t n = read(reader, line, sizeof(line) - 1);
    if (n < 0) {
        assert_int_equal(errno, EAGAIN);
        return NULL;
    }
    assert_true(n > 0 && n <= LOG_MAX_LINE);
    assert_int_equal(line[n - 1], '\n');
    line[n - 1] = '\0';
    assert_int_equal(strlen(line), n - 1);
    assert_null(strchr(line, '\n'));
    return line;
}

static yyjson_doc *next_object(void)
{
    char *text = next_line();
    assert_non_null(text);
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    assert_non_null(doc); // valid JSON, and valid UTF-8
    assert_true(yyjson_is_obj(yyjson_doc_get_root(doc)));
    return doc;
}

static const char *text_of(yyjson_doc *doc, const char *name)
{
    return yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), name));
}

static void test_fields_of_a_line(void **state)
{
    (void)state;
    struct trace t;
    assert_int_equal(
        trace_parse(STR("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), &t), 0);
    log_write(LEVEL_WARN, &t, "%s is %d", "answer", 42);
    yyjson_doc *doc = next_object();
    assert_string_equal(text_of(doc, "severity_text"), "WARN");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(yyjson_doc_get_root(doc), "severity_number")),
                     13);
    assert_string_equal(text_of(doc, "body"), "answer is 42");
    assert_string_equal(text_of(doc, "service.name"), "sluice-test");
    assert_string_equal(text_of(doc, "service.instance.id"), "test-1");
    assert_string_equal(text_of(doc, "trace_id"), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_string_equal(text_of(doc, "span_id"), "00f067aa0ba902b7");
    const char *time = text_of(doc, "timestamp");
    assert_int_equal(strlen(time), strlen("2026-11-23T10:00:00.123456Z"));
    assert_int_equal(time[19], '.');
    assert_int_equal(time[26], 'Z');
    assert_int_equal(strspn(time + 20, "0123456789"), 6);
    yyjson_doc_free(doc);
    assert_null(next_line());
}

static void test_severities(void **state)
{
    (void)state;
    static const int numbers[] = { 5, 9, 13, 17, 21 };
    for (int level = LEVEL_DEBUG; level <= LEVEL_FATAL; level++) {
        uint64_t before = log_count((enum log_level)level);
        log_write((enum log_level)level, NULL, "x");
        yyjson_doc *doc = next_object();
        assert_int_equal(
            yyjson_get_int(yyjson_obj_get(yyjson_doc_get_root(doc), "severity_number")),
            numbers[level]);
        assert_null(text_of(doc, "trace_id"));
        assert_int_equal(log_count((enum log_level)level), before + 1);
        yyjson_doc_free(doc);
    }
}

static void test_threshold(void **state)
{
    (void)state;
    log_init("s", "i", LEVEL_WARN, LOG_FORMAT_JSON);
    uint64_t before = log_count(LEVEL_INFO);
    log_info("not %s", "this");
    log_fields(LEVEL_DEBUG, NULL, "nor this", NULL);
    int computed = 0;
    log_debug("and nothing is computed for it: %d", ++computed);
    assert_int_equal(computed, 0);
    assert_null(next_line());
    assert_int_equal(log_count(LEVEL_INFO), before);
    assert_false(log_enabled(LEVEL_INFO));
    assert_true(log_enabled(LEVEL_WARN));
    log_warn("this");
    assert_non_null(next_line());
}

static void test_text_from_outside(void **state)
{
    (void)state;
    log_write(LEVEL_INFO, NULL, "%s", "a\"b\\c\nd\re\tf\001g\177h\033[31mi");
    yyjson_doc *doc = next_object();
    assert_string_equal(text_of(doc, "body"), "a\"b\\c\nd\re\tf\001g\177h\033[31mi");
    yyjson_doc_free(doc);
    // Overlong, a lone continuation, a surrogate, a cut sequence: none is UTF-8.
    log_write(LEVEL_INFO, NULL, "%s", "\xC0\xAF \x80 \xED\xA0\x80 \xE2\x82");
    doc = next_object();
    assert_non_null(strstr(text_of(doc, "body"), "\xEF\xBF\xBD"));
    yyjson_doc_free(doc);
    log_write(LEVEL_INFO, NULL, "%s", "gr\xC3\xBC\xC3\x9F Gott \xF0\x9F\x90\xB3");
    doc = next_object();
    assert_string_equal(text_of(doc, "body"), "gr\xC3\xBC\xC3\x9F Gott \xF0\x9F\x90\xB3");
    yyjson_doc_free(doc);
}

// The character that is cut at may be of any length, before and after escaping.
static void test_long_messages_are_cut_cleanly(void **state)
{
    (void)state;
    static const char *const characters[] = { "x",        "\n",           "\001",
                                              "\xC3\xBC", "\xE2\x82\xAC", "\xF0\x9F\x90\xB3",
                                              "\xFF" };
    for (size_t i = 0; i < sizeof(characters) / sizeof(characters[0]); i++) {
        for (size_t shift = 0; shift < 8; shift++) {
            static char text[6 * LOG_MAX_LINE];
            size_t n = strlen(characters[i]);
            memset(text, 'y', shift);
            size_t at = shift;
            for (; at + n < sizeof(text); at += n) {
                memcpy(text + at, characters[i], n);
            }
            text[at] = '\0';
            log_write_at(NULL, LEVEL_INFO, NULL, "%s", text);
            yyjson_doc *doc = next_object();
            const char *body = text_of(doc, "body");
            assert_string_equal(body + strlen(body) - 3, "...");
            assert_true(strlen(line) > LOG_MAX_LINE - 40); // and no shorter than it needs to be
            yyjson_doc_free(doc);
            assert_null(next_line());
        }
    }
}

static void test_messages_around_the_limit(void **state)
{
    (void)state;
    for (int n = 3700; n < 4200; n++) {
        log_write_at(NULL, LEVEL_INFO, NULL, "%0*d", n, 0);
        yyjson_doc *doc = next_object();
        const char *body = text_of(doc, "body");
        bool cut = strcmp(body + strlen(body) - 3, "...") == 0;
        assert_true(cut || strlen(body) == (size_t)n);
        assert_int_equal(strlen(text_of(doc, "timestamp")), strlen("2026-11-23T10:00:00.000001Z"));
        yyjson_doc_free(doc);
    }
}

static void test_fields(void **state)
{
    (void)state;
    const char *const fields[] = {
        "http.route", "/v1/\"users\"", "left.out", NULL,  "#status", "200", "#ratio",  "-0.25",
        "#wrong",     "0x10",          "#wrong2",  "007", "#wrong3", "1.",  "#wrong4", "",
        NULL
    };
    log_fields(LEVEL_INFO, NULL, "request", fields);
    yyjson_doc *doc = next_object();
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_string_equal(text_of(doc, "http.route"), "/v1/\"users\"");
    assert_null(yyjson_obj_get(root, "left.out"));
    assert_int_equal(yyjson_get_int(yyjson_obj_get(root, "status")), 200);
    assert_true(yyjson_get_real(yyjson_obj_get(root, "ratio")) == -0.25);
    assert_string_equal(text_of(doc, "wrong"), "0x10");
    assert_string_equal(text_of(doc, "wrong2"), "007");
    assert_string_equal(text_of(doc, "wrong3"), "1.");
    assert_string_equal(text_of(doc, "wrong4"), "");
    assert_string_equal(text_of(doc, "body"), "request");
    yyjson_doc_free(doc);
}

static void test_more_fields_than_fit(void **state)
{
    (void)state;
    static char value[3000], message[5000];
    memset(value, '"', sizeof(value) - 1);
    memset(message, 'm', sizeof(message) - 1);
    const char *fields[200 * 2 + 1];
    for (int i = 0; i < 200; i++) {
        fields[2 * i] = i % 2 ? "#a.name.of.some.length" : "b";
        fields[2 * i + 1] =
            i % 2 ? "123456789012345678901234567890" : value + sizeof(value) - 1 - 10 * i;
    }
    fields[400] = NULL;
    log_fields_at(NULL, LEVEL_INFO, NULL, message, fields);
    yyjson_doc *doc = next_object();
    assert_non_null(strstr(text_of(doc, "body"), "mmm..."));
    assert_non_null(text_of(doc, "b")); // a long message leaves room for fields
    yyjson_doc_free(doc);
    fields[1] = value; // one that is too long alone
    log_fields(LEVEL_INFO, NULL, "short", fields);
    doc = next_object();
    assert_non_null(strstr(text_of(doc, "b"), "\"\"\"..."));
    yyjson_doc_free(doc);
}

static void test_text_form(void **state)
{
    (void)state;
    log_init("sluice-test", "test-1", LEVEL_DEBUG, LOG_FORMAT_TEXT);
    const char *const fields[] = { "path", "/x\033]0;title\007", "#n", "5", NULL };
    log_fields(LEVEL_ERROR, NULL,
               "say \"hi\" \\ \033[2J\n\xC2\x9B"
               "31m \x9B \xC3\xBC",
               fields);
    char *text = next_line();
    assert_non_null(text);
    assert_non_null(
        strstr(text, " ERROR test-1 say \"hi\" \\ \\u001b[2J\\n\\u009b31m \xEF\xBF\xBD \xC3\xBC "
                     "path=/x\\u001b]0;title\\u0007 n=5"));
    for (const char *p = text; *p; p++) {
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7F); // no colours: this is no terminal
    }
    static char message[9000];
    memset(message, 'm', sizeof(message) - 1);
    struct trace t;
    trace_start(&t, true);
    log_write(LEVEL_INFO, &t, "%s", message);
    text = next_line();
    assert_non_null(strstr(text, "mmm... trace="));
}

static void test_auto_is_json_when_no_terminal(void **state)
{
    (void)state;
    log_init("s", "i", LEVEL_INFO, LOG_FORMAT_AUTO);
    log_info("x");
    yyjson_doc_free(next_object());
}

// What one line looks like on a terminal.
static void read_terminal(char *text, size_t size)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int screen = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(screen >= 0);
    int out = dup(STDOUT_FILENO);
    dup2(screen, STDOUT_FILENO);
    log_init("s", "test-1", LEVEL_INFO, LOG_FORMAT_AUTO);
    log_warn("hello");
    dup2(out, STDOUT_FILENO);
    ssize_t n = read(terminal, text, size - 1);
    assert_true(n > 0);
    text[n] = '\0';
    close(out);
    close(screen);
    close(terminal);
}

static void test_auto_is_text_on_a_terminal(void **state)
{
    (void)state;
    char text[200];
    assert_int_equal(setenv("TERM", "xterm", 1), 0);
    unsetenv("NO_COLOR");
    read_terminal(text, sizeof(text));
    assert_non_null(strstr(text, "Z \033[33mWARN \033[0m test-1 hello\r\n"));
    setenv("NO_COLOR", "1", 1);
    read_terminal(text, sizeof(text));
    assert_non_null(strstr(text, "Z WARN  test-1 hello\r\n"));
    setenv("NO_COLOR", "", 1); // https://no-color.org: when present and not empty
    read_terminal(text, sizeof(text));
    assert_non_null(strstr(text, "\033[33m"));
    setenv("TERM", "dumb", 1);
    read_terminal(text, sizeof(text));
    assert_null(strchr(text, '\033'));
}

static void *write_lines(void *data)
{
    static const char *const fields[] = { "k", "v", NULL };
    for (int i = 0; i < 50; i++) {
        log_write_at(NULL, LEVEL_INFO, NULL, "thread %d line %d", *(int *)data, i);
        log_fields_at(NULL, LEVEL_INFO, NULL, "fields", fields);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    int numbers[4];
    uint64_t before = log_count(LEVEL_INFO), lost = log_lost();
    for (int i = 0; i < 4; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    // A pipe takes 16 of them at once (in packet mode a line takes a page): they wait for it.
    for (int lines = 0; lines < 400; lines++) {
        struct pollfd p = { .fd = reader, .events = POLLIN };
        assert_int_equal(poll(&p, 1, 5000), 1);
        yyjson_doc_free(next_object());
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_null(next_line());
    assert_int_equal(log_count(LEVEL_INFO), before + 400);
    assert_int_equal(log_lost(), lost);
}

// A full pipe holds nobody up for long, and never twice; what is lost is counted.
static void test_a_log_that_nobody_reads(void **state)
{
    (void)state;
    uint64_t lost = log_lost();
    int64_t before_ms = clock_mono_ms();
    int written = 0;
    while (log_lost() == lost) {
        log_write_at(NULL, LEVEL_INFO, NULL, "line %d", written++);
    }
    int64_t waited_ms = clock_mono_ms() - before_ms;
    assert_in_range(waited_ms, LOG_WAIT_MS - 1, LOG_WAIT_MS + 500);
    log_hold();
    log_info("two lines");
    log_info("that are lost together");
    log_release();
    for (int i = 0; i < 1000; i++) {
        log_write_at(NULL, LEVEL_INFO, NULL, "lost");
    }
    assert_in_range(clock_mono_ms() - before_ms - waited_ms, 0, 500);
    assert_int_equal(log_lost(), lost + 1003);
    for (int i = 0; i < written - 1; i++) {
        yyjson_doc_free(next_object());
    }
    assert_null(next_line());
    log_info("read again");
    assert_non_null(strstr(next_line(), "read again"));
    // And it would wait again.
    before_ms = clock_mono_ms();
    lost = log_lost();
    while (log_lost() == lost) {
        log_write_at(NULL, LEVEL_INFO, NULL, "x");
    }
    assert_in_range(clock_mono_ms() - before_ms, LOG_WAIT_MS - 1, LOG_WAIT_MS + 500);
}

// --- What one statement may write

// A statement of the level debug, whose bucket fills fast.
static void say(int i)
{
    log_debug("said %d", i);
}

// Reads the lines that are there. Returns their number, and adds what they say is missing.
static int read_lines(uint64_t *missing)
{
    int n = 0;
    for (char *text; (text = next_line()); n++) {
        yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
        assert_non_null(doc);
        *missing += yyjson_get_uint(yyjson_obj_get(yyjson_doc_get_root(doc), "suppressed"));
        yyjson_doc_free(doc);
    }
    return n;
}

static void test_a_statement_in_a_loop(void **state)
{
    (void)state;
    uint64_t before = log_suppressed(LEVEL_WARN), missing = 0;
    int64_t began_ms = clock_mono_ms();
    int written = 0, said = LOG_BURST + 200;
    for (int i = 0; i < said; i++) {
        log_warn("in a loop %d", i);
        written += read_lines(&missing);
    }
    int64_t refilled = (clock_mono_ms() - began_ms) / LOG_INTERVAL_MS + 1;
    assert_in_range(written, LOG_BURST, LOG_BURST + refilled);
    assert_int_equal(log_suppressed(LEVEL_WARN) - before, said - written);
    // It takes nothing from others, and who has no site or says a last word has no limit.
    log_warn("another statement");
    assert_int_equal(read_lines(&missing), 1);
    for (int i = 0; i < 2 * LOG_BURST; i++) {
        log_write_at(NULL, LEVEL_WARN, NULL, "no site");
        log_write(LEVEL_FATAL, NULL, "the last word");
        assert_int_equal(read_lines(&missing), 2);
    }
}

static void test_what_is_left_out_is_said(void **state)
{
    (void)state;
    uint64_t before = log_suppressed(LEVEL_DEBUG), missing = 0;
    int said = 0, written = 0;
    while (log_suppressed(LEVEL_DEBUG) < before + 10) {
        say(said++);
        written += read_lines(&missing);
    }
    assert_true(written >= LOG_DEBUG_BURST);
    // With the next line of the statement, once it may write again.
    while (missing < 10) {
        (void)usleep(1000);
        say(said++);
        written += read_lines(&missing);
    }
    assert_int_equal((uint64_t)written + log_suppressed(LEVEL_DEBUG) - before, said);
    assert_in_range(missing, 10, log_suppressed(LEVEL_DEBUG) - before);
    // Or in a line of its own, when there is none.
    before = log_suppressed(LEVEL_DEBUG);
    while (log_suppressed(LEVEL_DEBUG) == before) {
        say(said++);
        (void)read_lines(&missing);
    }
    (void)usleep(3000 * LOG_DEBUG_INTERVAL_MS);
    log_tell_suppressed();
    yyjson_doc *doc = next_object();
    assert_string_equal(text_of(doc, "log.template"), "said %d");
    assert_string_equal(text_of(doc, "severity_text"), "DEBUG");
    assert_true(yyjson_get_uint(yyjson_obj_get(yyjson_doc_get_root(doc), "suppressed")) > 0);
    yyjson_doc_free(doc);
    log_tell_suppressed();
    assert_null(next_line());
}

static struct log_site shared;
static _Atomic int talking;

static void *talk(void *data)
{
    for (int i = 0; i < 2000; i++) {
        log_write_at(&shared, LEVEL_DEBUG, NULL, "talk");
    }
    talking--;
    return data;
}

// Each line is either written or counted, and what is counted is said once.
static void test_threads_share_a_site(void **state)
{
    (void)state;
    pthread_t threads[4];
    uint64_t before = log_suppressed(LEVEL_DEBUG), missing = 0;
    uint64_t lost = log_lost();
    int written = 0;
    talking = 4;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, talk, NULL), 0);
    }
    while (talking > 0) {
        written += read_lines(&missing);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    written += read_lines(&missing);
    uint64_t suppressed = log_suppressed(LEVEL_DEBUG) - before;
    assert_int_equal(log_lost(), lost);
    assert_int_equal((uint64_t)written + suppressed, 8000);
    assert_true(suppressed > 0 && missing <= suppressed);
    (void)usleep(3000 * LOG_DEBUG_INTERVAL_MS);
    log_write_at(&shared, LEVEL_DEBUG, NULL, "talk");
    assert_int_equal(read_lines(&missing), 1);
    assert_int_equal(missing, suppressed);
}

static void test_lines_take_one_token(void **state)
{
    (void)state;
    uint64_t missing = 0;
    for (int i = 0; i < LOG_BURST; i++) {
        log_lines(LEVEL_ERROR, STR("one\ntwo\nthree"));
        assert_int_equal(read_lines(&missing), 3);
    }
    log_lines(LEVEL_ERROR, STR(""));
    assert_null(next_line());
}

static void test_levels(void **state)
{
    (void)state;
    assert_int_equal(log_level_parse(STR("warn")), LEVEL_WARN);
    assert_int_equal(log_level_parse(STR("")), -EINVAL);
    assert_int_equal(log_level_parse(STR("fatal")), -EINVAL); // nobody wants to hear only that
    assert_string_equal(log_level_name(LEVEL_ERROR), "error");
    log_set_level(LEVEL_DEBUG); // it is that already
    assert_null(next_line());
    log_set_level(LEVEL_ERROR);
    yyjson_doc *doc = next_object();
    assert_string_equal(text_of(doc, "log.level"), "error");
    assert_string_equal(text_of(doc, "log.level.before"), "debug");
    yyjson_doc_free(doc);
    log_warn("not this");
    assert_null(next_line());
    assert_int_equal(log_level(), LEVEL_ERROR);
}

// Held lines come whole, in order and together, and never more in one write than a pipe takes as a whole.
static void test_held_lines(void **state)
{
    (void)state;
    log_hold();
    for (int i = 0; i < 100; i++) {
        log_write_at(NULL, LEVEL_INFO, NULL, "held %d", i);
    }
    log_release();
    log_info("held 100");
    int expected = 0;
    for (;;) {
        ssize_t n = read(reader, line, sizeof(line) - 1);
        if (n < 0) {
            break;
        }
        assert_true(n <= LOG_MAX_LINE);
        assert_int_equal(line[n - 1], '\n');
        line[n] = '\0';
        char *rest = NULL;
        for (char *one = strtok_r(line, "\n", &rest); one; one = strtok_r(NULL, "\n", &rest)) {
            char text[32];
            snprintf(text, sizeof(text), "\"held %d\"", expected++);
            assert_non_null(strstr(one, text));
        }
    }
    assert_int_equal(expected, 101);
}

static void test_a_closed_log_is_survived(void **state)
{
    (void)state;
    int out = dup(STDOUT_FILENO);
    close(STDOUT_FILENO);
    log_info("nobody hears this");
    dup2(out, STDOUT_FILENO);
    close(out);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, capture, release)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_fields_of_a_line),
        CASE(test_severities),
        CASE(test_threshold),
        CASE(test_text_from_outside),
        CASE(test_long_messages_are_cut_cleanly),
        CASE(test_messages_around_the_limit),
        CASE(test_fields),
        CASE(test_more_fields_than_fit),
        CASE(test_text_form),
        CASE(test_auto_is_json_when_no_terminal),
        CASE(test_auto_is_text_on_a_terminal),
        CASE(test_threads),
        CASE(test_held_lines),
        CASE(test_a_closed_log_is_survived),
        CASE(test_a_log_that_nobody_reads),
        CASE(test_levels),
        CASE(test_a_statement_in_a_loop),
        CASE(test_what_is_left_out_is_said),
        CASE(test_threads_share_a_site),
        CASE(test_lines_take_one_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
