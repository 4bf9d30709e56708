// SPDX-License-Identifier: MIT
// Many texts become one in which families are together and every sample says whose it is; a process
// that writes something else is left out, and harms nobody.
#include "gateway/suite_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct suite_process processes[4];
static char text[65536];

static void add(size_t i, const char *job, const char *instance, const char *metrics)
{
    (void)snprintf(processes[i].job, sizeof processes[i].job, "%s", job);
    (void)snprintf(processes[i].instance, sizeof processes[i].instance, "%s", instance);
    processes[i].up = metrics != NULL;
    processes[i].text = metrics ? str_of(metrics) : STR("");
}

static const char *merge(size_t n, enum metrics_format format)
{
    struct buf b;
    buf_init(&b, sizeof text - 1);
    assert_int_equal(suite_text_merge(processes, n, 3, format, &b), 0);
    assert_true(buf_ok(&b));
    (void)snprintf(text, sizeof text, "%.*s", STR_ARG(buf_str(&b)));
    buf_fini(&b);
    return text;
}

static const char tail[] =
    "# HELP sluice_suite_left_out Processes that were too many to be asked.\n"
    "# TYPE sluice_suite_left_out gauge\n"
    "sluice_suite_left_out 3\n"
    "# HELP sluice_suite_conflicts Families left out because another process has them with another "
    "type.\n"
    "# TYPE sluice_suite_conflicts gauge\n"
    "sluice_suite_conflicts ";

static void assert_has(const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("not found:\n%s\nin:\n%s", part, text);
    }
}

static void test_families_are_together(void **state)
{
    (void)state;
    add(0, "sluice-a", "a-1",
        "# HELP z Z.\n# TYPE z gauge\nz 1\n# HELP b_total B.\n"
        "# TYPE b_total counter\nb_total{k=\"x, } \\\" y\"} 2\nb_total{} 3\n");
    add(1, "sluice-b", "b-1", NULL);
    add(2, "sluice-c", "c-1",
        "# HELP b_total B.\n# TYPE b_total counter\nb_total{k=\"2\",l=\"3\"} 4\n");
    merge(3, METRICS_TEXT);
    const char *expected =
        "# HELP b_total B.\n# TYPE b_total counter\n"
        "b_total{job=\"sluice-a\",instance=\"a-1\",k=\"x, } \\\" y\"} 2\n"
        "b_total{job=\"sluice-a\",instance=\"a-1\"} 3\n"
        "b_total{job=\"sluice-c\",instance=\"c-1\",k=\"2\",l=\"3\"} 4\n"
        "# HELP z Z.\n# TYPE z gauge\n"
        "z{job=\"sluice-a\",instance=\"a-1\"} 1\n"
        "# HELP sluice_suite_up Whether the metrics of this process are here (1), or it did not "
        "answer (0).\n"
        "# TYPE sluice_suite_up gauge\n"
        "sluice_suite_up{job=\"sluice-a\",instance=\"a-1\"} 1\n"
        "sluice_suite_up{job=\"sluice-b\",instance=\"b-1\"} 0\n"
        "sluice_suite_up{job=\"sluice-c\",instance=\"c-1\"} 1\n";
    assert_memory_equal(text, expected, strlen(expected));
    assert_has(tail);
    assert_string_equal(text + strlen(text) - 2, "0\n");
}

static void test_those_that_are_known_by_their_links(void **state)
{
    (void)state;
    add(0, "sluice-a", "a-1", NULL);
    add(1, "sluice-b", "b-1", NULL);
    processes[1].linked = true;
    merge(2, METRICS_TEXT);
    processes[1].linked = false;
    assert_has("# TYPE sluice_suite_linked gauge\n"
               "sluice_suite_linked{job=\"sluice-b\",instance=\"b-1\"} 1\n");
    assert_has("sluice_suite_up{job=\"sluice-b\",instance=\"b-1\"} 0\n");
    assert_null(strstr(text, "sluice_suite_linked{job=\"sluice-a\""));
    merge(2, METRICS_TEXT);
    assert_null(strstr(text, "sluice_suite_linked"));
}

static void test_openmetrics(void **state)
{
    (void)state;
    add(0, "sluice-a", "a-1",
        "# HELP b B.\n# TYPE b counter\nb_total{k=\"x\"} 2 # {trace_id=\"00\"} 0.5 12.5\n# EOF\n");
    add(1, "sluice-b", "b-1", "# TYPE b counter\nb_total 2\n# EOF\nb_total 3\n"); // after the end
    add(2, "sluice-c", "c-1", "# TYPE b counter\nb_total 2\n");                   // without end
    merge(3, METRICS_OPENMETRICS);
    assert_has(
        "b_total{job=\"sluice-a\",instance=\"a-1\",k=\"x\"} 2 # {trace_id=\"00\"} 0.5 12.5\n");
    assert_has("sluice_suite_up{job=\"sluice-b\",instance=\"b-1\"} 0\n");
    assert_has("sluice_suite_up{job=\"sluice-c\",instance=\"c-1\"} 0\n");
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    assert_ptr_equal(strstr(text, "# EOF"), text + strlen(text) - 6);
}

static void test_a_family_with_two_types(void **state)
{
    (void)state;
    add(0, "sluice-a", "a-1", "# TYPE x gauge\nx 1\n");
    add(1, "sluice-b", "b-1", "# TYPE x counter\nx 2\n# TYPE y gauge\ny 3\n");
    merge(2, METRICS_TEXT);
    assert_has("x{job=\"sluice-a\",instance=\"a-1\"} 1\n");
    assert_null(strstr(text, "x{job=\"sluice-b\""));
    assert_has("y{job=\"sluice-b\",instance=\"b-1\"} 3\n");
    assert_has("sluice_suite_conflicts 1\n");
}

// Each of these would break the whole scrape, or forge somebody else's samples.
static void test_texts_that_are_none(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "\n",
        "x 1\n",                                                      // without a head
        "# TYPE x gauge\nx 1",                                        // cut off
        "# TYPE x gauge\ny 1\n",                                      // of another family
        "# TYPE x gauge\nx\n",                                        // no value
        "# TYPE x gauge\nx  1\n",                                     //
        "# TYPE x gauge\nx{a=\"1\" 1\n",                              // labels without an end
        "# TYPE x gauge\nx{a=\"1} 1\n",                               // a value without an end
        "# TYPE x gauge\nx{a=\"1\\\"} 1\n",                           //
        "# TYPE x gauge\nx{a=1} 1\n",                                 // no quotes
        "# TYPE x gauge\nx{=\"1\"} 1\n",                              // no name
        "# TYPE x gauge\nx{instance=\"other\"} 1\n",                  // the name of another
        "# TYPE x gauge\nx{a=\"1\",job=\"o\"} 1\n",                   //
        "# TYPE x gauge\nx 1\r\n",                                    // a control character
        "# TYPE x gauge\nx 1\n# HELP x X.\n",                         // a head behind samples
        "# TYPE x gauge\nx 1\n# TYPE y gauge\n# TYPE x gauge\nx 2\n", // twice
        "# HELP x X.\nx 1\n",                                         // no type
        "# x\n",                                                      // a comment
        "<html></html>\n",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        add(0, "sluice-a", "a-1", "# TYPE x gauge\nx 1\n");
        add(1, "sluice-b", "b-1", wrong[i]);
        add(2, "sluice-c", "c-1", "# TYPE x gauge\nx 3\n");
        merge(3, METRICS_TEXT);
        if (strstr(text, "{job=\"sluice-b\",instance=\"b-1\"} 0\n") == NULL || processes[1].up) {
            fail_msg("taken: %s", wrong[i]);
        }
        assert_has("# TYPE x gauge\nx{job=\"sluice-a\",instance=\"a-1\"} 1\n"
                   "x{job=\"sluice-c\",instance=\"c-1\"} 3\n");
    }
}

static void test_who_a_process_is(void **state)
{
    (void)state;
    add(0, "sluice-x", "host:9100",
        "# TYPE sluice_process_info gauge\n"
        "sluice_process_info{name=\"users-2\",program=\"sluice-users\"} 1\n");
    suite_text_identify(&processes[0]);
    assert_string_equal(processes[0].job, "sluice-users");
    assert_string_equal(processes[0].instance, "users-2");
    static const char *const wrong[] = {
        "",
        "# TYPE sluice_process_info gauge\n",
        "\nsluice_process_info{name=\"a\"} 1\n",
        "\nsluice_process_info{name=\"a\\\"b\",program=\"p\"} 1\n",
        "\nsluice_process_info{name=\"a{b\",program=\"p\"} 1\n",
        "\nsluice_process_info{name=\"\",program=\"p\"} 1\n",
        "\nsluice_process_info{name=\"a\",program=\"p",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        add(0, "sluice-x", "host:9100", wrong[i]);
        suite_text_identify(&processes[0]);
        assert_string_equal(processes[0].job, "sluice-x");
        assert_string_equal(processes[0].instance, "host:9100");
    }
}

// What this very process says of itself is taken, in both formats.
static void test_our_own_text(void **state)
{
    (void)state;
    for (int f = 0; f < METRICS_FORMATS; f++) {
        struct buf b;
        static char own[65536];
        buf_init(&b, sizeof own - 1);
        metrics_render(&b, (enum metrics_format)f);
        (void)snprintf(own, sizeof own, "%.*s", STR_ARG(buf_str(&b)));
        buf_fini(&b);
        add(0, "sluice-a", "a-1", own);
        merge(1, (enum metrics_format)f);
        assert_has("sluice_suite_up{job=\"sluice-a\",instance=\"a-1\"} 1\n");
        assert_has("process_cpu_seconds_total{job=\"sluice-a\",instance=\"a-1\"} ");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families_are_together),
        cmocka_unit_test(test_openmetrics),
        cmocka_unit_test(test_a_family_with_two_types),
        cmocka_unit_test(test_texts_that_are_none),
        cmocka_unit_test(test_who_a_process_is),
        cmocka_unit_test(test_our_own_text),
        cmocka_unit_test(test_those_that_are_known_by_their_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
