// SPDX-License-Identifier: MIT
// Making the first admin.
#include "services/users/first_admin.h"

#include "common/log.h"
#include "common/outbox.h"
#include "services/users/accounts.h"
#include "services/users/strength.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#define PASSWORD_MIN 8 // bytes; what user_create allows
#define PASSWORD_MAX 256

static char password[PASSWORD_MAX + 1]; // empty: there is none

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

int first_admin_open(struct str given, bool is_new, char error[CONFIG_ERROR_SIZE])
{
    if (given.n > 0 &&
        (given.n < PASSWORD_MIN || given.n > PASSWORD_MAX || memchr(given.p, '\0', given.n))) {
        (void)snprintf(error, CONFIG_ERROR_SIZE,
                       "the password of %s has %zu bytes; allowed are %d to %d, none of them 0",
                       FIRST_ADMIN_EMAIL, given.n, PASSWORD_MIN, PASSWORD_MAX);
        return -EINVAL;
    }
    if (given.n > 0 && is_new && check_strength(given, error)) {
        return -EINVAL;
    }
    if (given.n > 0) {
        memcpy(password, given.p, given.n);
    }
    password[given.n] = '\0';
    return 0;
}

void first_admin_close(void)
{
    sodium_memzero(password, sizeof password);
}

static int add_event(struct db *db, const struct account *a)
{
    struct user u = user_of(a);
    struct buf data;
    buf_init(&data, QUEUE_MAX_EVENT_BYTES);
    message_pack(&user_message, &u, &data);
    struct event e = { .topic = STR("users.user.created"),
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
    int r = password_hash(str_of(password), a.password);
    if (r == 0) {
        r = account_insert(db, &a);
    }
    if (r == 0) {
        r = add_event(db, &a);
    }
    return r == 0 ? first_admin_note(db, now_ms) : r;
}

int on_first_admin(struct db *db, int64_t now_ms)
{
    int r = first_admin_made(db);
    if (r != 0) {
        return r < 0 ? r : 0;
    }
    if (!password[0]) {
        log_error("no password for the first admin: `sluice init` makes one, or set "
                  "SLUICE_ADMIN_PASSWORD_FILE");
        return -ENOENT;
    }
    r = make_account(db, now_ms);
    if (r < 0) {
        log_error("cannot make the first admin: %s", strerror(-r));
        return r;
    }
    log_info("made the first admin, " FIRST_ADMIN_EMAIL);
    return 0;
}
