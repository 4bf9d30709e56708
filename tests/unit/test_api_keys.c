// SPDX-License-Identifier: MIT
// What a gateway remembers of API keys: for how long, until which revocation, and what makes room.
#include "gateway/api_keys.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define WALL INT64_C(1795700000000)

static struct api_keys keys;
static struct revocations revocations;

static int open_both(void **state)
{
    (void)state;
    return api_keys_init(&keys) || revocations_init(&revocations);
}

static int close_both(void **state)
{
    (void)state;
    api_keys_fini(&keys);
    revocations_fini(&revocations);
    return 0;
}

static void hash_of(uint64_t set, uint8_t n, uint8_t hash[API_KEY_HASH_BYTES])
{
    memset(hash, 0, API_KEY_HASH_BYTES);
    memcpy(hash, &set, sizeof set);
    hash[31] = n;
}

static const struct api_key_owner ada = { .id = STR_INIT("key-1"),
                                          .user_id = STR_INIT("ada"),
                                          .role = STR_INIT("user"),
                                          .scope = STR_INIT("orders:read") };

enum found { GOOD, BAD, ASK, ASK_AGAIN };

static enum found look(const uint8_t *hash, int64_t after_ms)
{
    static const enum found meant[] = {
        [API_KEY_REFUSE] = BAD, [API_KEY_ASK] = ASK, [API_KEY_ASK_AGAIN] = ASK_AGAIN
    };
    enum api_key_ask ask;
    const struct api_key_grant *g =
        api_keys_find(&keys, hash, &revocations, 1000 + after_ms, WALL + after_ms, &ask);
    return g ? GOOD : meant[ask];
}

static void test_good_for_a_minute(void **state)
{
    (void)state;
    uint8_t hash[API_KEY_HASH_BYTES];
    hash_of(1, 1, hash);
    assert_int_equal(look(hash, 0), ASK);
    const struct api_key_grant *g = api_keys_put(&keys, hash, &ada, 1000, WALL);
    assert_string_equal(g->claims.sub, "ada");
    assert_string_equal(g->claims.sid, "key-1");
    assert_string_equal(g->scope, "orders:read");
    assert_int_equal(look(hash, API_KEY_GOOD_MS - 1), GOOD);
    assert_int_equal(look(hash, API_KEY_GOOD_MS), ASK_AGAIN);
    hash[31] = 2;
    assert_int_equal(look(hash, 0), ASK); // another key in the same place
}

static void test_no_longer_than_it_lasts(void **state)
{
    (void)state;
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key_owner owner = ada;
    hash_of(1, 1, hash);
    owner.expires_at = WALL + 100;
    owner.head.present = MESSAGE_BIT(api_key_owner, expires_at);
    assert_non_null(api_keys_put(&keys, hash, &owner, 1000, WALL));
    assert_int_equal(look(hash, 99), GOOD);
    assert_int_equal(look(hash, 100), ASK_AGAIN);
}

static void test_unknown_for_some_seconds(void **state)
{
    (void)state;
    uint8_t hash[API_KEY_HASH_BYTES];
    hash_of(1, 1, hash);
    assert_null(api_keys_put(&keys, hash, NULL, 1000, WALL));
    assert_int_equal(look(hash, API_KEY_UNKNOWN_MS - 1), BAD);
    assert_int_equal(look(hash, API_KEY_UNKNOWN_MS), ASK);
    assert_non_null(api_keys_put(&keys, hash, &ada, 1000, WALL)); // it is known now
    assert_int_equal(look(hash, 0), GOOD);
}

static void test_revocations_are_asked_about(void **state)
{
    (void)state;
    uint8_t hash[API_KEY_HASH_BYTES];
    hash_of(1, 1, hash);
    assert_non_null(api_keys_put(&keys, hash, &ada, 1000, WALL));
    revocations_add(&revocations, STR("ada"), STR("another"), WALL + 1);
    assert_int_equal(look(hash, 2), GOOD);
    revocations_add(&revocations, STR("bob"), STR(""), WALL + 1);
    assert_int_equal(look(hash, 2), GOOD);
    // Of the whole user, by a clock that is behind: it came after the answer all the same.
    revocations_add(&revocations, STR("ada"), STR(""), WALL - API_KEY_CLOCK_SKEW_MS + 1);
    assert_int_equal(look(hash, 2), ASK_AGAIN);
    int64_t later = WALL + 2 * API_KEY_CLOCK_SKEW_MS;
    assert_non_null(api_keys_put(&keys, hash, &ada, 1000, later)); // asked again since
    assert_int_equal(look(hash, 2), GOOD);
    revocations_add(&revocations, STR("ada"), STR("key-1"), WALL + 3);
    assert_int_equal(look(hash, 4), ASK_AGAIN);
    // Once it is known to be gone, it is refused without asking, and then is a guess like any other.
    assert_null(api_keys_put(&keys, hash, NULL, 1004, WALL + 4));
    assert_int_equal(look(hash, 5), BAD);
    assert_int_equal(look(hash, 4 + API_KEY_UNKNOWN_MS), ASK);
}

// Who guesses keys pushes out guesses, never keys that are good.
static void test_room_is_made_by_kind(void **state)
{
    (void)state;
    uint8_t good[API_KEY_HASH_BYTES], hash[API_KEY_HASH_BYTES];
    hash_of(1, 0, good);
    assert_non_null(api_keys_put(&keys, good, &ada, 1000, WALL));
    for (int n = 1; n < 200; n++) {
        hash_of(1, (uint8_t)n, hash);
        assert_null(api_keys_put(&keys, hash, NULL, 1000, WALL));
    }
    assert_int_equal(look(good, 1), GOOD);
    assert_int_equal(look(hash, 1), BAD);
    for (int n = 1; n <= 4; n++) { // four good ones in the same place: the unused one goes
        hash_of(1, (uint8_t)n, hash);
        assert_non_null(api_keys_put(&keys, hash, &ada, 1000, WALL));
    }
    assert_int_equal(look(good, 1), ASK);
    assert_int_equal(look(hash, 1), GOOD);
}

// A reply is hostile input, too.
static void test_longer_texts_than_any_are_refused(void **state)
{
    (void)state;
    char text[API_KEY_SCOPE_MAX + 2];
    uint8_t hash[API_KEY_HASH_BYTES];
    hash_of(1, 1, hash);
    memset(text, 'a', sizeof text);
    struct str scope = { text, API_KEY_SCOPE_MAX + 1 }, id = { text, JWT_TEXT_MAX + 1 };
    struct api_key_owner owners[] = { ada, ada, ada, ada };
    owners[0].scope = scope;
    owners[1].id = id;
    owners[2].user_id = id;
    owners[3].role = id;
    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++) {
        assert_null(api_keys_put(&keys, hash, &owners[i], 1000, WALL));
    }
    struct api_key_owner with_nul = ada;
    with_nul.user_id = STR("ad\0a");
    assert_null(api_keys_put(&keys, hash, &with_nul, 1000, WALL));
    assert_int_equal(look(hash, 1), ASK);
}

static void test_question(void **state)
{
    (void)state;
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key_check check;
    struct message_errors errors = { 0 };
    struct buf body;
    hash_of(UINT64_MAX, 7, hash);
    buf_init(&body, API_KEY_QUESTION_BYTES);
    api_key_question(hash, &body);
    struct reader r = reader_of(buf_str(&body));
    assert_int_equal(message_unpack(&api_key_check_message, &r, &check, &errors), 0);
    uint8_t back[API_KEY_HASH_BYTES];
    size_t n;
    assert_int_equal(base64url_decode(check.hash, back, sizeof back, &n), 0);
    assert_memory_equal(back, hash, sizeof hash);
    buf_fini(&body);
}

#define KEYS_CASE(name) cmocka_unit_test_setup_teardown(name, open_both, close_both)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEYS_CASE(test_good_for_a_minute),
        KEYS_CASE(test_no_longer_than_it_lasts),
        KEYS_CASE(test_unknown_for_some_seconds),
        KEYS_CASE(test_revocations_are_asked_about),
        KEYS_CASE(test_room_is_made_by_kind),
        KEYS_CASE(test_longer_texts_than_any_are_refused),
        KEYS_CASE(test_question),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
