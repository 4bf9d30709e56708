// SPDX-License-Identifier: MIT
#include "gateway/compressor.h"

#include "gateway/limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

static void fill(struct buf *b, size_t n, bool random)
{
    uint32_t state = 1;
    buf_reset(b);
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        buf_append_char(b, random ? (char)(state >> 24) : "{\"name\":\"value\"},"[i % 17]);
    }
}

// What the body is when it is taken out of its coding again.
static void assert_unpacks(enum coding coding, struct str packed, struct str expected)
{
    char *out = malloc(expected.n + 1);
    assert_non_null(out);
    size_t n = 0;
    if (coding == CODING_ZSTD) {
        n = ZSTD_decompress(out, expected.n + 1, packed.p, packed.n);
    } else {
        z_stream z = { .next_in = (Bytef *)(uintptr_t)packed.p,
                       .avail_in = (uInt)packed.n,
                       .next_out = (Bytef *)out,
                       .avail_out = (uInt)expected.n + 1 };
        assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
        assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
        n = z.total_out;
        (void)inflateEnd(&z);
    }
    assert_true(str_eq((struct str){ out, n }, expected));
    free(out);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, 1024, 65537, 1000000, 4000, 100 };
    struct compressor *c = NULL;
    struct buf body, copy;
    buf_init(&body, RESPONSE_MAX_BODY);
    buf_init(&copy, RESPONSE_MAX_BODY);
    assert_int_equal(compressor_open(1U << CODING_GZIP | 1U << CODING_ZSTD, &c), 0);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        enum coding coding = i % 2 ? CODING_GZIP : CODING_ZSTD;
        fill(&body, sizes[i / 2], false);
        fill(&copy, sizes[i / 2], false);
        assert_true(compressor_apply(c, coding, true, &body));
        assert_unpacks(coding, buf_str(&body), buf_str(&copy));
        assert_int_equal(body.max, RESPONSE_MAX_BODY);
        assert_true(copy.len < 1000 || body.len < copy.len / 10);
    }
    buf_fini(&body);
    buf_fini(&copy);
    compressor_close(&c);
    assert_null(c);
}

static void test_not_worth_it(void **state)
{
    (void)state;
    struct compressor *c = NULL;
    struct buf body;
    buf_init(&body, RESPONSE_MAX_BODY);
    assert_int_equal(compressor_open(1U << CODING_ZSTD, &c), 0);
    fill(&body, 2000, true);
    assert_false(compressor_apply(c, CODING_ZSTD, false, &body));
    assert_int_equal(body.len, 2000);
    assert_true(compressor_apply(c, CODING_ZSTD, true, &body));
    assert_true(body.len >= 2000);
    buf_fini(&body);
    compressor_close(&c);
}

static void test_option(void **state)
{
    (void)state;
    unsigned codings;
    assert_int_equal(compressor_parse("off", &codings), 0);
    assert_int_equal(codings, 0);
    assert_int_equal(compressor_parse("zstd,gzip", &codings), 0);
    assert_int_equal(codings, 1U << CODING_GZIP | 1U << CODING_ZSTD);
    assert_int_equal(compressor_parse("gzip", &codings), 0);
    assert_int_equal(codings, 1U << CODING_GZIP);
    static const char *const wrong[] = { "",         ",",         "gzip,", "br",
                                         "identity", "zstd;gzip", "on",    "off,gzip" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (compressor_parse(wrong[i], &codings) != -EINVAL) {
            fail_msg("%s is taken", wrong[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_not_worth_it),
        cmocka_unit_test(test_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
