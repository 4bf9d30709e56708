// SPDX-License-Identifier: MIT
// The users store on a real file: what is unique stays unique, and what belongs to an account goes
// with it.
#include "services/users/users_store.h"

#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct db *db;

static int open_store(void **state)
{
    if (temp_dir_enter(state) != 0 || db_open("users.db", DB_WRITER, &db) < 0) {
        return -1;
    }
    for (size_t i = 0; i < users_n_migrations; i++) {
        if (db_script(db, users_migrations[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int close_store(void **state)
{
    db_close(&db);
    return temp_dir_leave(state);
}

static struct account sample(const char *email, const char *role)
{
    struct account a = {
        .name = "Ada", .password = "$argon2id$x", .version = 1, .created_ms = 5, .updated_ms = 6
    };
    (void)snprintf(a.email, sizeof a.email, "%s", email);
    (void)snprintf(a.role, sizeof a.role, "%s", role);
    uuid_v7(1000, a.id);
    return a;
}

static struct account insert(const char *email, const char *role)
{
    struct account a = sample(email, role);
    assert_int_equal(account_insert(db, &a), 0);
    return a;
}

static struct session_record begin_session(const char *user_id, uint8_t n, int64_t expires_ms)
{
    struct session_record s = { .created_ms = 1, .expires_ms = expires_ms };
    uuid_v7(1000, s.id);
    memcpy(s.user_id, user_id, sizeof s.user_id);
    memset(s.family, n, sizeof s.family);
    memset(s.secret, 0x80 + n, sizeof s.secret);
    assert_int_equal(session_insert(db, &s), 0);
    return s;
}

static int count_sessions(void)
{
    struct db_rows rows;
    assert_int_equal(db_row(db, &rows, "SELECT count(*) FROM sessions", ""), 1);
    int n = (int)db_int(&rows, 0);
    db_rows_close(&rows);
    return n;
}

static void assert_same_account(const struct account *a, const struct account *b)
{
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->email, b->email);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->role, b->role);
    assert_string_equal(a->password, b->password);
    assert_true(a->version == b->version && a->created_ms == b->created_ms &&
                a->updated_ms == b->updated_ms);
}

static void test_accounts_are_found(void **state)
{
    (void)state;
    struct account a = insert("Ada@Example.org", "user"), found;
    (void)insert("other@example.org", "user");
    assert_int_equal(account_by_id(db, str_of(a.id), &found), 1);
    assert_same_account(&a, &found);
    assert_int_equal(account_by_email(db, STR("aDA@eXAMPLE.ORG"), &found), 1);
    assert_same_account(&a, &found); // as it was given
    assert_int_equal(account_by_id(db, STR("nobody"), &found), 0);
    assert_int_equal(account_by_id(db, (struct str){ NULL, 0 }, &found), 0);
    assert_int_equal(account_by_email(db, STR("ada"), &found), 0);
    assert_int_equal(account_by_email(db, STR("ada@example.org' OR 1=1 --"), &found), 0);
}

static void test_longest_texts_fit(void **state)
{
    (void)state;
    struct account a = sample("", "user"), found;
    for (size_t i = 0; i < 254; i++) {
        memcpy(a.email + 4 * i, "\xf0\x9f\x98\x80", 4);
    }
    for (size_t i = 0; i < 100; i++) {
        memcpy(a.name + 4 * i, "\xf0\x9f\x98\x80", 4);
    }
    memset(a.password, 'h', sizeof a.password - 1);
    a.name[400] = '\0';
    assert_int_equal(account_insert(db, &a), 0);
    assert_int_equal(account_by_id(db, str_of(a.id), &found), 1);
    assert_same_account(&a, &found);
}

static void test_email_addresses_are_unique(void **state)
{
    (void)state;
    struct account a = insert("ada@example.org", "user"), b = insert("bob@example.org", "user");
    struct account twin = sample("ADA@example.ORG", "user");
    assert_int_equal(account_insert(db, &twin), -EEXIST);
    (void)snprintf(b.email, sizeof b.email, "Ada@Example.org");
    assert_int_equal(account_update(db, &b), -EEXIST);
    (void)snprintf(a.email, sizeof a.email, "ADA@EXAMPLE.ORG"); // its own, in another case
    assert_int_equal(account_update(db, &a), 0);
    assert_int_equal(account_delete(db, str_of(a.id)), 1);
    assert_int_equal(account_insert(db, &twin), 0); // free again
}

static void test_impossible_accounts_are_refused(void **state)
{
    (void)state;
    struct account a = sample("a@example.org", "root");
    assert_int_equal(account_insert(db, &a), -EINVAL);
    a = sample("a@example.org", "user");
    a.password[0] = '\0';
    assert_int_equal(account_insert(db, &a), -EINVAL);
    a = sample("a@example.org", "user");
    a.id[35] = '\0';
    assert_int_equal(account_insert(db, &a), -EINVAL);
}

static void test_updates_are_stored(void **state)
{
    (void)state;
    struct account a = insert("ada@example.org", "user"), found;
    a.version = 7;
    a.updated_ms = 70;
    (void)snprintf(a.name, sizeof a.name, "Countess");
    (void)snprintf(a.role, sizeof a.role, "admin");
    assert_int_equal(account_update(db, &a), 0);
    assert_int_equal(account_by_id(db, str_of(a.id), &found), 1);
    assert_same_account(&a, &found);
    assert_int_equal(account_rehash(db, str_of(a.id), "$argon2id$y"), 0);
    assert_int_equal(account_by_id(db, str_of(a.id), &found), 1);
    assert_string_equal(found.password, "$argon2id$y");
    assert_true(found.version == 7);
}

static void test_list_pages_meet_without_gap_or_overlap(void **state)
{
    (void)state;
    struct account all[25], page[10];
    for (int i = 0; i < 25; i++) {
        char email[32];
        (void)snprintf(email, sizeof email, "u%02d@example.org", 24 - i);
        all[i] = insert(email, "user");
    }
    char after[UUID_TEXT + 1] = "";
    int seen = 0, n;
    while ((n = accounts_list(db, str_of(after), (struct str){ NULL, 0 }, 10, page)) > 0) {
        for (int i = 0; i < n; i++) {
            assert_same_account(&all[seen++], &page[i]);
        }
        memcpy(after, page[n - 1].id, sizeof after);
    }
    assert_int_equal(n, 0);
    assert_int_equal(seen, 25);
    assert_int_equal(accounts_list(db, STR(""), STR("U07@EXAMPLE.ORG"), 10, page), 1);
    assert_string_equal(page[0].email, "u07@example.org");
    assert_int_equal(accounts_list(db, str_of(page[0].id), STR("u07@example.org"), 10, page), 0);
    assert_int_equal(accounts_list(db, STR(""), STR("%"), 10, page), 0);
}

static void test_other_admins(void **state)
{
    (void)state;
    struct account a = insert("a@example.org", "admin");
    (void)insert("u@example.org", "user");
    assert_int_equal(account_other_admin(db, str_of(a.id)), 0);
    struct account b = insert("b@example.org", "admin");
    assert_int_equal(account_other_admin(db, str_of(a.id)), 1);
    assert_int_equal(account_other_admin(db, str_of(b.id)), 1);
}

static void test_first_admin_is_noted_once(void **state)
{
    (void)state;
    assert_int_equal(first_admin_made(db), 0);
    assert_int_equal(first_admin_note(db, 1), 0);
    assert_int_equal(first_admin_made(db), 1);
    assert_int_equal(first_admin_note(db, 2), -EEXIST);
}

static void assert_same_session(const struct session_record *s, const struct session_record *t)
{
    assert_string_equal(s->id, t->id);
    assert_string_equal(s->user_id, t->user_id);
    assert_memory_equal(s->family, t->family, sizeof s->family);
    assert_memory_equal(s->secret, t->secret, sizeof s->secret);
    assert_true(s->generation == t->generation && s->created_ms == t->created_ms &&
                s->expires_ms == t->expires_ms);
}

static void test_sessions_rotate(void **state)
{
    (void)state;
    struct account a = insert("a@example.org", "user");
    struct session_record s = begin_session(a.id, 1, 100), found;
    (void)begin_session(a.id, 2, 100);
    assert_int_equal(session_by_family(db, s.family, &found), 1);
    assert_same_session(&s, &found);
    memset(s.secret, 0, sizeof s.secret); // zero bytes are data
    s.generation = 1;
    s.expires_ms = 200;
    assert_int_equal(session_rotate(db, &s), 0);
    assert_int_equal(session_by_family(db, s.family, &found), 1);
    assert_same_session(&s, &found);
    uint8_t unknown[SESSION_HASH_BYTES] = { 0 };
    assert_int_equal(session_by_family(db, unknown, &found), 0);
    struct session_record twin = s;
    uuid_v7(1000, twin.id);
    assert_int_equal(session_insert(db, &twin), -EEXIST);
}

static void test_sessions_belong_to_accounts(void **state)
{
    (void)state;
    struct account a = insert("a@example.org", "user"), b = insert("b@example.org", "user");
    struct session_record s = begin_session(a.id, 1, 100), orphan = s;
    (void)begin_session(a.id, 2, 100);
    (void)begin_session(b.id, 3, 100);
    assert_int_equal(session_delete(db, str_of(s.id), str_of(b.id)), 0); // somebody else's
    assert_int_equal(session_delete(db, (struct str){ NULL, 0 }, str_of(a.id)), 0);
    assert_int_equal(count_sessions(), 3);
    assert_int_equal(session_delete(db, str_of(s.id), str_of(a.id)), 1);
    assert_int_equal(session_delete(db, str_of(s.id), str_of(a.id)), 0);
    assert_int_equal(account_delete(db, str_of(a.id)), 1);
    assert_int_equal(account_delete(db, str_of(a.id)), 0);
    assert_int_equal(count_sessions(), 1);
    assert_int_equal(session_insert(db, &orphan), -EINVAL);
}

static void test_others_end(void **state)
{
    (void)state;
    char ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1];
    struct account a = insert("a@example.org", "user"), b = insert("b@example.org", "user");
    struct session_record s[3];
    for (uint8_t i = 0; i < 3; i++) {
        s[i] = begin_session(a.id, i, 100);
    }
    (void)begin_session(b.id, 9, 100);
    assert_int_equal(sessions_delete_others(db, str_of(a.id), str_of(s[1].id), ids), 2);
    assert_true(strcmp(ids[0], s[1].id) != 0 && strcmp(ids[1], s[1].id) != 0);
    assert_string_not_equal(ids[0], ids[1]);
    assert_int_equal(count_sessions(), 2);
    assert_int_equal(sessions_delete_others(db, str_of(a.id), (struct str){ NULL, 0 }, ids), 1);
    assert_string_equal(ids[0], s[1].id);
    assert_int_equal(sessions_delete_others(db, str_of(a.id), STR(""), ids), 0);
    assert_int_equal(count_sessions(), 1);
}

static void test_excess_is_the_oldest(void **state)
{
    (void)state;
    char ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1];
    struct account a = insert("a@example.org", "user"), b = insert("b@example.org", "user");
    struct session_record s[SESSIONS_PER_ACCOUNT + 2];
    (void)begin_session(b.id, 200, 100);
    for (uint8_t i = 0; i < SESSIONS_PER_ACCOUNT; i++) {
        s[i] = begin_session(a.id, i, 100);
    }
    assert_int_equal(sessions_delete_excess(db, str_of(a.id), ids), 0);
    (void)begin_session(a.id, 100, 100);
    (void)begin_session(a.id, 101, 100);
    assert_int_equal(sessions_delete_excess(db, str_of(a.id), ids), 2);
    assert_true(strcmp(ids[0], s[0].id) == 0 || strcmp(ids[1], s[0].id) == 0);
    assert_true(strcmp(ids[0], s[1].id) == 0 || strcmp(ids[1], s[1].id) == 0);
    assert_int_equal(count_sessions(), SESSIONS_PER_ACCOUNT + 1);
}

static void test_expiry_is_bounded(void **state)
{
    (void)state;
    struct account a = insert("a@example.org", "user");
    for (uint8_t i = 0; i < 10; i++) {
        (void)begin_session(a.id, i, 100 + i);
    }
    assert_int_equal(sessions_delete_expired(db, 100, 100), 0); // good in its last millisecond
    assert_int_equal(sessions_delete_expired(db, 105, 3), 3);
    assert_int_equal(sessions_delete_expired(db, 105, 3), 2);
    assert_int_equal(sessions_delete_expired(db, 105, 3), 0);
    assert_int_equal(count_sessions(), 5);
}

static struct api_key_record make_key(const char *user_id, int64_t expires_ms, int expected)
{
    struct api_key_record k = {
        .name = "ci", .scope = "*", .created_ms = 7, .expires_ms = expires_ms
    };
    char text[API_KEY_TEXT + 1];
    uuid_v7(1000, k.id);
    memcpy(k.user_id, user_id, sizeof k.user_id);
    api_key_make(text);
    (void)snprintf(k.hint, sizeof k.hint, "%.*s", API_KEY_HINT, text);
    assert_int_equal(api_key_hash(str_of(text), k.hash), 0);
    assert_int_equal(api_key_insert(db, &k), expected);
    return k;
}

static void test_api_keys_are_found_by_hash_with_the_role_of_now(void **state)
{
    (void)state;
    struct account a = insert("a@example.org", "user");
    struct api_key_record k = make_key(a.id, INT64_MAX, 0), other = make_key(a.id, 500, 0), found;
    char role[8];
    assert_int_equal(api_key_by_hash(db, k.hash, &found, role), 1);
    assert_string_equal(found.id, k.id);
    assert_string_equal(found.hint, k.hint);
    assert_true(found.expires_ms == INT64_MAX);
    assert_string_equal(role, "user");
    (void)snprintf(a.role, sizeof a.role, "admin");
    assert_int_equal(account_update(db, &a), 0);
    assert_int_equal(api_key_by_hash(db, k.hash, &found, role), 1);
    assert_string_equal(role, "admin");
    k.hash[31] ^= 1;
    assert_int_equal(api_key_by_hash(db, k.hash, &found, role), 0);
    assert_int_equal(api_keys_delete_expired(db, 500, 10), 0); // good in its last millisecond
    assert_int_equal(api_keys_delete_expired(db, 501, 10), 1);
    assert_int_equal(api_key_by_hash(db, other.hash, &found, role), 0);
}

static void test_api_keys_belong_to_accounts(void **state)
{
    (void)state;
    struct account a = insert("a@example.org", "user"), b = insert("b@example.org", "user");
    static struct api_key_record keys[API_KEYS_PER_ACCOUNT];
    char role[8];
    struct api_key_record first = make_key(a.id, INT64_MAX, 0), theirs = make_key(b.id, 1, 0);
    assert_int_equal(api_key_delete(db, str_of(first.id), str_of(b.id)), 0); // is not theirs
    for (int i = 1; i < API_KEYS_PER_ACCOUNT; i++) {
        (void)make_key(a.id, INT64_MAX, 0);
    }
    (void)make_key(a.id, INT64_MAX, -ENOSPC);
    assert_int_equal(api_keys_list(db, str_of(a.id), keys), API_KEYS_PER_ACCOUNT);
    assert_string_equal(keys[0].id, first.id);
    assert_int_equal(api_key_delete(db, str_of(first.id), str_of(a.id)), 1);
    (void)make_key(a.id, INT64_MAX, 0);
    assert_int_equal(account_delete(db, str_of(a.id)), 1);
    assert_int_equal(api_keys_list(db, str_of(a.id), keys), 0);
    assert_int_equal(api_key_by_hash(db, theirs.hash, &first, role), 1);
}

// What another program put there is an error, not an overrun.
static void test_foreign_content_is_an_error(void **state)
{
    (void)state;
    struct account a = insert("a@example.org", "user"), list[2];
    assert_int_equal(db_script(db, "PRAGMA ignore_check_constraints=ON;"
                                   "UPDATE users SET name = printf('%.*c', 5000, 'x')"),
                     0);
    assert_int_equal(account_by_id(db, str_of(a.id), &a), -EUCLEAN);
    assert_int_equal(accounts_list(db, STR(""), (struct str){ NULL, 0 }, 2, list), -EUCLEAN);
    struct session_record s = begin_session(a.id, 1, 100);
    assert_int_equal(db_script(db, "UPDATE sessions SET secret = x'00'"), 0);
    assert_int_equal(session_by_family(db, s.family, &s), -EUCLEAN);
}

// The places used longest ago are forgotten, and all of them with their account.
static void test_login_places(void **state)
{
    (void)state;
    struct account a = insert("places@example.org", "user"),
                   b = insert("other@example.org", "user");
    struct str id = str_of(a.id);
    uint8_t place[PLACE_BYTES] = { 0 };
    for (uint8_t i = 0; i <= PLACES_PER_ACCOUNT; i++) {
        place[0] = i;
        assert_int_equal(login_place_note(db, id, place, 1000 + i), 0);
        assert_int_equal(login_place_note(db, id, place, 1000 + i), 0); // again
        assert_int_equal(login_place_known(db, id, place), 1);
    }
    assert_int_equal(login_place_known(db, str_of(b.id), place), 0);
    assert_int_equal(login_place_known(db, STR(""), place), 0);
    place[0] = 0;
    assert_int_equal(login_place_known(db, id, place), 0);
    assert_int_equal(login_places_expire(db, 1003, 100), 2);
    place[0] = 2;
    assert_int_equal(login_place_known(db, id, place), 0);
    place[0] = 3;
    assert_int_equal(login_place_known(db, id, place), 1);
    assert_int_equal(account_delete(db, id), 1);
    assert_int_equal(login_places_expire(db, INT64_MAX, 1000), 0);
}

#define STORE_CASE(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_CASE(test_accounts_are_found),
        STORE_CASE(test_longest_texts_fit),
        STORE_CASE(test_email_addresses_are_unique),
        STORE_CASE(test_impossible_accounts_are_refused),
        STORE_CASE(test_updates_are_stored),
        STORE_CASE(test_list_pages_meet_without_gap_or_overlap),
        STORE_CASE(test_other_admins),
        STORE_CASE(test_first_admin_is_noted_once),
        STORE_CASE(test_sessions_rotate),
        STORE_CASE(test_sessions_belong_to_accounts),
        STORE_CASE(test_others_end),
        STORE_CASE(test_excess_is_the_oldest),
        STORE_CASE(test_expiry_is_bounded),
        STORE_CASE(test_api_keys_are_found_by_hash_with_the_role_of_now),
        STORE_CASE(test_api_keys_belong_to_accounts),
        STORE_CASE(test_foreign_content_is_an_error),
        STORE_CASE(test_login_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
