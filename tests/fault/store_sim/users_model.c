// SPDX-License-Identifier: MIT
// The users service: accounts, sessions with their refresh tokens, API keys, and the end of each.
// Nothing here has a key, so a request whose answer was lost may have been done, and once more when it
// is made again: what may then be is allowed, and nothing else.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/api_key.h"
#include "common/base64url.h"
#include "proto/users.h"
#include "services/users/password.h"
#include "tests/fault/store_sim/life.h"
#include "tests/fault/store_sim/model.h"

#define ACCOUNTS 12 // at most: an account has no more sessions and keys than it may
#define CONFIG_BYTES 4096
#define PASSWORD "correct horse battery staple"

// RFC 8037 appendix A.1
#define TOKEN_KEY                                                                                  \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\","  \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

// Of each the request that it is about: `of`.
enum kind {
    CREATE,  //                          an account: id, version
    RENAME,  // CREATE                   version
    REMOVE,  // CREATE
    LOG_IN,  // CREATE                   secret: the refresh token; inner: the session
    REFRESH, // LOG_IN or REFRESH        secret, as above
    LOG_OUT, // LOG_IN
    KEY,     // LOG_IN                   id; secret: the key
    REVOKE,  // KEY
};

enum seen { CREATED, UPDATED, DELETED, REVOKED };

static const struct frame_principal admin = { STR_INIT("018f3c5e-0000-7000-8000-000000000002"),
                                              STR_INIT("admin"), STR_INIT("session") };

// --- Hashing passwords is what the service takes its time for, and nothing that a disk could lose

int __wrap_password_open(void);
int __wrap_password_hash(struct str password, char out[PASSWORD_HASH_SIZE]);
int __wrap_password_verify(const char *hash, struct str password);
bool __wrap_password_outdated(const char *hash);

int __wrap_password_open(void)
{
    return 0;
}

int __wrap_password_hash(struct str password, char out[PASSWORD_HASH_SIZE])
{
    (void)snprintf(out, PASSWORD_HASH_SIZE, "of:%.*s", STR_ARG(password));
    return 0;
}

int __wrap_password_verify(const char *hash, struct str password)
{
    return strncmp(hash, "of:", 3) == 0 && str_eq(password, str_of(hash + 3));
}

bool __wrap_password_outdated(const char *hash)
{
    (void)hash;
    return false;
}

static int open_service(const char *directory)
{
    static _Alignas(max_align_t) char config[CONFIG_BYTES];
    const struct service *s = world_service();
    char error[CONFIG_ERROR_SIZE];
    if (s->config_bytes > sizeof config || setenv("SLUICE_TOKEN_KEY", TOKEN_KEY, 1) ||
        setenv("SLUICE_ADMIN_PASSWORD", PASSWORD, 1) || config_load(s->options, config, error)) {
        return -EINVAL;
    }
    return s->on_open(config, directory, error);
}

// --- What may have been done

// Whether a request of that kind about `of` was made, and with which answer; 0: any, or none.
static bool was_asked(const struct world *w, enum kind kind, int of, uint32_t status)
{
    for (int i = 0; i < w->n_requests; i++) {
        const struct request *r = &w->requests[i];
        if (r->kind == (int)kind && r->of == of && r->asked &&
            (status == 0 || r->status == status)) {
            return true;
        }
    }
    return false;
}

// How often such requests were made: above 1, one of them may find done what it asks for.
static int times_asked(const struct world *w, enum kind kind, int of)
{
    int n = 0;
    for (int i = 0; i < w->n_requests; i++) {
        const struct request *r = &w->requests[i];
        n += r->kind == (int)kind && r->of == of ? r->asked : 0;
    }
    return n;
}

// The login that a refresh token descends from.
static int login_of(const struct world *w, int number)
{
    while (w->requests[number].kind != LOG_IN) {
        number = w->requests[number].of;
    }
    return number;
}

static int account_of(const struct world *w, int number)
{
    return w->requests[login_of(w, number)].of;
}

static bool may_be_removed(const struct world *w, int account)
{
    return was_asked(w, REMOVE, account, 0);
}

// A refresh token that was used twice ends its session; one whose answer was lost may be used twice.
static bool may_be_over(const struct world *w, int login)
{
    if (may_be_removed(w, w->requests[login].of) || was_asked(w, LOG_OUT, login, 0)) {
        return true;
    }
    for (int i = 0; i < w->n_requests; i++) {
        const struct request *r = &w->requests[i];
        if (r->kind == REFRESH && r->asked > 1 && login_of(w, i) == login) {
            return true;
        }
    }
    return false;
}

// --- Asking

static bool is_settled(const struct world *w, int number, enum kind kind)
{
    return w->requests[number].kind == (int)kind && w->requests[number].status &&
           w->requests[number].id[0];
}

static int next_of_login(struct world *w, int some)
{
    uint64_t what = chance_below(&w->chance, 10);
    if (what < 5 && !was_asked(w, REFRESH, some, 0)) {
        return life_add(REFRESH, some);
    }
    return life_add(what < 8 ? KEY : LOG_OUT, some);
}

static int next(struct world *w)
{
    int some = w->n_requests ? (int)chance_below(&w->chance, (uint64_t)w->n_requests) : 0;
    const struct request *r = &w->requests[some];
    if (w->n_requests && is_settled(w, some, CREATE)) {
        uint64_t what = chance_below(&w->chance, 20);
        return life_add(what < 8 ? RENAME : what < 19 ? LOG_IN : REMOVE, some);
    }
    if (w->n_requests && r->secret[0]) {
        switch ((enum kind)r->kind) {
        case LOG_IN:
            return next_of_login(w, some);
        case REFRESH:
            return was_asked(w, REFRESH, some, 0) ? -1 : life_add(REFRESH, some);
        case KEY:
            return life_add(REVOKE, some);
        default:
            break;
        }
    }
    int accounts = 0;
    for (int i = 0; i < w->n_requests; i++) {
        accounts += w->requests[i].kind == CREATE;
    }
    return accounts < ACCOUNTS ? life_add(CREATE, -1) : -1;
}

static void complete(struct world *w)
{
    if (w->n_requests == 0) {
        (void)life_add(CREATE, -1);
    }
}

static struct frame_principal session_of(const struct world *w, int login)
{
    const struct request *r = &w->requests[login];
    return (struct frame_principal){ str_of(w->requests[r->of].id), STR("user"), str_of(r->inner) };
}

static void email_of(int number, char out[64])
{
    (void)snprintf(out, 64, "person-%d@example.com", number);
}

static void ask_about_account(struct world *w, int number)
{
    const struct request *r = &w->requests[number];
    struct frame_request f = { 0 };
    char json[256], email[64];
    email_of(r->kind == CREATE ? number : r->of, email);
    if (r->kind == CREATE) {
        (void)snprintf(json, sizeof json,
                       "{\"email\": \"%s\", \"password\": \"" PASSWORD "\", \"name\": \"New\"}",
                       email);
        life_send(&f, "createUser", json, &life_nobody, number);
    } else if (r->kind == LOG_IN) {
        (void)snprintf(json, sizeof json, "{\"email\": \"%s\", \"password\": \"" PASSWORD "\"}",
                       email);
        life_send(&f, "createSession", json, &life_nobody, number);
    } else {
        (void)snprintf(json, sizeof json, "{\"name\": \"Name %d\"}", number);
        f.params[f.n_params++] = str_of(w->requests[r->of].id);
        f.headers[f.n_headers++] = (struct frame_pair){ STR("if-match"), STR("*") };
        life_send(&f, r->kind == RENAME ? "updateUser" : "deleteUser",
                  r->kind == RENAME ? json : NULL, &admin, number);
    }
}

static void ask(struct world *w, int number)
{
    const struct request *r = &w->requests[number];
    struct frame_request f = { 0 };
    struct frame_principal who;
    char json[256];
    if (r->status) {
        return; // made again it would be another one
    }
    switch ((enum kind)r->kind) {
    case REFRESH:
        (void)snprintf(json, sizeof json, "{\"refresh_token\": \"%s\"}", w->requests[r->of].secret);
        life_send(&f, "refreshSession", json, &life_nobody, number);
        break;
    case LOG_OUT:
        who = session_of(w, r->of);
        life_send(&f, "deleteCurrentSession", NULL, &who, number);
        break;
    case KEY:
        who = session_of(w, r->of);
        life_send(&f, "createApiKey", "{\"name\": \"robot\", \"scope\": \"*\"}", &who, number);
        break;
    case REVOKE:
        who = session_of(w, w->requests[r->of].of);
        f.params[f.n_params++] = str_of(w->requests[r->of].id);
        life_send(&f, "deleteApiKey", NULL, &who, number);
        break;
    default:
        ask_about_account(w, number);
    }
}

// --- Being answered

static void keep(struct world *w, char *out, size_t size, struct str text)
{
    if (text.n >= size) {
        world_broken(w, "an answer has a text of %zu bytes where %zu are room", text.n, size);
    }
    memcpy(out, text.p, text.n);
    out[text.n] = '\0';
}

// The session's id, which the access token alone says: "sid" of its second part.
static void take_session(struct world *w, struct request *r, const struct frame_reply *f)
{
    struct session s;
    struct reader reader = reader_of(f->body);
    char claims[1024];
    size_t n = 0;
    if (message_unpack_lenient(&session_message, &reader, &s)) {
        world_broken(w, "a session cannot be read");
    }
    keep(w, r->secret, sizeof r->secret, s.refresh_token);
    const char *from = memchr(s.access_token.p, '.', s.access_token.n);
    const char *end =
        from ? memchr(from + 1, '.', (size_t)(s.access_token.p + s.access_token.n - from - 1))
             : NULL;
    struct str part = { end ? from + 1 : NULL, end ? (size_t)(end - from - 1) : 0 };
    if (base64url_decode(part, claims, sizeof claims - 1, &n)) {
        world_broken(w, "an access token cannot be read");
    }
    claims[n] = '\0';
    const char *sid = strstr(claims, "\"sid\":\"");
    if (!sid) {
        world_broken(w, "an access token has no session");
    }
    keep(w, r->inner, sizeof r->inner, (struct str){ sid + 7, WORLD_ID - 1 });
    memcpy(r->id, r->inner, sizeof r->id);
}

static void take_user(struct world *w, struct request *r, struct str body)
{
    struct user u;
    struct reader reader = reader_of(body);
    if (message_unpack_lenient(&user_message, &reader, &u)) {
        world_broken(w, "an account cannot be read");
    }
    keep(w, r->id, sizeof r->id, u.id);
    r->version = u.version;
}

static void take_key(struct world *w, struct request *r, struct str body)
{
    struct api_key k;
    struct reader reader = reader_of(body);
    if (message_unpack_lenient(&api_key_message, &reader, &k)) {
        world_broken(w, "an API key cannot be read");
    }
    keep(w, r->id, sizeof r->id, k.id);
    keep(w, r->secret, sizeof r->secret, k.key);
}

// The address was taken: by this request, when it was made before and its answer was lost.
static void find_account(struct world *w, int number)
{
    struct request *r = &w->requests[number];
    struct frame_request f = { 0 };
    struct str body;
    char email[64];
    static struct user_list list;
    email_of(number, email);
    f.query[f.n_query++] = (struct frame_pair){ STR("email"), str_of(email) };
    uint32_t status = life_look(&f, "listUsers", NULL, &admin, &body);
    struct reader reader = reader_of(body);
    if (status != 200 || message_unpack_lenient(&user_list_message, &reader, &list) ||
        list.n_items != 1) {
        world_broken(w, "request %d found its address taken, but nobody has it", number);
    }
    keep(w, r->id, sizeof r->id, list.items[0].id);
    r->version = list.items[0].version;
}

// Whether the refusal of a request can be true.
static bool may_be_refused(const struct world *w, int number, uint32_t status)
{
    const struct request *r = &w->requests[number];
    switch ((enum kind)r->kind) {
    case CREATE:
        return status == 409 && r->asked > 1;
    case RENAME: // 412: another one came in between
        return status == 412 || (status == 404 && may_be_removed(w, r->of));
    case REMOVE:
        return status == 404 && times_asked(w, REMOVE, r->of) > 1;
    case LOG_IN:
        return status == 401 && may_be_removed(w, r->of);
    case REFRESH:
        return status == 401 && (r->asked > 1 || may_be_over(w, login_of(w, number)));
    case KEY:
        return status == 403 && may_be_over(w, r->of);
    case REVOKE:
        return status == 404 && (times_asked(w, REVOKE, r->of) > 1 ||
                                 may_be_removed(w, account_of(w, w->requests[r->of].of)));
    default:
        return false;
    }
}

static void answered(struct world *w, int number, const struct frame_reply *f)
{
    struct request *r = &w->requests[number];
    bool done = f->status < 300;
    if (!done && !may_be_refused(w, number, f->status)) {
        world_broken(w, "request %d of kind %d was refused with %u, made %d times", number, r->kind,
                     f->status, r->asked);
    }
    w->counts.acknowledged++;
    w->counts.repeated += r->asked > 1;
    w->counts.replayed += r->asked > 1 && !done; // it had been done
    if (r->kind == CREATE && !done) {
        find_account(w, number);
    } else if (done && (r->kind == CREATE || r->kind == RENAME)) {
        take_user(w, r, f->body);
    } else if (done && (r->kind == LOG_IN || r->kind == REFRESH)) {
        take_session(w, r, f);
    } else if (done && r->kind == KEY) {
        take_key(w, r, f->body);
    }
    r->status = f->status;
}

static void on_event(struct world *w, const struct event *e, struct seen_event *seen)
{
    struct reader r = reader_of(e->data);
    struct user u;
    struct user_deleted d;
    struct session_revoked s;
    int rc;
    if (str_eq(e->topic, STR("users.session.revoked"))) {
        seen->kind = REVOKED;
        rc = message_unpack_lenient(&session_revoked_message, &r, &s);
        if (!rc) {
            keep(w, seen->subject, sizeof seen->subject, s.user_id);
            keep(w, seen->inner, sizeof seen->inner,
                 MESSAGE_HAS(&s, session_revoked, sid) ? s.sid : STR(""));
        }
    } else if (str_eq(e->topic, STR("users.user.deleted"))) {
        seen->kind = DELETED;
        rc = message_unpack_lenient(&user_deleted_message, &r, &d);
        if (!rc) {
            keep(w, seen->subject, sizeof seen->subject, d.id);
            seen->version = d.version;
        }
    } else {
        seen->kind = str_eq(e->topic, STR("users.user.created")) ? CREATED : UPDATED;
        rc = message_unpack_lenient(&user_message, &r, &u);
        if (!rc) {
            keep(w, seen->subject, sizeof seen->subject, u.id);
            seen->version = u.version;
        }
    }
    if (rc) {
        world_broken(w, "an event cannot be read");
    }
}

// --- Looking whether the promises were kept

// The version of an account; 0: it is gone.
static int64_t version_of(struct world *w, int account)
{
    struct frame_request f = { 0 };
    struct request found = { 0 };
    struct str body;
    f.params[f.n_params++] = str_of(w->requests[account].id);
    uint32_t status = life_look(&f, "getUser", NULL, &admin, &body);
    if (status == 200) {
        take_user(w, &found, body);
    } else if (status != 404) {
        world_broken(w, "an account that was looked at is answered with %u", status);
    }
    return found.version;
}

static void check_account(struct world *w, int number)
{
    int64_t version = version_of(w, number), least = w->requests[number].version;
    bool removed = was_asked(w, REMOVE, number, 204);
    for (int i = 0; i < w->n_requests; i++) {
        const struct request *r = &w->requests[i];
        least = r->kind == RENAME && r->of == number && r->version > least ? r->version : least;
    }
    if (version ? removed : !may_be_removed(w, number)) {
        world_broken(w, "the account of request %d is %s", number,
                     version ? "there again" : "gone");
    }
    if (version && version < least) {
        world_broken(w, "the account of request %d has version %" PRId64 ", not %" PRId64, number,
                     version, least);
    }
}

// How often a session was refreshed; -1: it is over.
static int64_t generation_of(const struct request *login)
{
    return life_number("SELECT generation FROM sessions WHERE id = ?1", login->inner);
}

static void check_session(struct world *w, int number)
{
    const struct request *login = &w->requests[number];
    int64_t generation = generation_of(login), least = 0;
    bool over = was_asked(w, LOG_OUT, number, 204) || was_asked(w, REMOVE, login->of, 204);
    for (int i = 0; i < w->n_requests; i++) {
        const struct request *r = &w->requests[i];
        bool own = r->kind == REFRESH && login_of(w, i) == number;
        least += own && r->status == 201;
        over = over || (own && r->status == 401);
    }
    if (generation >= 0 ? over : !may_be_over(w, number)) {
        world_broken(w, "the session of request %d is %s", number,
                     generation >= 0 ? "there again" : "over");
    }
    if (generation >= 0 && generation < least) {
        world_broken(
            w, "the session of request %d was refreshed %" PRId64 " times, and knows %" PRId64,
            number, least, generation);
    }
}

static void check_key(struct world *w, int number)
{
    const struct request *r = &w->requests[number];
    int account = account_of(w, r->of);
    struct frame_request f = { 0 };
    struct str body;
    uint8_t hash[API_KEY_HASH_BYTES];
    char text[BASE64URL_SIZE(API_KEY_HASH_BYTES)], json[128];
    if (api_key_hash(str_of(r->secret), hash)) {
        world_broken(w, "the API key of request %d is none", number);
    }
    (void)snprintf(json, sizeof json, "{\"hash\": \"%.*s\"}",
                   STR_ARG(base64url_encode(hash, sizeof hash, text)));
    bool good = life_look(&f, "checkApiKey", json, &life_nobody, &body) == 200;
    bool revoked = was_asked(w, REVOKE, number, 204) || was_asked(w, REMOVE, account, 204);
    bool may_be = was_asked(w, REVOKE, number, 0) || may_be_removed(w, account);
    if (good ? revoked : !may_be) {
        world_broken(w, "the API key of request %d is %s", number, good ? "good again" : "refused");
    }
}

static void check(struct world *w)
{
    for (int i = 0; i < w->n_requests; i++) {
        if (is_settled(w, i, CREATE)) {
            check_account(w, i);
        } else if (is_settled(w, i, LOG_IN)) {
            check_session(w, i);
        } else if (is_settled(w, i, KEY)) {
            check_key(w, i);
        }
    }
}

// How many events there are of an account: of that kind and version (0: any), and with that inner id.
static int count_events(const struct world *w, const char *subject, enum seen kind, int64_t version,
                        const char *inner)
{
    int n = 0;
    for (int i = 0; i < w->n_events; i++) {
        const struct seen_event *e = &w->events[i];
        n += e->kind == (int)kind && strcmp(e->subject, subject) == 0 &&
             (version == 0 || e->version == version) && strcmp(e->inner, inner) == 0;
    }
    return n;
}

// Each version of an account was told once, and its end.
static void check_history(struct world *w, int number)
{
    const struct request *r = &w->requests[number];
    int64_t version = version_of(w, number);
    int updates = count_events(w, r->id, UPDATED, 0, ""), ends = version ? 0 : 1;
    if (count_events(w, r->id, CREATED, 1, "") != 1 || (version && version != 1 + updates)) {
        world_broken(w, "version %" PRId64 " of the account of request %d was told %d times",
                     version, number, updates);
    }
    for (int64_t v = 2; v <= 1 + updates; v++) {
        if (count_events(w, r->id, UPDATED, v, "") != 1) {
            world_broken(w, "version %" PRId64 " of the account of request %d was not told once", v,
                         number);
        }
    }
    if (count_events(w, r->id, DELETED, 0, "") != ends ||
        count_events(w, r->id, DELETED, 2 + updates, "") != ends ||
        count_events(w, r->id, REVOKED, 0, "") != ends) {
        world_broken(w, "the end of the account of request %d was not told once", number);
    }
}

// The end of a session or key was told once, unless it ended with its account.
static void check_end(struct world *w, const char *id, int account, bool over, int number)
{
    int told = count_events(w, w->requests[account].id, REVOKED, 0, id);
    bool removed = !version_of(w, account);
    if (removed ? told > 1 : told != over) {
        world_broken(w, "the end of what request %d made was told %d times", number, told);
    }
}

static void check_all(struct world *w)
{
    int64_t accounts = 1; // the first admin's
    check(w);
    for (int i = 0; i < w->n_requests; i++) {
        const struct request *r = &w->requests[i];
        if (is_settled(w, i, CREATE)) {
            check_history(w, i);
            accounts += version_of(w, i) > 0;
        } else if (is_settled(w, i, LOG_IN)) {
            check_end(w, r->inner, r->of, generation_of(r) < 0, i);
        } else if (is_settled(w, i, KEY)) {
            bool there = life_number("SELECT count(*) FROM api_keys WHERE id = ?1", r->id) == 1;
            check_end(w, r->id, account_of(w, r->of), !there, i);
        }
    }
    int64_t found = life_number("SELECT count(*) FROM users", NULL);
    if (found != accounts) {
        world_broken(w, "the store has %" PRId64 " accounts of %" PRId64, found, accounts);
    }
}

const struct model model = { .store = "users.db",
                             .open = open_service,
                             .next = next,
                             .ask = ask,
                             .answered = answered,
                             .event = on_event,
                             .check = check,
                             .complete = complete,
                             .check_all = check_all };
