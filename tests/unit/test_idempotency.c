// SPDX-License-Identifier: MIT
// A repeat with the same key and the same request gets the first answer, whatever that was, and changes nothing;
// the same key with another request is refused; two at the same time never both run.
#include "common/idempotency.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/worker.h"
#include "tests/unit/calls.h"
#include "tests/unit/loop.h"

#define LIMIT_MS 10000

#define ITEM_FIELDS(S, I, B, T, O, L)            \
    S(name, REQUIRED, 1, 10, LINE, "Its name")   \
    I(status, REQUIRED, 1, 599, "The answer")
MESSAGE_DECLARE(item, ITEM_FIELDS)
#define MESSAGE_SELF_ struct item
MESSAGE_DEFINE(item, ITEM_FIELDS)
#undef MESSAGE_SELF_

static const char *const migrations[] = { "CREATE TABLE t(name TEXT NOT NULL) STRICT;" };

// Writes a row and answers with the status of the body; 1 stands for a stage that fails.
static int create(struct call *c)
{
    const struct item *item = call_body(c);
    int rc = db_run(call_db(c), "INSERT INTO t VALUES(?)", "s", item->name);
    if (rc < 0 || item->status == 1) {
        return rc < 0 ? rc : -EPROTO;
    }
    call_reply_header(c, "location", "/items/%.*s", STR_ARG(item->name));
    if (item->status == 204) {
        return call_reply_empty(c, 204);
    }
    return call_reply(c, (int)item->status, &item_message, item);
}

static sem_t gate;

static int wait_and_pass(struct call *c)
{
    (void)c;
    while (sem_wait(&gate)) {
    }
    return 0;
}

enum { REQUIRED, OPTIONAL, IGNORED, SLOW, OTHER };

#define CREATE(key_) \
    .method = "POST", .success = 201, .request = &item_message, .body = FRAME_BODY_JSON, .key = key_, .write = create
static const struct route routes[] = {
    [REQUIRED] = { CREATE(ROUTE_KEY_REQUIRED), .pattern = "/required", .operation = "required" },
    [OPTIONAL] = { CREATE(ROUTE_KEY_OPTIONAL), .pattern = "/optional/{id}", .operation = "optional" },
    [IGNORED] = { CREATE(ROUTE_KEY_IGNORED), .pattern = "/ignored", .operation = "ignored" },
    [SLOW] = { CREATE(ROUTE_KEY_REQUIRED), .pattern = "/slow", .operation = "slow", .compute = wait_and_pass },
    [OTHER] = { CREATE(ROUTE_KEY_REQUIRED), .pattern = "/other", .operation = "other" },
};

static const struct service service = { .name = "items",
                                        .routes = routes,
                                        .n_routes = sizeof routes / sizeof *routes,
                                        .migrations = migrations,
                                        .n_migrations = 1 };

static int enter(void **state)
{
    if (loop_enter(state) || sem_init(&gate, 0, 0)) {
        return -1;
    }
    calls_open(&service, 100);
    return 0;
}

static int leave(void **state)
{
    calls_close();
    return loop_leave(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

static const char rows_sql[] = "SELECT count(*) FROM t", kept_sql[] = "SELECT count(*) FROM sluice_idempotency";

#define KEYED(route_, key_, json_) \
    { .route = route_, .json = json_, .headers = { "idempotency-key", key_ }, .user = "u1" }

// --- The header

static void test_keys_in_the_header(void **state)
{
    (void)state;
    static const struct {
        struct str header;
        const char *key; // NULL: refused
    } cases[] = {
        { STR_INIT("\"abc\""), "abc" },
        { STR_INIT("abc"), "abc" },
        { STR_INIT("\"a b\""), "a b" },
        { STR_INIT("8e03978e-40d5-43dd-bc93-6894a57f9324"), "8e03978e-40d5-43dd-bc93-6894a57f9324" },
        { STR_INIT("!~"), "!~" },
        { STR_INIT("a b"), NULL },
        { STR_INIT(""), NULL },
        { STR_INIT("\"\""), NULL },
        { STR_INIT("\""), NULL },
        { STR_INIT("\"a"), NULL },
        { STR_INIT("a\""), NULL },
        { STR_INIT("\"a\"b\""), NULL },
        { STR_INIT("\"a\\\"b\""), NULL },
        { STR_INIT("a\\b"), NULL },
        { STR_INIT("\"a\tb\""), NULL },
        { STR_INIT("\"a\0b\""), NULL },
        { STR_INIT("\xC3\xA9"), NULL },
        { STR_INIT("\"\x7F\""), NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str key = STR("old");
        assert_int_equal(idempotency_parse(cases[i].header, &key), cases[i].key ? 0 : -EINVAL);
        assert_true(str_eq(key, str_of(cases[i].key ? cases[i].key : "old")));
    }
    char text[IDEMPOTENCY_MAX_KEY + 3];
    memset(text, 'k', sizeof text);
    struct str key;
    assert_int_equal(idempotency_parse((struct str){ text, IDEMPOTENCY_MAX_KEY }, &key), 0);
    assert_int_equal(idempotency_parse((struct str){ text, IDEMPOTENCY_MAX_KEY + 1 }, &key), -EINVAL);
    text[0] = text[sizeof text - 2] = '"';
    assert_int_equal(idempotency_parse((struct str){ text, IDEMPOTENCY_MAX_KEY + 2 }, &key), 0);
    assert_int_equal(key.n, IDEMPOTENCY_MAX_KEY);
}

static void test_a_route_that_needs_a_key(void **state)
{
    (void)state;
    const struct answer *a = asked((struct ask){ .route = REQUIRED, .json = "{\"name\":\"a\",\"status\":201}" });
    assert_int_equal(a->status, 400);
    assert_string_equal(a->body, "{\"slug\":\"idempotency-key-required\"}");
    a = asked((struct ask)KEYED(REQUIRED, "two words", "{\"name\":\"a\",\"status\":201}"));
    assert_int_equal(a->status, 400);
    assert_body_has(a, "1 to 255 printable ASCII characters");
    assert_int_equal(stored_number(rows_sql), 0);
}

// --- Replay

static void test_a_repeat_gets_the_first_answer(void **state)
{
    (void)state;
    static const char json[] = "{\"name\":\"a\",\"status\":201}";
    const struct answer *first = asked((struct ask)KEYED(REQUIRED, "\"k1\"", json));
    assert_int_equal(first->status, 201);
    assert_no_header(first, "idempotency-replayed");
    for (int i = 0; i < 3; i++) { // quoted or bare is the same key
        const struct answer *again = asked((struct ask)KEYED(REQUIRED, i % 2 ? "\"k1\"" : "k1", json));
        assert_int_equal(again->status, 201);
        assert_string_equal(again->body, first->body);
        assert_header(again, "location", "/items/a");
        assert_header(again, "idempotency-replayed", "true");
    }
    assert_int_equal(stored_number(rows_sql), 1);
    assert_int_equal(asked((struct ask)KEYED(REQUIRED, "k2", json))->status, 201);
    assert_int_equal(stored_number(rows_sql), 2);
}

static void test_a_repeat_after_a_restart(void **state)
{
    (void)state;
    static const char json[] = "{\"name\":\"a\",\"status\":204}";
    assert_int_equal(asked((struct ask)KEYED(REQUIRED, "k", json))->status, 204);
    calls_close();
    calls_open(&service, 100);
    const struct answer *again = asked((struct ask)KEYED(REQUIRED, "k", json));
    assert_int_equal(again->status, 204);
    assert_string_equal(again->body, "");
    assert_header(again, "idempotency-replayed", "true");
    assert_int_equal(stored_number(rows_sql), 1);
}

static void test_another_request_with_the_same_key(void **state)
{
    (void)state;
    assert_int_equal(asked((struct ask)KEYED(REQUIRED, "k", "{\"name\":\"a\",\"status\":201}"))->status, 201);
    const struct answer *a = asked((struct ask)KEYED(REQUIRED, "k", "{\"name\":\"b\",\"status\":201}"));
    assert_int_equal(a->status, 422);
    assert_string_equal(a->body, "{\"slug\":\"idempotency-key-reused\"}");
    a = asked((struct ask)KEYED(OTHER, "k", "{\"name\":\"a\",\"status\":201}")); // another operation
    assert_int_equal(a->status, 422);
    assert_int_equal(stored_number(rows_sql), 1);
    struct ask one = KEYED(OPTIONAL, "p", "{\"name\":\"a\",\"status\":201}"), two = one;
    one.params[0] = "1";
    two.params[0] = "2"; // another path
    assert_int_equal(asked(one)->status, 201);
    assert_int_equal(asked(two)->status, 422);
    assert_int_equal(asked(one)->status, 201);
}

static void test_keys_belong_to_a_caller(void **state)
{
    (void)state;
    struct ask a = KEYED(REQUIRED, "k", "{\"name\":\"a\",\"status\":201}");
    assert_int_equal(asked(a)->status, 201);
    a.user = "u2";
    assert_no_header(asked(a), "idempotency-replayed");
    a.user = NULL;
    assert_no_header(asked(a), "idempotency-replayed");
    assert_int_equal(stored_number(rows_sql), 3);
}

static void test_error_answers_are_undone_and_kept(void **state)
{
    (void)state;
    static const char json[] = "{\"name\":\"a\",\"status\":409}";
    const struct answer *first = asked((struct ask)KEYED(REQUIRED, "k", json));
    assert_int_equal(first->status, 409);
    assert_int_equal(stored_number(rows_sql), 0);
    assert_int_equal(stored_number(kept_sql), 1);
    const struct answer *again = asked((struct ask)KEYED(REQUIRED, "k", json));
    assert_int_equal(again->status, 409);
    assert_string_equal(again->body, first->body);
    assert_header(again, "idempotency-replayed", "true");
    assert_int_equal(stored_number(rows_sql), 0);
}

// What failed on our side is tried again, not repeated for ever.
static void test_failures_are_not_kept(void **state)
{
    (void)state;
    static const char *const bodies[] = { "{\"name\":\"a\",\"status\":1}", "{\"name\":\"a\",\"status\":500}",
                                          "{\"name\":\"a\",\"status\":503}" };
    for (size_t i = 0; i < 3; i++) {
        for (int k = 0; k < 2; k++) {
            const struct answer *a = asked((struct ask)KEYED(REQUIRED, "k", bodies[i]));
            assert_true(a->status >= 500);
            assert_no_header(a, "idempotency-replayed");
        }
    }
    assert_int_equal(stored_number(kept_sql), 0);
    assert_int_equal(stored_number(rows_sql), 0);
    assert_int_equal(asked((struct ask)KEYED(REQUIRED, "k", "{\"name\":\"a\",\"status\":201}"))->status, 201);
}

static void test_invalid_requests_are_not_kept(void **state)
{
    (void)state;
    assert_int_equal(asked((struct ask)KEYED(REQUIRED, "k", "{\"name\":\"\",\"status\":201}"))->status, 422);
    assert_int_equal(stored_number(kept_sql), 0);
    assert_int_equal(asked((struct ask)KEYED(REQUIRED, "k", "{\"name\":\"a\",\"status\":201}"))->status, 201);
}

static void test_routes_without_a_need(void **state)
{
    (void)state;
    static const char json[] = "{\"name\":\"a\",\"status\":201}";
    struct ask a = KEYED(OPTIONAL, NULL, json);
    a.params[0] = "1";
    a.headers[0] = NULL;
    assert_int_equal(asked(a)->status, 201);
    assert_int_equal(asked(a)->status, 201);
    assert_int_equal(stored_number(rows_sql), 2);
    assert_int_equal(stored_number(kept_sql), 0);
    for (int i = 0; i < 2; i++) {
        assert_no_header(asked((struct ask)KEYED(IGNORED, "k", json)), "idempotency-replayed");
    }
    assert_int_equal(stored_number(rows_sql), 4);
    assert_int_equal(stored_number(kept_sql), 0);
}

// --- At the same time

static void test_a_repeat_while_the_first_runs(void **state)
{
    (void)state;
    static const char json[] = "{\"name\":\"a\",\"status\":201}";
    uint64_t first = ask((struct ask)KEYED(SLOW, "k", json));
    const struct answer *a = asked((struct ask)KEYED(SLOW, "\"k\"", json));
    assert_int_equal(a->status, 409);
    assert_string_equal(a->body, "{\"slug\":\"idempotency-in-progress\"}");
    assert_header(a, "retry-after", "1");
    struct ask other = KEYED(SLOW, "k", json);
    other.user = "u2"; // somebody else's key
    uint64_t others = ask(other);
    assert_int_equal(sem_post(&gate), 0);
    assert_int_equal(sem_post(&gate), 0);
    assert_int_equal(answer_to(first)->status, 201);
    assert_int_equal(answer_to(others)->status, 201);
    assert_int_equal(sem_post(&gate), 0);
    a = asked((struct ask)KEYED(SLOW, "k", json));
    assert_int_equal(a->status, 201);
    assert_header(a, "idempotency-replayed", "true");
    assert_int_equal(stored_number(rows_sql), 2);
}

static void test_many_repeats_in_one_turn(void **state)
{
    (void)state;
    enum { REPEATS = 50 };
    uint64_t ids[REPEATS];
    int created = 0, in_progress = 0;
    for (int i = 0; i < REPEATS; i++) {
        ids[i] = ask((struct ask)KEYED(REQUIRED, "k", "{\"name\":\"a\",\"status\":201}"));
    }
    for (int i = 0; i < REPEATS; i++) {
        created += answer_to(ids[i])->status == 201;
        in_progress += answer_to(ids[i])->status == 409;
    }
    assert_int_equal(created + in_progress, REPEATS);
    assert_true(created >= 1);
    assert_int_equal(stored_number(rows_sql), 1);
}

// --- Expiry

static int expire(struct db *db, void *job)
{
    return idempotency_expire(db, *(const int64_t *)job);
}

static int expired;

static void on_expired(int status, int64_t store_us, void *job)
{
    (void)store_us, (void)job;
    assert_int_equal(status, 0);
    expired++;
}

static void expire_at(int64_t now_ms)
{
    expired = 0;
    assert_int_equal(store_submit(store, expire, on_expired, &now_ms), 0);
    LOOP_UNTIL(expired, LIMIT_MS);
}

static void test_kept_answers_expire(void **state)
{
    (void)state;
    struct ask a = KEYED(REQUIRED, "k", "{\"name\":\"a\",\"status\":201}");
    assert_int_equal(asked(a)->status, 201);
    expire_at(clock_wall_ms() + WORKER_IDEMPOTENCY_MS - 60000);
    assert_header(asked(a), "idempotency-replayed", "true");
    expire_at(clock_wall_ms() + WORKER_IDEMPOTENCY_MS + 60000);
    assert_int_equal(stored_number(kept_sql), 0);
    assert_no_header(asked(a), "idempotency-replayed");
    assert_int_equal(stored_number(rows_sql), 2);
}

static int fill(struct db *db, void *job)
{
    (void)job;
    return db_script(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
                         " INSERT INTO sluice_idempotency SELECT 's', 'k' || i, x'00', i, x'00' FROM n");
}

static void test_expiry_is_bounded(void **state)
{
    (void)state;
    expired = 0;
    assert_int_equal(store_submit(store, fill, on_expired, NULL), 0);
    LOOP_UNTIL(expired, LIMIT_MS);
    expire_at(clock_wall_ms());
    assert_int_equal(stored_number(kept_sql), 1500); // one transaction takes a thousand, the oldest first
    assert_int_equal(stored_number("SELECT min(time_ms) FROM sluice_idempotency"), 1001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_keys_in_the_header),
        CASE(test_a_route_that_needs_a_key),
        CASE(test_a_repeat_gets_the_first_answer),
        CASE(test_a_repeat_after_a_restart),
        CASE(test_another_request_with_the_same_key),
        CASE(test_keys_belong_to_a_caller),
        CASE(test_error_answers_are_undone_and_kept),
        CASE(test_failures_are_not_kept),
        CASE(test_invalid_requests_are_not_kept),
        CASE(test_routes_without_a_need),
        CASE(test_a_repeat_while_the_first_runs),
        CASE(test_many_repeats_in_one_turn),
        CASE(test_kept_answers_expire),
        CASE(test_expiry_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
