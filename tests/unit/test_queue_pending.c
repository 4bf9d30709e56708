// SPDX-License-Identifier: MIT
// The table of pending events against a plain list of what should be in it: added in order and by hand, moved, removed,
// with keys that collide, grown and emptied. A failure prints the seed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/pending.h"

#include <inttypes.h>
#include <stdlib.h>

#define MAX_SEQ 3000
#define STEPS 20000
#define SEEDS 20

struct expected {
    bool there;
    uint64_t key;
    uint64_t order; // in which it was added
};

static struct expected model[MAX_SEQ + 1];
static uint64_t chance, seed_now, n_added;

static uint64_t below(uint64_t n)
{
    chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (chance >> 33) % n;
}

// The event of its key that was added first of those that are there.
static bool is_first_of_key(uint64_t seq)
{
    for (uint64_t s = 1; s <= MAX_SEQ && model[seq].key; s++) {
        if (model[s].there && model[s].key == model[seq].key && model[s].order < model[seq].order) {
            return false;
        }
    }
    return true;
}

static void check(const struct pending_table *t)
{
    size_t n = 0, in_lists = 0, at = t->at;
    const struct pending *e;
    for (uint64_t seq = 1; seq <= MAX_SEQ; seq++) {
        if (!model[seq].there) {
            assert_null(pending_find(t, seq));
            continue;
        }
        n++;
        e = pending_next(t, &at);
        assert_non_null(e);
        assert_int_equal(e->seq, seq); // in order
        assert_ptr_equal(pending_find(t, seq), e);
        assert_true((e->state == PENDING_BLOCKED) == !is_first_of_key(seq));
    }
    assert_null(pending_next(t, &at));
    assert_int_equal(t->n, n);
    for (int state = 0; state < PENDING_STATES; state++) {
        size_t walked = 0;
        for (e = pending_first(t, (enum pending_state)state); e; e = pending_after(t, e)) {
            assert_int_equal(e->state, state);
            walked++;
        }
        assert_int_equal(walked, pending_count(t, (enum pending_state)state));
        in_lists += walked;
    }
    assert_int_equal(in_lists, n);
}

static void add(struct pending_table *t, uint64_t seq)
{
    if (model[seq].there) {
        return;
    }
    uint64_t key = below(3) ? (below(12) + 1) * 128 : 0; // keys that fall on few slots
    struct pending *e = pending_add(t, seq, key);
    assert_non_null(e);
    model[seq] = (struct expected){ true, key, ++n_added };
}

static void move_or_remove(struct pending_table *t, uint64_t seq)
{
    struct pending *e = pending_find(t, seq);
    if (!e) {
        return;
    }
    if (e->state == PENDING_BLOCKED || below(2)) {
        if (e->state == PENDING_BLOCKED && below(4)) {
            return;
        }
        pending_set_error(e, STR("broken"));
        pending_remove(t, e);
        model[seq].there = false;
    } else {
        static const enum pending_state states[] = { PENDING_READY, PENDING_DELIVERED,
                                                     PENDING_DELAYED, PENDING_DYING };
        pending_move(t, e, states[below(4)], below(2));
    }
}

static void run(uint64_t seed)
{
    struct pending_table t;
    uint64_t next = 1;
    seed_now = chance = seed;
    memset(model, 0, sizeof model);
    pending_init(&t);
    for (int i = 0; i < STEPS; i++) {
        uint64_t what = below(100);
        if (what < 40 && next <= MAX_SEQ) {
            add(&t, next++);
        } else if (what < 45 && next > 1) {
            add(&t, 1 + below(next - 1)); // by hand
        } else if (next > 1) {
            uint64_t window = below(2) ? 40 : next - 1;
            uint64_t low = next - 1 > window ? next - 1 - window : 0;
            move_or_remove(&t, 1 + low + below(next - 1 - low));
        }
        if (i % 1000 == 0) {
            check(&t);
        }
    }
    check(&t);
    pending_clear(&t);
    memset(model, 0, sizeof model);
    check(&t);
    add(&t, 7);
    check(&t);
    pending_fini(&t);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        print_message("# seed %" PRIu64 "\n", seed); // a comment of TAP
        run(seed);
    }
}

static void test_the_limit(void **state)
{
    struct pending_table t;
    (void)state;
    pending_init(&t);
    for (uint64_t seq = 1; seq <= PENDING_MAX; seq++) {
        assert_non_null(pending_add(&t, seq, seq % 3 ? seq : 0));
    }
    assert_null(pending_add(&t, PENDING_MAX + 1, 0));
    pending_remove(&t, pending_find(&t, 5));
    assert_non_null(pending_add(&t, PENDING_MAX + 1, 0));
    assert_int_equal(pending_lowest(&t, 0), 1);
    pending_fini(&t);
}

static void test_floor(void **state)
{
    struct pending_table t;
    (void)state;
    pending_init(&t);
    assert_int_equal(pending_lowest_unknown(&t, 99), 99);
    for (uint64_t seq = 10; seq < 20; seq++) {
        pending_add(&t, seq, 0)->known = seq < 15;
    }
    assert_int_equal(pending_lowest_unknown(&t, 99), 15);
    assert_int_equal(pending_lowest(&t, 99), 10);
    pending_fini(&t);
}

// The hash is part of the log's format (FORMAT.md 4.1).
static void test_keys(void **state)
{
    (void)state;
    assert_int_equal(pending_key_of(STR("")), 0);
    assert_true(pending_key_of(STR("a")) != pending_key_of(STR("b")));
    assert_true(pending_key_of(STR("12345678")) != pending_key_of(STR("123456789")));
    const uint64_t f = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t h = ((f * 1) ^ 'a') * f;
    assert_int_equal(pending_key_of(STR("a")), h ^ (h >> 32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_the_limit),
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
