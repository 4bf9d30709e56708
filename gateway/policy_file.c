// SPDX-License-Identifier: MIT
#include "gateway/policy_file.h"

#include "common/config.h"
#include "gateway/grammar.h"
#include "gateway/policy_rules.h"
#include "gateway/response.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

// What CORS allows when the file does not say otherwise: the fields that this API lives on.
#define CORS_HEADERS "authorization, content-type, idempotency-key, if-match, if-none-match"
#define CORS_EXPOSE                                                                                \
    "etag, link, location, retry-after, x-request-id, deprecation, sunset, idempotency-replayed"
#define CORS_MAX_AGE_S 600
#define CORS_MAX_AGE_LIMIT_S 86400 // browsers cap it below, at two hours or one day
#define CORS_MAX_HEADERS 64

// --- cors

#define ORIGIN_ALLOWED                                                                             \
    "\"*\", or SCHEME://HOST[:PORT] as browsers write it (http or https, lower case, nothing "     \
    "behind it), such as \"https://shop.example\""

static void take_origin(struct json_check *c, struct json_item item, void *target)
{
    struct cors *cors = target;
    struct str s = json_string(c, item, ORIGIN_ALLOWED);
    if (!s.p) {
        return;
    }
    if (str_eq(s, STR("*"))) {
        cors->any = true;
    } else if (str_eq(s, STR("null"))) {
        json_mistake(c, item, "\"null\" is the origin of every sandboxed page; allowed: %s",
                     ORIGIN_ALLOWED);
    } else if (!cors_origin_valid(s)) {
        json_mistake(c, item, "\"%.100s\" is no origin; allowed: %s", s.p, ORIGIN_ALLOWED);
    } else if (cors->origins) {
        cors->origins[cors->n_origins++] = json_copy(c, s);
    }
}

static void take_origins(struct json_check *c, struct json_item item, void *target)
{
    struct cors *cors = target;
    cors->origins = json_alloc(c, CORS_MAX_ORIGINS * sizeof *cors->origins);
    bool fine = json_array(c, item, CORS_MAX_ORIGINS, "origins", take_origin, cors);
    if (fine && yyjson_arr_size(item.value) == 0) {
        json_mistake(c, item, "allows nobody; allowed: at least one origin, or no key \"cors\"");
    } else if (cors->any && yyjson_arr_size(item.value) > 1) {
        json_mistake(c, item, "\"*\" goes with no other origin; allowed: either");
    }
}

// Appends to a list that is written as it is: target is a struct buf.
static void take_field_name(struct json_check *c, struct json_item item, void *target)
{
    struct buf *list = target;
    struct str s = json_string(c, item, "the name of a header field in lower case");
    if (s.p && (!is_field_name(s) || str_eq(s, STR("*")))) {
        json_mistake(c, item,
                     "\"%.100s\" is no header field; allowed: a name in lower case, such as "
                     "\"if-match\"",
                     s.p);
    } else if (s.p) {
        buf_append_z(list, list->len ? ", " : "");
        buf_append_str(list, s);
    }
}

static void take_field_names(struct json_check *c, struct json_item item, void *target)
{
    struct str *names = target;
    struct buf list;
    buf_init(&list, POLICY_MAX_BYTES);
    if (json_array(c, item, CORS_MAX_HEADERS, "header fields", take_field_name, &list)) {
        *names = json_copy(c, buf_str(&list));
    }
    c->no_memory = c->no_memory || !buf_ok(&list);
    buf_fini(&list);
}

static void take_max_age(struct json_check *c, struct json_item item, void *target)
{
    static const char allowed[] = "a time up to 24h, such as \"10m\" or \"2h\"";
    int64_t ms;
    struct str s = json_string(c, item, allowed);
    if (!s.p) {
        return;
    }
    if (config_parse_number(CONFIG_DURATION, s.p, &ms) || ms < 0 ||
        ms / 1000 > CORS_MAX_AGE_LIMIT_S) {
        json_mistake(c, item, "\"%.100s\" is no such time; allowed: %s", s.p, allowed);
    } else {
        *(int64_t *)target = ms / 1000;
    }
}

static void take_cors(struct json_check *c, struct json_item item, void *target)
{
    static const struct json_key keys[] = {
        { "origins", take_origins, 0 },
        { "headers", take_field_names, offsetof(struct cors, headers) },
        { "expose", take_field_names, offsetof(struct cors, expose) },
        { "credentials", json_take_bool, offsetof(struct cors, credentials) },
        { "max_age", take_max_age, offsetof(struct cors, max_age_s) },
        { NULL, NULL, 0 },
    };
    struct cors *cors = target;
    *cors = (struct cors){ .on = true,
                           .headers = STR(CORS_HEADERS),
                           .expose = STR(CORS_EXPOSE),
                           .max_age_s = CORS_MAX_AGE_S };
    if (!json_object(c, item, keys, cors)) {
        return;
    }
    if (!yyjson_obj_get(item.value, "origins")) {
        json_mistake(c, item, "has no \"origins\"; allowed: an array of origins");
    } else if (cors->any && cors->credentials) {
        json_mistake(c, item,
                     "every origin with credentials; allowed: \"credentials\" with a list of "
                     "origins only");
    }
}

// --- trace

#define TRUST_ALLOWED "true, false, or an array of addresses and networks, such as \"10.0.0.0/8\""

static void take_network(struct json_check *c, struct json_item item, void *target)
{
    struct policy_trust *trust = target;
    struct str s = json_string(c, item, "an address or a network, such as \"10.0.0.0/8\"");
    if (!s.p || !trust->networks) {
        return;
    }
    if (network_parse(s, &trust->networks[trust->n_networks])) {
        json_mistake(c, item,
                     "\"%.100s\" is no network; allowed: ADDRESS or ADDRESS/BITS, IPv4 or IPv6, "
                     "with no bits set behind the prefix",
                     s.p);
    } else {
        trust->n_networks++;
    }
}

static void take_trust(struct json_check *c, struct json_item item, void *target)
{
    struct policy_trust *trust = target;
    *trust = (struct policy_trust){ .all = yyjson_is_true(item.value) };
    if (yyjson_is_bool(item.value)) {
        return;
    }
    if (!yyjson_is_arr(item.value)) {
        json_mistake(c, item, "is neither; allowed: %s", TRUST_ALLOWED);
        return;
    }
    trust->networks = json_alloc(c, POLICY_MAX_NETWORKS * sizeof *trust->networks);
    (void)json_array(c, item, POLICY_MAX_NETWORKS, "networks", take_network, trust); // it said so
}

static void take_trace(struct json_check *c, struct json_item item, void *target)
{
    static const struct json_key keys[] = {
        { "trust_inbound", take_trust, offsetof(struct policy, trace) },
        { "trust_request_id", take_trust, offsetof(struct policy, request_id) },
        { NULL, NULL, 0 },
    };
    (void)json_object(c, item, keys, target); // it said so
}

// --- rewrite

#define PREFIX_ALLOWED                                                                             \
    "a path of at most 16 segments without {parameters}, %%, ? or a / at the end, such as \"/v1\""

struct prefix {
    struct str *segments;
    size_t *n;
    struct str text;
};

static bool segment_valid(struct str s)
{
    bool ok = s.n > 0 && !str_eq(s, STR(".")) && !str_eq(s, STR(".."));
    for (size_t i = 0; ok && i < s.n; i++) {
        char ch = s.p[i];
        ok = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
             (ch != '\0' && strchr("-._~:@", ch));
    }
    return ok;
}

// Cuts a path into segments that the policy owns; "/" has none, and neither has what is no path.
static bool cut(struct json_check *c, struct str path, struct str *segments, size_t *ret_n)
{
    size_t n = 0;
    bool ok = path.n > 0 && path.p[0] == '/';
    path = json_copy(c, path);
    while (ok && path.p && path.n > 1) {
        const char *slash = memchr(path.p + 1, '/', path.n - 1);
        size_t length = slash ? (size_t)(slash - path.p) - 1 : path.n - 1;
        struct str segment = { path.p + 1, length };
        ok = segment_valid(segment) && n < HTTP_MAX_SEGMENTS;
        if (ok) {
            segments[n++] = segment;
        }
        path = (struct str){ path.p + 1 + length, path.n - 1 - length };
        ok = ok && path.n != 1; // a slash at the end
    }
    *ret_n = ok ? n : 0;
    return ok;
}

static void take_from(struct json_check *c, struct json_item item, void *target)
{
    struct policy_rewrite *w = target;
    struct str s = json_string(c, item, "a path, such as \"/api/v2\"");
    if (s.p && (!cut(c, s, w->from, &w->n_from) || w->n_from == 0)) {
        json_mistake(c, item, "\"%.100s\" is no such prefix; allowed: " PREFIX_ALLOWED, s.p);
    }
}

static void take_to(struct json_check *c, struct json_item item, void *target)
{
    struct policy_rewrite *w = target;
    struct str s = json_string(c, item, "a path, such as \"/v1\"");
    if (s.p && !cut(c, s, w->to, &w->n_to)) {
        json_mistake(c, item, "\"%.100s\" is no such prefix; allowed: \"/\", or " PREFIX_ALLOWED,
                     s.p);
    }
}

static void take_rewrite(struct json_check *c, struct json_item item, void *target)
{
    static const struct json_key keys[] = {
        { "from", take_from, 0 },
        { "to", take_to, 0 },
        { NULL, NULL, 0 },
    };
    struct policy *p = target;
    if (p->rewrites && json_object(c, item, keys, &p->rewrites[p->n_rewrites])) {
        if (!yyjson_obj_get(item.value, "from") || !yyjson_obj_get(item.value, "to")) {
            json_mistake(c, item, "is not complete; allowed: \"from\" and \"to\"");
        }
        p->n_rewrites++;
    }
}

static bool begins_with(const struct str *a, size_t n, const struct str *prefix, size_t prefix_n)
{
    bool ok = prefix_n > 0 && prefix_n <= n;
    for (size_t i = 0; ok && i < prefix_n; i++) {
        ok = str_eq(a[i], prefix[i]);
    }
    return ok;
}

// A rewrite is applied once, so nothing goes round in circles; but whoever writes a chain expects
// it to be followed.
static void check_chains(struct json_check *c, struct json_item item, const struct policy *p)
{
    for (size_t i = 0; i < p->n_rewrites; i++) {
        const struct policy_rewrite *w = &p->rewrites[i];
        for (size_t k = 0; k < p->n_rewrites; k++) {
            const struct policy_rewrite *other = &p->rewrites[k];
            if (begins_with(w->to, w->n_to, other->from, other->n_from)) {
                json_mistake(c, item,
                             "[%zu].to begins with [%zu].from, but a path is rewritten once; "
                             "allowed: \"to\" that no \"from\" is the beginning of",
                             i, k);
            }
            if (k < i && w->n_from == other->n_from &&
                begins_with(w->from, w->n_from, other->from, other->n_from)) {
                json_mistake(c, item, "[%zu].from and [%zu].from are the same; allowed: once", k,
                             i);
            }
        }
    }
}

static void take_rewrites(struct json_check *c, struct json_item item, void *target)
{
    struct policy *p = target;
    p->rewrites = json_alloc(c, POLICY_MAX_REWRITES * sizeof *p->rewrites);
    if (json_array(c, item, POLICY_MAX_REWRITES, "rewrites", take_rewrite, p)) {
        check_chains(c, item, p);
    }
}

// --- The file

static void take_all(struct json_check *c, struct json_item root, void *target)
{
    static const struct json_key keys[] = {
        { "cors", take_cors, offsetof(struct policy, cors) },
        { "trace", take_trace, 0 },
        { "rewrite", take_rewrites, 0 },
        { "routes", policy_take_rules, 0 },
        { NULL, NULL, 0 },
    };
    (void)json_object(c, root, keys, target); // it said so
}

// text: NULL for the file's.
static int parse(const char *file, const struct str *text, struct buf *mistakes,
                 struct policy **ret_policy)
{
    struct policy *policy = policy_new();
    if (!policy) {
        return -ENOMEM;
    }
    struct json_check c = { .file = file, .mistakes = mistakes, .memory = &policy->memory };
    int rc = text ? json_check_text(&c, *text, take_all, policy)
                  : json_check_file(&c, POLICY_MAX_BYTES, take_all, policy);
    if (rc) {
        policy_unref(&policy);
        return rc;
    }
    *ret_policy = policy;
    return 0;
}

int policy_file_parse(const char *name, struct str text, struct buf *mistakes,
                      struct policy **ret_policy)
{
    return parse(name, &text, mistakes, ret_policy);
}

int policy_file_read(const char *path, struct buf *mistakes, struct policy **ret_policy)
{
    return parse(path, NULL, mistakes, ret_policy);
}
