// SPDX-License-Identifier: MIT
// Blocks in memory: each sequence is found in the block that has it, memory stays within its limits, and a cursor
// gives every event from where it is asked to begin.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/cache.h"
#include "services/queue/stats.h"

#include <stdlib.h>

static struct cache *cache;

static int open_cache(void **state)
{
    (void)state;
    cache = calloc(1, sizeof *cache);
    return cache ? 0 : -1;
}

static int close_cache(void **state)
{
    (void)state;
    cache_fini(cache);
    assert_int_equal(cache->tail_bytes, 0);
    assert_int_equal(cache->cold_bytes, 0);
    free(cache);
    return 0;
}

// A block of one frame whose events have these sequences and bytes each.
static struct block *make_block(uint64_t first_seq, uint32_t count, size_t event_bytes)
{
    struct buf frame;
    char *event = calloc(1, event_bytes + 1);
    assert_non_null(event);
    buf_init(&frame, 64 * 1024 * 1024);
    frame_begin(&frame);
    for (uint32_t i = 0; i < count; i++) {
        record_event(&frame, (struct str){ event, event_bytes });
    }
    const struct record_producer p = { 1, 2, STR("p") };
    record_producer(&frame, &p); // no event: the cursor steps over it
    frame_end(&frame, FRAME_EVENTS, first_seq, count, (int64_t)first_seq * 10);
    assert_true(buf_ok(&frame));
    struct block *b = block_of_frame(&frame, 1);
    assert_non_null(b);
    buf_fini(&frame);
    free(event);
    return b;
}

static void test_every_sequence_is_found(void **state)
{
    (void)state;
    assert_null(cache_find(cache, 1));
    for (uint64_t i = 0; i < 100; i++) {
        cache_push(cache, make_block(1 + i * 3, 3, 10));
    }
    assert_null(cache_find(cache, 0));
    assert_null(cache_find(cache, 301));
    for (uint64_t seq = 1; seq <= 300; seq++) {
        const struct block *b = cache_find(cache, seq);
        assert_non_null(b);
        assert_true(b->first_seq <= seq && seq < b->next_seq);
    }
}

static void test_the_tail_is_bounded_in_bytes(void **state)
{
    (void)state;
    uint64_t seq = 1;
    for (; seq <= 100; seq++) {
        cache_push(cache, make_block(seq, 1, 1024 * 1024));
        assert_true(cache->tail_bytes <= CACHE_TAIL_BYTES);
    }
    assert_non_null(cache_find(cache, 100));
    assert_null(cache_find(cache, 1));
    cache_push(cache,
               make_block(101, 3, CACHE_TAIL_BYTES / 3 + 1)); // one that is larger than all: alone
    assert_int_equal(cache->tail_n, 1);
    assert_non_null(cache_find(cache, 101));
}

// A block's memory is more than its bytes: a buffer grows by doubling.
static void test_what_is_bounded_is_memory(void **state)
{
    (void)state;
    size_t bytes = 0;
    for (uint64_t seq = 1; seq <= 100; seq++) {
        struct block *b = make_block(seq, 1, 1024);
        bytes += b->bytes;
        assert_true(b->memory >= b->bytes + sizeof *b);
        cache_push(cache, b);
    }
    assert_true(cache->tail_bytes > bytes + bytes / 2); // 2 KiB for each, of which half is used
}

static void test_the_tail_is_bounded_in_number(void **state)
{
    (void)state;
    for (uint64_t seq = 1; seq <= CACHE_TAIL_BLOCKS + 100; seq++) {
        cache_push(cache, make_block(seq, 1, 1));
    }
    assert_int_equal(cache->tail_n, CACHE_TAIL_BLOCKS);
    assert_null(cache_find(cache, 100));
    assert_non_null(cache_find(cache, 101));
    assert_non_null(cache_find(cache, CACHE_TAIL_BLOCKS + 100));
}

static void test_a_gap_empties_the_tail(void **state)
{
    (void)state;
    cache_push(cache, make_block(1, 3, 1));
    cache_push(cache, make_block(10, 3, 1));
    assert_null(cache_find(cache, 2));
    assert_null(cache_find(cache, 5));
    assert_non_null(cache_find(cache, 11));
}

static void test_cold_blocks(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < CACHE_COLD_BLOCKS; i++) {
        cache_add(cache, make_block(1 + i * 10, 10, 1));
    }
    assert_non_null(cache_find(cache, 5)); // used: the last to go now
    cache_add(cache, make_block(100000, 10, 1));
    assert_int_equal(cache->cold_n, CACHE_COLD_BLOCKS);
    assert_non_null(cache_find(cache, 5));
    assert_null(cache_find(cache, 15));          // the one unused for longest
    cache_add(cache, make_block(100000, 20, 1)); // the same block, grown
    assert_int_equal(cache->cold_n, CACHE_COLD_BLOCKS);
    assert_non_null(cache_find(cache, 100015));
    for (uint64_t i = 0; i < 40; i++) {
        cache_add(cache, make_block(200000 + i, 1, 1024 * 1024));
        assert_true(cache->cold_bytes <= CACHE_COLD_BYTES);
    }
}

// Each block that was read from a file was missed once, by the one for whom it was read.
static void test_hits_and_misses_are_counted(void **state)
{
    (void)state;
    int64_t hits = metric_get(&stats.cache_hits), misses = metric_get(&stats.cache_misses);
    assert_null(cache_find(cache, 5)); // and again, while it is being read
    assert_null(cache_find(cache, 5));
    cache_add(cache, make_block(1, 10, 1));
    assert_int_equal(metric_get(&stats.cache_misses), misses + 1);
    assert_non_null(cache_find(cache, 5));
    assert_int_equal(metric_get(&stats.cache_hits), hits);
    assert_non_null(cache_find(cache, 5));
    cache_push(cache, make_block(11, 10, 1));
    assert_non_null(cache_find(cache, 11));
    assert_int_equal(metric_get(&stats.cache_hits), hits + 2);
    assert_int_equal(metric_get(&stats.cache_misses), misses + 1);
}

// Several frames in one block, as they are read from a file; the sequences 7 to 9 are lost.
static void test_a_cursor_from_everywhere(void **state)
{
    (void)state;
    static const struct {
        uint64_t first;
        uint32_t count;
    } frames[] = { { 1, 3 }, { 4, 0 }, { 4, 3 }, { 10, 1 }, { 11, 5 } };
    struct block whole = { .first_seq = 1, .next_seq = 16, .topics = 1 };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        struct block *b = make_block(frames[i].first, frames[i].count, 5 + i);
        whole.data = realloc(whole.data, whole.bytes + b->bytes);
        assert_non_null(whole.data);
        memcpy(whole.data + whole.bytes, b->data, b->bytes);
        whole.bytes += b->bytes;
        block_destroy(&b);
    }
    for (uint64_t from = 0; from <= 17; from++) {
        struct block_cursor c = block_cursor_at(&whole, from);
        struct queue_event_entry e;
        for (uint64_t seq = from < 1 ? 1 : from; seq < 16; seq++) {
            if (seq >= 7 && seq <= 9) {
                continue;
            }
            assert_true(block_cursor_next(&c, &e));
            assert_int_equal(e.seq, seq);
            assert_true(e.stored_ms > 0 && e.event.n >= 5);
        }
        assert_false(block_cursor_next(&c, &e));
        assert_false(block_cursor_next(&c, &e));
    }
    free(whole.data);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_cache, close_cache)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_every_sequence_is_found),   CASE(test_the_tail_is_bounded_in_bytes),
        CASE(test_what_is_bounded_is_memory), CASE(test_the_tail_is_bounded_in_number),
        CASE(test_a_gap_empties_the_tail),    CASE(test_cold_blocks),
        CASE(test_hits_and_misses_are_counted),
        CASE(test_a_cursor_from_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
