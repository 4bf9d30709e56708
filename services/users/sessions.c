// SPDX-License-Identifier: MIT
// A session is what a login begins: a row in the store, a refresh token that is good once, and
// access tokens that are good for minutes without anybody looking into the store.
#include "services/users/sessions.h"

#include "common/clock.h"
#include "common/log.h"
#include "proto/users.h"
#include "services/users/password.h"
#include "services/users/refresh_token.h"
#include "services/users/signing.h"
#include "services/users/throttle.h"
#include "services/users/users_store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>

// Sessions removed in one transaction: a few milliseconds of the writer's time.
#define EXPIRE_BATCH 1000

// How long a place that an account logged in from is remembered.
#define PLACES_KEPT_MS (INT64_C(180) * 24 * 3600 * 1000)

static struct sessions_options settings;

void sessions_open(const struct sessions_options *options)
{
    settings = *options;
}

// --- Ending sessions

int session_revoked_event(struct call *c, struct str user_id, struct str session_id)
{
    struct session_revoked e = { .user_id = user_id,
                                 .sid = session_id,
                                 .revoked_at = call_now_ms(c) };
    if (session_id.n > 0) {
        e.head.present |= MESSAGE_BIT(session_revoked, sid);
    }
    return call_event(c, &users_events[EVENT_SESSION_REVOKED], user_id, &e);
}

static int publish_revoked(struct call *c, struct str user_id, int n,
                           char ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1])
{
    int r = n;
    for (int i = 0; i < n && r >= 0; i++) {
        r = session_revoked_event(c, user_id, str_of(ids[i]));
    }
    return r < 0 ? r : 0;
}

int sessions_revoke_others(struct call *c, struct str user_id, struct str keep_id)
{
    char ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1];
    int n = sessions_delete_others(call_db(c), user_id, keep_id, ids);
    return publish_revoked(c, user_id, n, ids);
}

static int revoke_excess(struct call *c, struct str user_id)
{
    char ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1];
    int n = sessions_delete_excess(call_db(c), user_id, ids);
    return publish_revoked(c, user_id, n, ids);
}

// Whether the caller is a user of another issuer: our own ids have no colon. Sessions of such users
// are not in the store; theirs are single tokens.
static bool is_external(const struct principal *p)
{
    return memchr(p->id.p, ':', p->id.n) != NULL;
}

int on_session_delete_write(struct call *c)
{
    const struct principal *p = call_principal(c);
    int r = is_external(p) ? 1 : session_delete(call_db(c), p->session, p->id);
    if (r > 0) {
        r = session_revoked_event(c, p->id, p->session);
    } else if (r == 0 && (r = api_key_exists(call_db(c), p->session, p->id)) > 0) {
        return call_problem(c, PROBLEM_FORBIDDEN,
                            "An API key is no session; DELETE /v1/api-keys/%.*s revokes it.",
                            STR_ARG(p->session));
    }
    return r < 0 ? r : call_reply_empty(c, 204); // one that is gone already is as wanted
}

int on_sessions_expire(struct db *db, int64_t now_ms, void *data)
{
    (void)data;
    int r = sessions_delete_expired(db, now_ms, EXPIRE_BATCH);
    if (r >= 0) {
        r = login_places_expire(db, now_ms - PLACES_KEPT_MS, EXPIRE_BATCH);
    }
    return r < 0 ? r : 0;
}

// --- Answering with tokens

static int64_t expiry(const struct session_record *s, int64_t now_ms)
{
    int64_t idle = now_ms + settings.idle_ms, end = s->created_ms + settings.longest_ms;
    return idle < end ? idle : end;
}

static int reply_tokens(struct call *c, const struct account *a, const struct session_record *s,
                        const struct refresh_token *refresh)
{
    char refresh_text[REFRESH_TEXT + 1];
    struct token_claims claims = { str_of(a->id), str_of(a->role), str_of(s->id), call_now_ms(c) };
    const struct token_issuer *issuer = signing_issuer();
    struct buf access;
    buf_init(&access, TOKEN_MAX_BYTES);
    int r = token_sign(issuer, &claims, &access);
    if (r == 0) {
        refresh_token_text(refresh, refresh_text);
        struct session answer = { .access_token = buf_str(&access),
                                  .token_type = STR("Bearer"),
                                  .expires_in = token_ttl_s(issuer),
                                  .refresh_token = { refresh_text, REFRESH_TEXT } };
        call_reply_header(c, "cache-control", "no-store");
        call_reply(c, 201, &session_message, &answer);
    }
    buf_fini(&access);
    return r;
}

// --- Logging in

struct login {
    struct account account;              // its id is empty when there is none
    char new_hash[PASSWORD_HASH_SIZE];   // not empty: the old one was outdated
    uint8_t place[THROTTLE_PLACE_BYTES]; // where the client is
    struct throttle_attempt attempt;
};

static struct str place_str(const uint8_t place[THROTTLE_PLACE_BYTES])
{
    return (struct str){ (const char *)place, THROTTLE_PLACE_BYTES };
}

bool sessions_must_wait(struct call *c, int64_t wait_ms, const char *what)
{
    if (wait_ms == 0) {
        return false;
    }
    int64_t wait_s = (wait_ms + 999) / 1000;
    call_reply_header(c, "retry-after", "%" PRId64, wait_s);
    call_problem(c, PROBLEM_TOO_MANY_REQUESTS, "Too many %s; try again in %" PRId64 " s.", what,
                 wait_s);
    return true;
}

int on_session_create_read(struct call *c)
{
    const struct session_create *in = call_body(c);
    struct login *login = call_state(c, sizeof *login);
    if (!login) {
        return -ENOMEM;
    }
    // The same steps whether or not there is such an account, which nobody knows from here on.
    int r = account_by_email(call_db(c), in->email, &login->account);
    bool located = throttle_place(call_client(c), login->place);
    int known = login_place_known(call_db(c), str_of(login->account.id), login->place);
    if (r < 0 || known < 0) {
        return r < 0 ? r : known;
    }
    struct throttle_who who = { in->email, place_str(login->place), place_str(login->place),
                                located && known > 0 };
    who.address.n = located ? who.address.n : 0;
    int64_t wait_ms = throttle_begin(&who, clock_mono_ms(), &login->attempt);
    (void)sessions_must_wait(c, wait_ms, "wrong passwords");
    return 0;
}

int on_session_create_compute(struct call *c)
{
    const struct session_create *in = call_body(c);
    struct login *login = call_state(c, sizeof *login);
    int r = password_verify(login->account.password, in->password);
    if (r == 0) {
        throttle_keep(&login->attempt);
        return call_problem(c, PROBLEM_INVALID_CREDENTIALS, NULL);
    }
    if (r < 0) {
        return r;
    }
    throttle_passed(&login->attempt);
    bool rehash = password_outdated(login->account.password);
    return rehash ? password_hash(in->password, login->new_hash) : 0;
}

int on_session_create_end(struct call *c)
{
    struct login *login = call_state(c, sizeof *login);
    if (login) {
        throttle_end(&login->attempt);
    }
    return 0;
}

static int insert_session(struct call *c, const struct account *a,
                          const struct refresh_token *refresh, struct session_record *ret_session)
{
    struct session_record s = { .created_ms = call_now_ms(c) };
    uuid_v7(s.created_ms, s.id);
    memcpy(s.user_id, a->id, sizeof s.user_id);
    refresh_token_hash(refresh->family, s.family);
    refresh_token_hash(refresh->secret, s.secret);
    s.expires_ms = expiry(&s, s.created_ms);
    int r = session_insert(call_db(c), &s);
    if (r == 0) {
        r = revoke_excess(c, str_of(a->id));
    }
    *ret_session = s;
    return r;
}

int on_session_create_write(struct call *c)
{
    const struct login *login = call_state(c, sizeof *login);
    struct account now;
    struct session_record session;
    struct refresh_token refresh;
    int r = account_by_id(call_db(c), str_of(login->account.id), &now);
    if (r < 0) {
        return r;
    }
    // What was verified may be gone since: the account, or this password. Another hash of the same
    // version is the same password, which another login has just rehashed.
    if (r == 0 || (now.version != login->account.version &&
                   strcmp(now.password, login->account.password) != 0)) {
        return call_problem(c, PROBLEM_INVALID_CREDENTIALS, NULL);
    }
    r = login->new_hash[0] ? account_rehash(call_db(c), str_of(now.id), login->new_hash) : 0;
    refresh_token_make(&refresh);
    if (r == 0) {
        r = insert_session(c, &now, &refresh, &session);
    }
    if (r == 0) {
        r = login_place_note(call_db(c), str_of(now.id), login->place, call_now_ms(c));
    }
    if (r < 0) {
        return r;
    }
    return reply_tokens(c, &now, &session, &refresh);
}

// --- Refreshing

// Finds the session of a refresh token. Returns 1, or 0 after answering 401, or a negative errno.
static int find_session(struct call *c, struct refresh_token *ret_token,
                        struct session_record *ret_session)
{
    const struct session_refresh *in = call_body(c);
    uint8_t family[SESSION_HASH_BYTES];
    if (refresh_token_parse(in->refresh_token, ret_token) < 0) {
        return call_problem(c, PROBLEM_INVALID_REFRESH_TOKEN, NULL);
    }
    refresh_token_hash(ret_token->family, family);
    int r = session_by_family(call_db(c), family, ret_session);
    if (r == 0 || (r > 0 && ret_session->expires_ms <= call_now_ms(c))) {
        return call_problem(c, PROBLEM_INVALID_REFRESH_TOKEN, NULL);
    }
    return r;
}

// Keeps made-up tokens away from the writer.
int on_session_refresh_read(struct call *c)
{
    struct refresh_token token;
    struct session_record session;
    int r = find_session(c, &token, &session);
    return r < 0 ? r : 0;
}

// Two people have tokens of one session, and nobody can tell which of them is the thief.
static int end_reused(struct call *c, const struct session_record *s)
{
    int r = session_delete(call_db(c), str_of(s->id), str_of(s->user_id));
    if (r >= 0) {
        r = session_revoked_event(c, str_of(s->user_id), str_of(s->id));
    }
    if (r < 0) {
        return r;
    }
    log_write(LEVEL_WARN, call_trace(c),
              "a refresh token of session %s of user %s was used again: session ended", s->id,
              s->user_id);
    call_keep(c);
    return call_problem(c, PROBLEM_INVALID_REFRESH_TOKEN, NULL);
}

int on_session_refresh_write(struct call *c)
{
    struct refresh_token token;
    struct session_record session;
    struct account account;
    uint8_t secret[SESSION_HASH_BYTES];
    int r = find_session(c, &token, &session);
    if (r <= 0) {
        return r;
    }
    refresh_token_hash(token.secret, secret);
    if (sodium_memcmp(secret, session.secret, sizeof secret) != 0) {
        return end_reused(c, &session);
    }
    r = account_by_id(call_db(c), str_of(session.user_id), &account);
    if (r <= 0) {
        return r < 0 ? r : -EUCLEAN; // a session without its account cannot be in a sound store
    }
    refresh_token_renew(&token);
    refresh_token_hash(token.secret, session.secret);
    session.generation++;
    session.expires_ms = expiry(&session, call_now_ms(c));
    r = session_rotate(call_db(c), &session);
    return r < 0 ? r : reply_tokens(c, &account, &session, &token);
}
