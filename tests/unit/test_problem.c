// SPDX-License-Identifier: MIT
#include "gateway/problem.h"

#include "proto/writer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct buf body, json;

static int setup(void **state)
{
    (void)state;
    buf_init(&body, 65536);
    buf_init(&json, 65536);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&body);
    buf_fini(&json);
    return 0;
}

static void test_own(void **state)
{
    (void)state;
    struct problem_details d = problem_of(PROBLEM_NOT_FOUND, NULL);
    problem_write(&d, "ID", &json); // a client's own, that was trusted
    assert_true(
        str_eq(buf_str(&json),
               STR("{\"type\":\"/problems/not-found\",\"title\":\"Not found\",\"status\":404,"
                   "\"detail\":\"There is nothing here that you may "
                   "see.\",\"instance\":\"urn:x-request-id:ID\"}")));
}

static void test_of_worker(void **state)
{
    (void)state;
    struct problem_details d;
    writer_map(&body, 4);
    writer_key(&body, "slug");
    writer_str(&body, STR("invalid-fields"));
    writer_key(&body, "detail");
    writer_str(&body, STR("a \"quote\"\n"));
    writer_key(&body, "more");
    writer_array(&body, 0);
    writer_key(&body, "errors");
    writer_array(&body, 1);
    writer_map(&body, 2);
    writer_key(&body, "detail");
    writer_str(&body, STR("too long"));
    writer_key(&body, "pointer");
    writer_str(&body, STR("#/name"));
    assert_int_equal(problem_read(buf_str(&body), &d), 0);
    d.title = STR("Invalid fields");
    d.status = 422;
    problem_write(&d, "01908c3e-7b2a-7c11-9d2e-0123456789ab", &json);
    assert_true(str_eq(
        buf_str(&json),
        STR("{\"type\":\"/problems/invalid-fields\",\"title\":\"Invalid fields\",\"status\":422,"
            "\"detail\":\"a "
            "\\\"quote\\\"\\n\",\"instance\":\"urn:uuid:01908c3e-7b2a-7c11-9d2e-0123456789ab\","
            "\"errors\":[{\"detail\":\"too long\",\"pointer\":\"#/name\"}]}")));
}

static int read_slug(void (*write)(void))
{
    struct problem_details d;
    buf_reset(&body);
    write();
    return problem_read(buf_str(&body), &d);
}

static void write_array(void)
{
    writer_array(&body, 0);
}

static void write_no_slug(void)
{
    writer_map(&body, 0);
}

static void write_slug_number(void)
{
    writer_map(&body, 1);
    writer_key(&body, "slug");
    writer_int(&body, 1);
}

static void write_bad_slug(void)
{
    writer_map(&body, 1);
    writer_key(&body, "slug");
    writer_str(&body, STR("../Not found"));
}

static void write_bad_errors(void)
{
    writer_map(&body, 2);
    writer_key(&body, "slug");
    writer_str(&body, STR("a"));
    writer_key(&body, "errors");
    writer_array(&body, 1);
    writer_map(&body, 1);
    writer_key(&body, "detail");
    writer_int(&body, 1);
}

static void write_many_errors(void)
{
    writer_map(&body, 2);
    writer_key(&body, "slug");
    writer_str(&body, STR("a"));
    writer_key(&body, "errors");
    writer_array(&body, PROBLEM_MAX_ERRORS + 1);
    for (int i = 0; i < PROBLEM_MAX_ERRORS + 1; i++) {
        writer_map(&body, 0);
    }
}

static void write_rest(void)
{
    writer_map(&body, 1);
    writer_key(&body, "slug");
    writer_str(&body, STR("a"));
    writer_nil(&body);
}

static void write_cut(void)
{
    writer_map(&body, 1);
    writer_key(&body, "slug");
}

static void test_other_shapes(void **state)
{
    (void)state;
    void (*const writers[])(void) = { write_array,    write_no_slug,    write_slug_number,
                                      write_bad_slug, write_bad_errors, write_many_errors,
                                      write_rest,     write_cut };
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
        assert_int_equal(read_slug(writers[i]), -EBADMSG);
    }
    struct problem_details d;
    assert_int_equal(problem_read((struct str){ NULL, 0 }, &d), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_of_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_shapes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
