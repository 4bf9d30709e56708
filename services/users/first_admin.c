// SPDX-License-Identifier: MIT
// Making the first admin.
#include "services/users/first_admin.h"

#include "common/keys.h"
#include "common/log.h"
#include "common/outbox.h"
#include "services/users/accounts.h"
#include "services/users/password.h"
#include "services/users/strength.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#define PASSWORD_MIN 8 // bytes; what user_create allows
#define PASSWORD_MAX 256

// What is kept until the account is made, by this process or another one: the password is not.
static char hash[PASSWORD_HASH_SIZE]; // empty: there is none, or it is not made yet
static const char *home_of_password;  // NULL: it cannot be read again

// As for everybody: the name of the field, then the reason.
static int check_strength(struct str given, char error[CONFIG_ERROR_SIZE])
{
    struct strength_hints hints = { STR(FIRST_ADMIN_EMAIL), STR(FIRST_ADMIN_NAME) };
    char reason[STRENGTH_REASON_SIZE];
    if (password_strong(given, &hints, reason)) {
        return 0;
    }
    (void)snprintf(error, CONFIG_ERROR_SIZE, "the password of %s %s", FIRST_ADMIN_EMAIL, reason);
    return -EINVAL;
}

static int check_size(struct str given, char error[CONFIG_ERROR_SIZE])
{
    if (given.n < PASSWORD_MIN || given.n > PASSWORD_MAX || memchr(given.p, '\0', given.n)) {
        (void)snprintf(error, CONFIG_ERROR_SIZE,
                       "the password of %s has %zu bytes; allowed are %d to %d, none of them 0",
                       FIRST_ADMIN_EMAIL, given.n, PASSWORD_MIN, PASSWORD_MAX);
        return -EINVAL;
    }
    return 0;
}

static int make_hash(struct str given, char error[CONFIG_ERROR_SIZE])
{
    int r = password_hash(given, hash);
    if (r < 0) {
        (void)snprintf(error, CONFIG_ERROR_SIZE, "cannot hash the password of %s: %s",
                       FIRST_ADMIN_EMAIL, strerror(-r));
    }
    return r;
}

int first_admin_open(struct str given, const char *home, bool is_new, char error[CONFIG_ERROR_SIZE])
{
    home_of_password = home;
    hash[0] = '\0';
    int r = given.n > 0 ? check_size(given, error) : 0;
    r = r == 0 && given.n > 0 && is_new ? check_strength(given, error) : r;
    return r == 0 && given.n > 0 && (is_new || !home) ? make_hash(given, error) : r;
}

void first_admin_close(void)
{
    sodium_memzero(hash, sizeof hash);
}

static int add_event(struct db *db, const struct account *a)
{
    const struct event_kind *kind = &users_events[EVENT_USER_CREATED];
    struct user u = user_of(a);
    struct buf data;
    buf_init(&data, QUEUE_MAX_EVENT_BYTES);
    message_pack(kind->message, &u, &data);
    struct event e = { .topic = str_of(kind->topic),
                       .key = u.id,
                       .subject = u.id,
                       .source = STR("/sluice/users"),
                       .time_ms = a->created_ms,
                       .data = buf_str(&data) };
    int r = buf_ok(&data) ? outbox_add(db, &e) : buf_error(&data);
    buf_fini(&data);
    return r;
}

static int make_account(struct db *db, int64_t now_ms)
{
    struct account a = { .email = FIRST_ADMIN_EMAIL,
                         .name = FIRST_ADMIN_NAME,
                         .role = "admin",
                         .version = 1,
                         .created_ms = now_ms,
                         .updated_ms = now_ms };
    uuid_v7(now_ms, a.id);
    memcpy(a.password, hash, sizeof a.password);
    int r = account_insert(db, &a);
    if (r == 0) {
        r = add_event(db, &a);
    }
    return r == 0 ? first_admin_note(db, now_ms) : r;
}

// The account is missing from a store that was there before: the process that made the store was lost.
static int read_again(void)
{
    char error[CONFIG_ERROR_SIZE];
    struct buf text;
    buf_init(&text, PASSWORD_MAX);
    text.wipes = true;
    int r = keys_read(home_of_password, "admin-password", PASSWORD_MAX, &text, error);
    r = r == 0 ? check_size(buf_str(&text), error) : r;
    r = r == 0 ? make_hash(buf_str(&text), error) : r;
    buf_fini(&text);
    if (r < 0 && r != -ENOENT) {
        log_error("%s", error);
    }
    return r;
}

int on_first_admin(struct db *db, int64_t now_ms)
{
    int r = first_admin_made(db);
    if (r != 0) {
        return r < 0 ? r : 0;
    }
    r = hash[0] ? 0 : home_of_password ? read_again() : -ENOENT;
    if (r == -ENOENT) {
        log_error("no password for the first admin: `sluice init` makes one, or set "
                  "SLUICE_ADMIN_PASSWORD_FILE");
    }
    if (r < 0) {
        return r;
    }
    r = make_account(db, now_ms);
    if (r < 0) {
        log_error("cannot make the first admin: %s", strerror(-r));
        return r;
    }
    log_info("made the first admin, " FIRST_ADMIN_EMAIL);
    return 0;
}
