// SPDX-License-Identifier: MIT
#include "gateway/policy_file.h"

#include "common/config.h"
#include "common/file.h"
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

static void take_origin(struct policy_check *c, struct policy_item item, void *target)
{
    struct cors *cors = target;
    struct str s = policy_string(c, item, ORIGIN_ALLOWED);
    if (!s.p) {
        return;
    }
    if (str_eq(s, STR("*"))) {
        cors->any = true;
    } else if (str_eq(s, STR("null"))) {
        policy_mistake(c, item, "\"null\" is the origin of every sandboxed page; allowed: %s",
                       ORIGIN_ALLOWED);
    } else if (!cors_origin_valid(s)) {
        policy_mistake(c, item, "\"%.100s\" is no origin; allowed: %s", s.p, ORIGIN_ALLOWED);
    } else if (cors->origins) {
        cors->origins[cors->n_origins++] = policy_copy(c, s);
    }
}

static void take_origins(struct policy_check *c, struct policy_item item, void *target)
{
    struct cors *cors = target;
    cors->origins = policy_alloc(c, CORS_MAX_ORIGINS * sizeof *cors->origins);
    bool fine = policy_array(c, item, CORS_MAX_ORIGINS, "origins", take_origin, cors);
    if (fine && yyjson_arr_size(item.value) == 0) {
        policy_mistake(c, item, "allows nobody; allowed: at least one origin, or no key \"cors\"");
    } else if (cors->any && yyjson_arr_size(item.value) > 1) {
        policy_mistake(c, item, "\"*\" goes with no other origin; allowed: either");
    }
}

// Appends to a list that is written as it is: target is a struct buf.
static void take_field_name(struct policy_check *c, struct policy_item item, void *target)
{
    struct buf *list = target;
    struct str s = policy_string(c, item, "the name of a header field in lower case");
    if (s.p && (!is_field_name(s) || str_eq(s, STR("*")))) {
        policy_mistake(c, item,
                       "\"%.100s\" is no header field; allowed: a name in lower case, such as "
                       "\"if-match\"",
                       s.p);
    } else if (s.p) {
        buf_append_z(list, list->len ? ", " : "");
        buf_append_str(list, s);
    }
}

static void take_field_names(struct policy_check *c, struct policy_item item, void *target)
{
    struct str *names = target;
    struct buf list;
    buf_init(&list, POLICY_MAX_BYTES);
    if (policy_array(c, item, CORS_MAX_HEADERS, "header fields", take_field_name, &list)) {
        *names = policy_copy(c, buf_str(&list));
    }
    c->no_memory = c->no_memory || !buf_ok(&list);
    buf_fini(&list);
}

static void take_max_age(struct policy_check *c, struct policy_item item, void *target)
{
    static const char allowed[] = "a time up to 24h, such as \"10m\" or \"2h\"";
    int64_t ms;
    struct str s = policy_string(c, item, allowed);
    if (!s.p) {
        return;
    }
    if (config_parse_number(CONFIG_DURATION, s.p, &ms) || ms < 0 ||
        ms / 1000 > CORS_MAX_AGE_LIMIT_S) {
        policy_mistake(c, item, "\"%.100s\" is no such time; allowed: %s", s.p, allowed);
    } else {
        *(int64_t *)target = ms / 1000;
    }
}

static void take_cors(struct policy_check *c, struct policy_item item, void *target)
{
    static const struct policy_key keys[] = {
        { "origins", take_origins, 0 },
        { "headers", take_field_names, offsetof(struct cors, headers) },
        { "expose", take_field_names, offsetof(struct cors, expose) },
        { "credentials", policy_take_bool, offsetof(struct cors, credentials) },
        { "max_age", take_max_age, offsetof(struct cors, max_age_s) },
        { NULL, NULL, 0 },
    };
    struct cors *cors = target;
    *cors = (struct cors){ .on = true,
                           .headers = STR(CORS_HEADERS),
                           .expose = STR(CORS_EXPOSE),
                           .max_age_s = CORS_MAX_AGE_S };
    if (!policy_object(c, item, keys, cors)) {
        return;
    }
    if (!yyjson_obj_get(item.value, "origins")) {
        policy_mistake(c, item, "has no \"origins\"; allowed: an array of origins");
    } else if (cors->any && cors->credentials) {
        policy_mistake(c, item,
                       "every origin with credentials; allowed: \"credentials\" with a list of "
                       "origins only");
    }
}

// --- trace

#define TRUST_ALLOWED "true, false, or an array of addresses and networks, such as \"10.0.0.0/8\""

static void take_network(struct policy_check *c, struct policy_item item, void *target)
{
    struct policy_trust *trust = target;
    struct str s = policy_string(c, item, "an address or a network, such as \"10.0.0.0/8\"");
    if (!s.p || !trust->networks) {
        return;
    }
    if (network_parse(s, &trust->networks[trust->n_networks])) {
        policy_mistake(c, item,
                       "\"%.100s\" is no network; allowed: ADDRESS or ADDRESS/BITS, IPv4 or IPv6, "
                       "with no bits set behind the prefix",
                       s.p);
    } else {
        trust->n_networks++;
    }
}

static void take_trust(struct policy_check *c, struct policy_item item, void *target)
{
    struct policy_trust *trust = target;
    *trust = (struct policy_trust){ .all = yyjson_is_true(item.value) };
    if (yyjson_is_bool(item.value)) {
        return;
    }
    if (!yyjson_is_arr(item.value)) {
        policy_mistake(c, item, "is neither; allowed: %s", TRUST_ALLOWED);
        return;
    }
    trust->networks = policy_alloc(c, POLICY_MAX_NETWORKS * sizeof *trust->networks);
    (void)policy_array(c, item, POLICY_MAX_NETWORKS, "networks", take_network, trust); // it said so
}

static void take_trace(struct policy_check *c, struct policy_item item, void *target)
{
    static const struct policy_key keys[] = {
        { "trust_inbound", take_trust, offsetof(struct policy, trace) },
        { "trust_request_id", take_trust, offsetof(struct policy, request_id) },
        { NULL, NULL, 0 },
    };
    (void)policy_object(c, item, keys, target); // it said so
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

// Cuts a path into segments that the policy owns; "/" has none.
static bool cut(struct policy_check *c, struct str path, struct str *segments, size_t *ret_n)
{
    size_t n = 0;
    bool ok = path.n > 0 && path.p[0] == '/';
    path = policy_copy(c, path);
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
    *ret_n = n;
    return ok;
}

static void take_from(struct policy_check *c, struct policy_item item, void *target)
{
    struct policy_rewrite *w = target;
    struct str s = policy_string(c, item, "a path, such as \"/api/v2\"");
    if (s.p && (!cut(c, s, w->from, &w->n_from) || w->n_from == 0)) {
        policy_mistake(c, item, "\"%.100s\" is no such prefix; allowed: " PREFIX_ALLOWED, s.p);
    }
}

static void take_to(struct policy_check *c, struct policy_item item, void *target)
{
    struct policy_rewrite *w = target;
    struct str s = policy_string(c, item, "a path, such as \"/v1\"");
    if (s.p && !cut(c, s, w->to, &w->n_to)) {
        policy_mistake(c, item, "\"%.100s\" is no such prefix; allowed: \"/\", or " PREFIX_ALLOWED,
                       s.p);
    }
}

static void take_rewrite(struct policy_check *c, struct policy_item item, void *target)
{
    static const struct policy_key keys[] = {
        { "from", take_from, 0 },
        { "to", take_to, 0 },
        { NULL, NULL, 0 },
    };
    struct policy *p = target;
    if (p->rewrites && policy_object(c, item, keys, &p->rewrites[p->n_rewrites])) {
        if (!yyjson_obj_get(item.value, "from") || !yyjson_obj_get(item.value, "to")) {
            policy_mistake(c, item, "is not complete; allowed: \"from\" and \"to\"");
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
static void check_chains(struct policy_check *c, struct policy_item item, const struct policy *p)
{
    for (size_t i = 0; i < p->n_rewrites; i++) {
        const struct policy_rewrite *w = &p->rewrites[i];
        for (size_t k = 0; k < p->n_rewrites; k++) {
            const struct policy_rewrite *other = &p->rewrites[k];
            if (begins_with(w->to, w->n_to, other->from, other->n_from)) {
                policy_mistake(c, item,
                               "[%zu].to begins with [%zu].from, but a path is rewritten once; "
                               "allowed: \"to\" that no \"from\" is the beginning of",
                               i, k);
            }
            if (k < i && w->n_from == other->n_from &&
                begins_with(w->from, w->n_from, other->from, other->n_from)) {
                policy_mistake(c, item, "[%zu].from and [%zu].from are the same; allowed: once", k,
                               i);
            }
        }
    }
}

static void take_rewrites(struct policy_check *c, struct policy_item item, void *target)
{
    struct policy *p = target;
    p->rewrites = policy_alloc(c, POLICY_MAX_REWRITES * sizeof *p->rewrites);
    if (policy_array(c, item, POLICY_MAX_REWRITES, "rewrites", take_rewrite, p)) {
        check_chains(c, item, p);
    }
}

// --- The file

static void take_all(struct policy_check *c, yyjson_val *root)
{
    static const struct policy_key keys[] = {
        { "cors", take_cors, offsetof(struct policy, cors) },
        { "trace", take_trace, 0 },
        { "rewrite", take_rewrites, 0 },
        { "routes", policy_take_rules, 0 },
        { NULL, NULL, 0 },
    };
    (void)policy_object(c, (struct policy_item){ root, 0 }, keys, c->policy); // it said so
}

// parsed is a copy of the text with YYJSON_PADDING_SIZE bytes behind it, which is written to.
static void check(struct policy_check *c, char *parsed)
{
    yyjson_read_err error;
    yyjson_doc *doc = yyjson_read_opts(
        parsed, c->text.n, YYJSON_READ_INSITU | YYJSON_READ_NUMBER_AS_RAW, NULL, &error);
    c->parsed = parsed;
    if (doc) {
        take_all(c, yyjson_doc_get_root(doc));
        yyjson_doc_free(doc);
    } else if (error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
        c->no_memory = true;
    } else {
        policy_mistake(c, (struct policy_item){ NULL, error.pos },
                       "is not JSON: %s; allowed: one JSON object", error.msg);
    }
}

int policy_file_parse(const char *name, struct str text, struct buf *mistakes,
                      struct policy **ret_policy)
{
    struct policy_check c = { .file = name, .text = text, .mistakes = mistakes };
    char *parsed = calloc(1, text.n + YYJSON_PADDING_SIZE);
    c.policy = policy_new();
    if (!parsed || !c.policy) {
        c.no_memory = true;
    } else {
        if (text.n) {
            memcpy(parsed, text.p, text.n);
        }
        check(&c, parsed);
    }
    free(parsed);
    if (c.n_mistakes > POLICY_MAX_MISTAKES) {
        buf_printf(mistakes, "%s: and %zu more mistakes\n", name,
                   c.n_mistakes - POLICY_MAX_MISTAKES);
    }
    if (c.no_memory || c.n_mistakes) {
        policy_unref(&c.policy);
        return c.no_memory ? -ENOMEM : -EINVAL;
    }
    *ret_policy = c.policy;
    return 0;
}

int policy_file_read(const char *path, struct buf *mistakes, struct policy **ret_policy)
{
    struct buf content;
    buf_init(&content, POLICY_MAX_BYTES);
    int rc = file_read(path, POLICY_MAX_BYTES, &content);
    if (rc == -EFBIG) {
        buf_printf(mistakes, "%s:1:1: is too large; allowed: %d bytes\n", path, POLICY_MAX_BYTES);
    } else if (rc && rc != -ENOMEM) {
        buf_printf(mistakes, "%s:1:1: cannot be read: %s; allowed: a file of this gateway's user\n",
                   path, strerror(-rc));
    }
    rc = rc == 0         ? policy_file_parse(path, buf_str(&content), mistakes, ret_policy)
         : rc == -ENOMEM ? rc
                         : -EINVAL;
    buf_fini(&content);
    return rc;
}
