// SPDX-License-Identifier: MIT
// Accounts: who may see them, how they change, and what else a change does.
#include "services/users/accounts.h"

#include "common/clock.h"
#include "services/users/password.h"
#include "services/users/sessions.h"
#include "services/users/strength.h"
#include "services/users/throttle.h"

#include <errno.h>
#include <stdio.h>

struct user user_of(const struct account *a)
{
    return (struct user){ .id = str_of(a->id),
                          .email = str_of(a->email),
                          .name = str_of(a->name),
                          .role = str_of(a->role),
                          .version = a->version,
                          .created_at = a->created_ms,
                          .updated_at = a->updated_ms };
}

static int reply_user(struct call *c, int status, const struct account *a)
{
    struct user u = user_of(a);
    return call_reply(c, status, &user_message, &u);
}

static int user_event(struct call *c, enum users_event kind, const struct account *a)
{
    struct user u = user_of(a);
    return call_event(c, &users_events[kind], u.id, &u);
}

// Texts of validated messages fit: their limits are those of struct account.
static void set_text(char *out, size_t size, struct str s)
{
    (void)snprintf(out, size, "%.*s", STR_ARG(s));
}

// Finds the account in the path. Returns 1, or 0 after answering 404: nobody learns from the answer
// whether an account exists that is not theirs to see.
static int find_visible(struct call *c, struct account *ret_account)
{
    struct str id = call_param(c, 0);
    int r = account_by_id(call_db(c), id, ret_account);
    if (r < 0) {
        return r;
    }
    bool visible = call_is_admin(c) || call_is_user(c, id);
    return r > 0 && visible ? 1 : call_problem(c, PROBLEM_NOT_FOUND, NULL);
}

// Refuses a new password that is guessed early. Returns 1 when it may be taken, 0 after answering.
static int allow_password(struct call *c, struct str password, struct str email, struct str name)
{
    struct strength_hints hints = { .email = email, .name = name };
    char reason[STRENGTH_REASON_SIZE];
    return password_strong(password, &hints, reason) || call_invalid_field(c, "#/password", reason);
}

// --- Making

struct creation {
    struct throttle_attempt attempt;
    char hash[PASSWORD_HASH_SIZE];
};

int on_user_create_read(struct call *c)
{
    const struct user_create *in = call_body(c);
    struct creation *creation = call_state(c, sizeof *creation);
    struct account taken;
    uint8_t place[THROTTLE_PLACE_BYTES];
    if (!creation) {
        return -ENOMEM;
    }
    struct str address = { (const char *)place,
                           throttle_place(call_client(c), place) ? sizeof place : 0 };
    int64_t wait_ms = throttle_signup(address, clock_mono_ms(), &creation->attempt);
    if (sessions_must_wait(c, wait_ms, "new accounts from here")) {
        return 0;
    }
    // Spares the hashing; the write decides. It counts, or addresses could be tried out here.
    int r = account_by_email(call_db(c), in->email, &taken);
    if (r > 0) {
        throttle_keep(&creation->attempt);
        return call_problem(c, PROBLEM_EMAIL_TAKEN, NULL);
    }
    return r;
}

int on_user_create_compute(struct call *c)
{
    const struct user_create *in = call_body(c);
    struct creation *creation = call_state(c, sizeof *creation);
    if (!allow_password(c, in->password, in->email, in->name)) {
        return 0;
    }
    throttle_keep(&creation->attempt); // what costs a hash counts
    return password_hash(in->password, creation->hash);
}

int on_user_create_end(struct call *c)
{
    struct creation *creation = call_state(c, sizeof *creation);
    if (creation) {
        throttle_end(&creation->attempt);
    }
    return 0;
}

int on_user_create_write(struct call *c)
{
    const struct user_create *in = call_body(c);
    int64_t now_ms = call_now_ms(c);
    struct account a = { .role = "user", .version = 1, .created_ms = now_ms, .updated_ms = now_ms };
    uuid_v7(now_ms, a.id);
    set_text(a.email, sizeof a.email, in->email);
    set_text(a.name, sizeof a.name, in->name);
    const struct creation *creation = call_state(c, sizeof *creation);
    memcpy(a.password, creation->hash, sizeof a.password);
    int r = account_insert(call_db(c), &a);
    if (r == -EEXIST) {
        return call_problem(c, PROBLEM_EMAIL_TAKEN, NULL);
    }
    if (r == 0) {
        r = user_event(c, EVENT_USER_CREATED, &a);
    }
    if (r < 0) {
        return r;
    }
    call_etag(c, a.version);
    call_reply_header(c, "location", "/v1/users/%s", a.id);
    return reply_user(c, 201, &a);
}

// --- Reading

static int reply_unless_known(struct call *c, const struct account *a)
{
    return call_not_modified(c, a->version) ? 0 : reply_user(c, 200, a);
}

int on_user_get(struct call *c)
{
    struct account a;
    int r = find_visible(c, &a);
    return r > 0 ? reply_unless_known(c, &a) : r;
}

int on_user_me(struct call *c)
{
    struct account a;
    int r = account_by_id(call_db(c), call_principal(c)->id, &a);
    if (r == 0) {
        return call_problem(c, PROBLEM_NOT_FOUND, "This account was deleted.");
    }
    return r > 0 ? reply_unless_known(c, &a) : r;
}

// One page: n accounts, of which the last is only there to tell that there is another page.
static int reply_page(struct call *c, const struct account *accounts, int n, int limit)
{
    struct user_list *list = call_alloc(c, sizeof *list);
    if (!list) {
        return -ENOMEM;
    }
    list->n_items = (size_t)(n < limit ? n : limit);
    for (size_t i = 0; i < list->n_items; i++) {
        list->items[i] = user_of(&accounts[i]);
    }
    if (n > limit) {
        struct cursor_position last = { .text = { list->items[limit - 1].id } };
        list->next_cursor = call_next_cursor(c, &last);
        if (!list->next_cursor.p) {
            return -ENOMEM;
        }
        list->head.present |= MESSAGE_BIT(user_list, next_cursor);
    }
    return call_reply(c, 200, &user_list_message, list);
}

int on_user_list(struct call *c)
{
    if (!call_is_admin(c)) {
        return call_problem(c, PROBLEM_FORBIDDEN, "Only admins may list users.");
    }
    struct cursor_position position = { .text = { STR("") } };
    if (call_cursor(c, &position) < 0) {
        return 0; // answered
    }
    int limit = (int)call_query_int(c, "limit");
    struct account *accounts = call_alloc(c, (size_t)(limit + 1) * sizeof *accounts);
    if (!accounts) {
        return -ENOMEM;
    }
    struct str email = call_query(c, "email");
    int n = accounts_list(call_db(c), position.text[0], email, limit + 1, accounts);
    return n < 0 ? n : reply_page(c, accounts, n, limit);
}

// --- Changing

struct change {
    int64_t version; // of the account that the first stages looked at
    bool verify;     // current_password, against old_hash
    char old_hash[PASSWORD_HASH_SIZE];
    struct str email, name;            // what they will be
    char new_hash[PASSWORD_HASH_SIZE]; // empty: the password stays
    struct throttle_attempt attempt;   // when it is to be verified
};

// Guesses with somebody's access token count for its session: that is what a thief has, wherever
// they are, and what does not hold up the owner.
static bool guesses_must_wait(struct call *c, const struct account *a, struct change *change)
{
    uint8_t place[THROTTLE_PLACE_BYTES];
    size_t n = throttle_place(call_client(c), place) ? sizeof place : 0;
    struct throttle_who who = {
        str_of(a->email), call_principal(c)->session, { (const char *)place, n }, true
    };
    int64_t wait_ms = throttle_begin(&who, clock_mono_ms(), &change->attempt);
    return sessions_must_wait(c, wait_ms, "wrong passwords");
}

// Checks what a patch asks for against who asks. Returns 1 when it may go on, 0 after answering.
static int allow_patch(struct call *c, const struct user_patch *in, const struct account *a,
                       bool *ret_verify)
{
    if (MESSAGE_HAS(in, user_patch, role)) {
        if (!call_is_admin(c)) {
            return call_problem(c, PROBLEM_FORBIDDEN, "Only admins may change a role.");
        }
        if (!str_eq(in->role, STR("user")) && !str_eq(in->role, STR("admin"))) {
            return call_invalid_field(c, "#/role", "must be \"user\" or \"admin\"");
        }
    }
    bool new_email = MESSAGE_HAS(in, user_patch, email) && !str_eq(in->email, str_of(a->email));
    bool own = call_is_user(c, str_of(a->id));
    bool verify = own && (new_email || MESSAGE_HAS(in, user_patch, password));
    if (verify && !MESSAGE_HAS(in, user_patch, current_password)) {
        return call_invalid_field(c, "#/current_password",
                                  "is required to change your own email address or password");
    }
    *ret_verify = verify;
    return 1;
}

int on_user_patch_read(struct call *c)
{
    const struct user_patch *in = call_body(c);
    struct change *change = call_state(c, sizeof *change);
    struct account a;
    if (!change) {
        return -ENOMEM;
    }
    int r = find_visible(c, &a);
    if (r <= 0 || !call_precondition(c, a.version)) { // early; the write decides
        return r < 0 ? r : 0;
    }
    if (!allow_patch(c, in, &a, &change->verify) ||
        (change->verify && guesses_must_wait(c, &a, change))) {
        return 0;
    }
    change->version = a.version;
    memcpy(change->old_hash, a.password, sizeof change->old_hash);
    change->email = MESSAGE_HAS(in, user_patch, email) ? in->email : call_copy(c, str_of(a.email));
    change->name = MESSAGE_HAS(in, user_patch, name) ? in->name : call_copy(c, str_of(a.name));
    return 0;
}

int on_user_patch_compute(struct call *c)
{
    const struct user_patch *in = call_body(c);
    struct change *change = call_state(c, sizeof *change);
    if (change->verify) {
        int r = password_verify(change->old_hash, in->current_password);
        if (r < 0) {
            return r;
        }
        if (r == 0) {
            throttle_keep(&change->attempt);
            return call_invalid_field(c, "#/current_password",
                                      "is not the password of this account");
        }
        throttle_passed(&change->attempt);
    }
    if (!MESSAGE_HAS(in, user_patch, password) ||
        !allow_password(c, in->password, change->email, change->name)) {
        return 0;
    }
    return password_hash(in->password, change->new_hash);
}

int on_user_patch_end(struct call *c)
{
    struct change *change = call_state(c, sizeof *change);
    if (change) {
        throttle_end(&change->attempt);
    }
    return 0;
}

static bool set_if_given(char *field, size_t size, bool given, struct str value)
{
    if (!given || str_eq(value, str_of(field))) {
        return false;
    }
    set_text(field, size, value);
    return true;
}

// Applies the patch to *a. Returns whether that changed anything; *ret_role whether the role.
static bool apply_patch(const struct user_patch *in, const struct change *change, struct account *a,
                        bool *ret_role)
{
    bool has_email = MESSAGE_HAS(in, user_patch, email),
         has_name = MESSAGE_HAS(in, user_patch, name);
    bool email = set_if_given(a->email, sizeof a->email, has_email, in->email);
    bool name = set_if_given(a->name, sizeof a->name, has_name, in->name);
    *ret_role = set_if_given(a->role, sizeof a->role, MESSAGE_HAS(in, user_patch, role), in->role);
    bool password = change->new_hash[0] != '\0';
    if (password) {
        memcpy(a->password, change->new_hash, sizeof a->password);
    }
    return email || name || password || *ret_role;
}

// Whether the account may lose the role admin or go: returns 1, or 0 after answering 409.
static int allow_losing_admin(struct call *c, const struct account *a)
{
    int r = account_other_admin(call_db(c), str_of(a->id));
    return r == 0 ? call_problem(c, PROBLEM_LAST_ADMIN, NULL) : r;
}

// Stores a changed account and what follows from it: the event, and the end of sessions.
static int store_change(struct call *c, struct account *a, bool new_role, bool new_password)
{
    a->version++;
    a->updated_ms = call_now_ms(c);
    int r = account_update(call_db(c), a);
    if (r == 0) {
        r = user_event(c, EVENT_USER_UPDATED, a);
    }
    if (r == 0 && (new_role || new_password)) {
        bool keep = !new_role && call_is_user(c, str_of(a->id));
        r = sessions_revoke_others(c, str_of(a->id), keep ? call_principal(c)->session : STR(""));
    }
    if (r == 0 && new_role) { // API keys stay, but gateways have to ask for them again
        r = session_revoked_event(c, str_of(a->id), STR(""));
    }
    return r;
}

int on_user_patch_write(struct call *c)
{
    const struct user_patch *in = call_body(c);
    const struct change *change = call_state(c, sizeof *change);
    struct account a;
    int r = find_visible(c, &a);
    if (r <= 0 || !call_precondition(c, a.version)) {
        return r < 0 ? r : 0;
    }
    // `If-Match: *` lets any version through, but what the first stages verified was about theirs.
    if (a.version != change->version) {
        return call_problem(c, PROBLEM_PRECONDITION_FAILED, NULL);
    }
    bool was_admin = strcmp(a.role, "admin") == 0, new_role;
    if (apply_patch(in, change, &a, &new_role)) {
        r = new_role && was_admin ? allow_losing_admin(c, &a) : 1;
        r = r > 0 ? store_change(c, &a, new_role, change->new_hash[0] != '\0') : r;
        if (r == -EEXIST) {
            return call_problem(c, PROBLEM_EMAIL_TAKEN, NULL);
        }
        if (r < 0 || call_answered(c)) {
            return r;
        }
    }
    call_etag(c, a.version);
    return reply_user(c, 200, &a);
}

// --- Removing

// Keeps everybody else away from the writer.
int on_user_delete_read(struct call *c)
{
    struct account a;
    int r = find_visible(c, &a);
    return r < 0 ? r : 0;
}

int on_user_delete_write(struct call *c)
{
    struct account a;
    int r = find_visible(c, &a);
    if (r <= 0 || !call_precondition(c, a.version)) {
        return r < 0 ? r : 0;
    }
    r = strcmp(a.role, "admin") == 0 ? allow_losing_admin(c, &a) : 1;
    if (r <= 0) {
        return r;
    }
    r = account_delete(call_db(c), str_of(a.id));
    struct user_deleted e = { .id = str_of(a.id), .version = a.version + 1 };
    if (r >= 0) {
        r = call_event(c, &users_events[EVENT_USER_DELETED], e.id, &e);
    }
    if (r >= 0) {
        r = session_revoked_event(c, e.id, STR(""));
    }
    return r < 0 ? r : call_reply_empty(c, 204);
}
