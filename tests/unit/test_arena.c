// SPDX-License-Identifier: MIT
// Pieces must not overlap, must be cleared and aligned whatever was there before, and the ceiling
// must hold.
#include "common/arena.h"

#include "common/sanitized.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define MAX_BYTES 1000000

#define EACH_PIECE_APART SANITIZED

static int open_arena(void **state)
{
    static struct arena a;
    arena_init(&a, MAX_BYTES);
    *state = &a;
    return 0;
}

static int close_arena(void **state)
{
    arena_fini(*state);
    return 0;
}

static void test_pieces_do_not_overlap(void **state)
{
    struct arena *a = *state;
    enum { N = 400 };
    unsigned char *pieces[N];
    for (size_t i = 0; i < N; i++) {
        size_t n = i * 13 % 4500; // small ones, and some with a block of their own
        pieces[i] = arena_alloc(a, n);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        memset(pieces[i], (int)(i % 251), n);
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < i * 13 % 4500; k++) {
            assert_int_equal(pieces[i][k], i % 251);
        }
    }
}

static void test_pieces_are_cleared_after_reset(void **state)
{
    struct arena *a = *state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++) {
            unsigned char *piece = arena_alloc(a, 200);
            assert_non_null(piece);
            for (int k = 0; k < 200; k++) {
                assert_int_equal(piece[k], 0);
            }
            memset(piece, 0xff, 200);
        }
        arena_reset(a);
        assert_int_equal(a->used_bytes, 0);
    }
}

static void test_wiping_overwrites_and_keeps(void **state)
{
    struct arena *a = *state;
    static const char none[5000];
    char *small = arena_alloc(a, 100), *large = arena_alloc(a, sizeof none);
    memset(small, 'x', 100);
    memset(large, 'x', sizeof none);
    size_t used = a->used_bytes;
    arena_wipe(a);
    assert_memory_equal(small, none, 100);
    assert_memory_equal(large, none, sizeof none);
    assert_int_equal(a->used_bytes, used);
}

static void test_the_ceiling_is_exact(void **state)
{
    struct arena *a = *state;
    assert_non_null(arena_alloc(a, MAX_BYTES - 10));
    assert_null(arena_alloc(a, 11));
    assert_non_null(arena_alloc(a, 10));
    assert_null(arena_alloc(a, 1));
    assert_null(arena_alloc(a, 0));
    arena_reset(a);
    assert_non_null(arena_alloc(a, MAX_BYTES));
    arena_reset(a);
    assert_null(arena_alloc(a, MAX_BYTES + 1));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_non_null(arena_alloc(a, 1));
}

static void test_empty_pieces_are_bounded_too(void **state)
{
    struct arena *a = *state;
    arena_init(a, 1000);
    int n = 0;
    while (arena_alloc(a, 0)) {
        n++;
        assert_true(n <= 1000);
    }
    assert_int_equal(n, 1000);
}

static void test_a_huge_size_without_ceiling_fails(void **state)
{
    struct arena *a = *state;
    arena_init(a, SIZE_MAX);
    assert_null(arena_alloc(a, SIZE_MAX - 8));
    assert_null(arena_str(a, (struct str){ "x", SIZE_MAX }).p);
    assert_non_null(arena_alloc(a, 8));
}

// Not under AddressSanitizer, where every piece has its own block.
static void test_a_steady_stream_keeps_one_block(void **state)
{
    struct arena *a = *state;
    (void)arena_alloc(a, 100);
    if (EACH_PIECE_APART) {
        return;
    }
    struct arena_block *kept = a->blocks;
    (void)arena_alloc(a, 100000);      // not worth keeping
    assert_ptr_equal(a->blocks, kept); // and the first goes on being filled
    arena_reset(a);
    assert_ptr_equal(a->blocks, kept);
    (void)arena_alloc(a, 100);
    assert_ptr_equal(a->blocks, kept);
    arena_fini(a);
    (void)arena_alloc(a, 100000);
    arena_reset(a);
    assert_null(a->blocks);
}

static void test_strings(void **state)
{
    struct arena *a = *state;
    struct str s = arena_str(a, (struct str){ "a\0b and more", 3 });
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.p, "a\0b", 4); // the NUL after it as well
    s = arena_str(a, (struct str){ NULL, 0 });
    assert_non_null(s.p);
    assert_int_equal(s.n, 0);
    assert_int_equal(s.p[0], 0);
}

static void test_printf(void **state)
{
    struct arena *a = *state;
    struct str s = arena_printf(a, "%s-%d", "abc", 42);
    assert_int_equal(s.n, 6);
    assert_string_equal(s.p, "abc-42");
    s = arena_printf(a, "%*d", 20000, 7); // longer than a block
    assert_int_equal(s.n, 20000);
    assert_int_equal(s.p[19999], '7');
    assert_int_equal(s.p[20000], 0);
    assert_null(arena_printf(a, "%*d", MAX_BYTES, 7).p);
    s = arena_printf(a, "%s", "");
    assert_non_null(s.p);
    assert_int_equal(s.n, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_pieces_do_not_overlap),
        CASE(test_pieces_are_cleared_after_reset),
        CASE(test_wiping_overwrites_and_keeps),
        CASE(test_the_ceiling_is_exact),
        CASE(test_empty_pieces_are_bounded_too),
        CASE(test_a_huge_size_without_ceiling_fails),
        CASE(test_a_steady_stream_keeps_one_block),
        CASE(test_strings),
        CASE(test_printf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
