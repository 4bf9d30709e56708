// SPDX-License-Identifier: MIT
#include "services/users/api_keys.h"

#include "common/log.h"
#include "proto/users.h"
#include "services/users/sessions.h"
#include "services/users/users_store.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

// Keys removed in one transaction, as with sessions.
#define EXPIRE_BATCH 1000

static struct api_key shown(const struct api_key_record *k)
{
    struct api_key answer = { .id = str_of(k->id),
                              .name = str_of(k->name),
                              .scope = str_of(k->scope),
                              .hint = str_of(k->hint),
                              .created_at = k->created_ms };
    if (k->expires_ms != INT64_MAX) {
        answer.expires_at = k->expires_ms;
        answer.head.present |= MESSAGE_BIT(api_key, expires_at);
    }
    return answer;
}

// --- Making

// Returns 1 when who asks has logged in, 0 after answering 403, or a negative errno.
static int require_session(struct call *c)
{
    const struct principal *p = call_principal(c);
    int r = session_exists(call_db(c), p->session, p->id);
    return r == 0 ? call_problem(c, PROBLEM_FORBIDDEN, "Only who has logged in makes API keys.")
                  : r;
}

int on_api_key_create_read(struct call *c)
{
    const struct api_key_create *in = call_body(c);
    const char *wrong = api_key_scope_check(in->scope);
    int r = require_session(c);
    if (r <= 0) {
        return r;
    }
    if (wrong) {
        return call_invalid_field(c, "#/scope", wrong);
    }
    if (MESSAGE_HAS(in, api_key_create, expires_at) && in->expires_at <= call_now_ms(c)) {
        return call_invalid_field(c, "#/expires_at", "is over; allowed: a time to come, or none");
    }
    return 0;
}

static int insert_key(struct call *c, struct api_key_record *k, char text[API_KEY_TEXT + 1])
{
    const struct api_key_create *in = call_body(c);
    k->created_ms = call_now_ms(c);
    k->expires_ms = MESSAGE_HAS(in, api_key_create, expires_at) ? in->expires_at : INT64_MAX;
    uuid_v7(k->created_ms, k->id);
    (void)snprintf(k->user_id, sizeof k->user_id, "%.*s", STR_ARG(call_principal(c)->id));
    (void)snprintf(k->name, sizeof k->name, "%.*s", STR_ARG(in->name)); // the message's limits
    (void)snprintf(k->scope, sizeof k->scope, "%.*s", STR_ARG(in->scope));
    api_key_make(text);
    (void)snprintf(k->hint, sizeof k->hint, "%.*s", API_KEY_HINT, text);
    int r = api_key_hash(str_of(text), k->hash);
    return r ? r : api_key_insert(call_db(c), k);
}

int on_api_key_create_write(struct call *c)
{
    struct api_key_record k;
    char text[API_KEY_TEXT + 1];
    int r = require_session(c); // it may have ended since
    if (r <= 0) {
        return r;
    }
    r = insert_key(c, &k, text);
    if (r == 0) {
        struct api_key answer = shown(&k);
        answer.key = str_of(text);
        answer.head.present |= MESSAGE_BIT(api_key, key);
        log_write(LEVEL_INFO, call_trace(c), "user %s made API key %s (%s), scope %s", k.user_id,
                  k.id, k.hint, k.scope);
        call_reply_header(c, "location", "/v1/api-keys/%s", k.id);
        call_reply_header(c, "cache-control", "no-store");
        call_reply(c, 201, &api_key_message, &answer);
    }
    sodium_memzero(text, sizeof text);
    return r == -ENOSPC ? call_problem(c, PROBLEM_TOO_MANY_API_KEYS, NULL) : r;
}

// --- Looking and revoking

int on_api_key_list(struct call *c)
{
    struct api_key_record *keys = call_alloc(c, API_KEYS_PER_ACCOUNT * sizeof *keys);
    struct api_key_list *list = call_alloc(c, sizeof *list);
    if (!keys || !list) {
        return -ENOMEM;
    }
    int n = api_keys_list(call_db(c), call_principal(c)->id, keys);
    if (n < 0) {
        return n;
    }
    for (list->n_items = 0; list->n_items < (size_t)n; list->n_items++) {
        list->items[list->n_items] = shown(&keys[list->n_items]);
    }
    return call_reply(c, 200, &api_key_list_message, list);
}

int on_api_key_delete_write(struct call *c)
{
    struct str id = call_param(c, 0), user_id = call_principal(c)->id;
    int r = api_key_delete(call_db(c), id, user_id);
    if (r == 0) {
        return call_problem(c, PROBLEM_NOT_FOUND, NULL);
    }
    if (r > 0) {
        r = session_revoked_event(c, user_id, id);
    }
    return r < 0 ? r : call_reply_empty(c, 204);
}

int on_api_keys_expire(struct db *db, int64_t now_ms, void *data)
{
    (void)data;
    int r = api_keys_delete_expired(db, now_ms, EXPIRE_BATCH);
    return r < 0 ? r : 0;
}

// --- What gateways ask

int on_api_key_check(struct call *c)
{
    const struct api_key_check *in = call_body(c);
    struct api_key_record k;
    uint8_t hash[API_KEY_HASH_BYTES];
    char role[8];
    size_t n;
    if (base64url_decode(in->hash, hash, sizeof hash, &n) || n != sizeof hash) {
        return call_invalid_field(c, "#/hash", "is not the base64url of 32 bytes");
    }
    int r = api_key_by_hash(call_db(c), hash, &k, role);
    if (r < 0) {
        return r;
    }
    if (r == 0 || k.expires_ms <= call_now_ms(c)) {
        return call_problem(c, PROBLEM_NOT_FOUND, NULL);
    }
    struct api_key_owner answer = { .id = str_of(k.id),
                                    .user_id = str_of(k.user_id),
                                    .role = str_of(role),
                                    .scope = str_of(k.scope) };
    if (k.expires_ms != INT64_MAX) {
        answer.expires_at = k.expires_ms;
        answer.head.present |= MESSAGE_BIT(api_key_owner, expires_at);
    }
    return call_reply(c, 200, &api_key_owner_message, &answer);
}
