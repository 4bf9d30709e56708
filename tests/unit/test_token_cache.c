// SPDX-License-Identifier: MIT
#include "gateway/token_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct token_cache cache;

static int setup(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    assert_int_equal(token_cache_init(&cache, 10), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    token_cache_fini(&cache);
    return 0;
}

// A token whose number is in sub.
static void put(unsigned number)
{
    uint8_t hash[TOKEN_HASH_BYTES];
    struct jwt_claims claims = { .exp_s = number };
    char token[32];
    (void)snprintf(token, sizeof token, "token-%u", number);
    token_cache_hash(&cache, str_of(token), hash);
    (void)token_cache_put(&cache, hash, &claims);
}

static bool has(unsigned number)
{
    uint8_t hash[TOKEN_HASH_BYTES];
    char token[32];
    (void)snprintf(token, sizeof token, "token-%u", number);
    token_cache_hash(&cache, str_of(token), hash);
    struct token_entry *e = token_cache_find(&cache, hash);
    if (e) {
        assert_int_equal(e->claims.exp_s, number);
        assert_int_equal(e->revocations_seen, 0);
    }
    return e != NULL;
}

static void test_find(void **state)
{
    (void)state;
    assert_false(has(1));
    put(1);
    assert_true(has(1));
    assert_false(has(2));
    token_cache_clear(&cache);
    assert_false(has(1));
}

// However many tokens come, the memory stays; those in use stay, too.
static void test_eviction(void **state)
{
    (void)state;
    assert_int_equal(cache.n_sets, 3); // rounded up
    put(0);
    for (unsigned i = 1; i < 1000; i++) {
        put(i);
        assert_true(has(i));
        assert_true(has(0));
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < 1000; i++) {
        kept += has(i);
    }
    assert_int_equal(kept, 3 * TOKEN_CACHE_WAYS);
}

// Nobody can know which tokens share a place: the hash has a key of its own in each process.
static void test_keyed(void **state)
{
    (void)state;
    struct token_cache other;
    uint8_t a[TOKEN_HASH_BYTES], b[TOKEN_HASH_BYTES];
    assert_int_equal(token_cache_init(&other, 4), 0);
    token_cache_hash(&cache, STR("x"), a);
    token_cache_hash(&other, STR("x"), b);
    assert_memory_not_equal(a, b, sizeof a);
    token_cache_fini(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eviction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keyed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
