// SPDX-License-Identifier: MIT
#include "gateway/transform.h"

#include "gateway/connection.h"
#include "gateway/entity_tag.h"
#include "gateway/grammar.h"
#include "gateway/policy_watch.h"

#include <assert.h>
#include <errno.h>

#define HASH_PRIME UINT64_C(1099511628211) // FNV-1a, as the masks' hashes

// --- Requests

void transform_target(struct exchange *x)
{
    struct gateway *g = x->gateway;
    if (x->policy != g->policy) { // it was read again since the exchange was taken
        policy_unref(&x->policy);
        x->policy = policy_ref(g->policy);
    }
    if (!x->policy) {
        return;
    }
    policy_watch_follow(g->policy_watch);
    if (x->policy->n_rewrites && !x->request.target.asterisk) {
        policy_rewrite(x->policy, &x->request.target);
    }
}

static uint64_t hash_str(uint64_t hash, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        hash = (hash ^ (unsigned char)s.p[i]) * HASH_PRIME;
    }
    return (hash ^ 0xFF) * HASH_PRIME; // a byte that is in no name: tells "a","b" from "ab"
}

// One number for what is left out and chosen, so that the tags of two shapes differ; never 0.
static uint64_t hash_shape(const struct exchange *x)
{
    uint64_t hash = x->fields.p ? hash_str(1, x->fields) : 0;
    for (uint64_t left = x->masks; left; left &= left - 1) {
        hash = (hash ^ x->policy->rules[__builtin_ctzll(left)].mask_hash) * HASH_PRIME;
    }
    return hash ? hash : 1;
}

// Adds each of the comma-separated paths. Returns 0 or field_filter_add()'s error.
static int read_fields(struct str list, struct field_filter *filter)
{
    int rc = 0;
    field_filter_init(filter);
    do {
        const char *comma = list.n ? memchr(list.p, ',', list.n) : NULL;
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        rc = field_filter_add(filter, (struct str){ list.p, n });
        n += comma ? 1 : 0;
        if (comma && n == list.n) {
            rc = -EINVAL; // a comma at the end
        }
        list = (struct str){ list.p + n, list.n - n };
    } while (rc == 0 && list.n);
    return rc;
}

static const char *take_fields(struct exchange *x)
{
    struct target *t = &x->request.target;
    size_t kept = 0;
    bool twice = false;
    for (size_t i = 0; i < t->n_query; i++) {
        if (!str_eq(t->query[i].name, STR(TRANSFORM_FIELDS_PARAMETER))) {
            t->query[kept++] = t->query[i];
        } else {
            twice = twice || x->fields.p;
            x->fields = t->query[i].value;
        }
    }
    t->n_query = kept;
    if (twice) {
        return "The query parameter fields is there twice.";
    }
    return x->fields.p && read_fields(x->fields, &x->gateway->projection)
               ? "The query parameter fields must be names of members, separated by commas, with "
                 "dots for members of members: fields=id,items.sku; at most 95 names, 8 deep."
               : NULL;
}

void transform_route(struct exchange *x)
{
    if (x->policy) {
        x->rules = x->route->policy;
    }
}

const char *transform_query(struct exchange *x)
{
    const struct route_policy *rules = &x->rules;
    const char *wrong = NULL;
    if (!x->policy) {
        return NULL;
    }
    if (rules->masks) {
        struct str role = x->authenticated ? str_of(x->claims.role) : STR("");
        x->masks = policy_masks(x->policy, rules->masks, role);
    }
    if (rules->fields && !x->route->own) {
        wrong = take_fields(x);
    }
    if (x->masks || x->fields.p) {
        x->shape = hash_shape(x);
    }
    return wrong;
}

static struct str request_field(const void *request, struct str name)
{
    return http_request_field(request, name);
}

struct str transform_request_field(const struct exchange *x, struct str name)
{
    return x->rules.request_edits ? policy_request_field(x->policy, x->rules.request_edits,
                                                         request_field, &x->request, name)
                                  : http_request_field(&x->request, name);
}

// --- Representations

bool transform_may_compress(const struct exchange *x)
{
    return compressor_offers(x->gateway->compressor) && x->route && !x->route->sensitive;
}

static struct coding_choice choose_coding(const struct exchange *x)
{
    struct str accepted = http_request_field(&x->request, STR("accept-encoding"));
    if (!accepted.n || !transform_may_compress(x)) {
        return (struct coding_choice){ CODING_IDENTITY, true };
    }
    return coding_accept(accepted, compressor_offers(x->gateway->compressor));
}

static struct str suffix_of(const struct exchange *x, char out[ENTITY_TAG_SUFFIX_MAX])
{
    bool msgpack = !x->route->own && media_is_msgpack(x->accept);
    return entity_tag_suffix(x->shape, msgpack, out);
}

void transform_conditions(struct exchange *x)
{
    char memory[ENTITY_TAG_SUFFIX_MAX];
    struct http_request *r = &x->request;
    for (size_t i = 0; i < r->n_fields; i++) {
        struct http_field *f = &r->fields[i];
        struct str name = { r->text + f->name, f->name_n };
        size_t n = f->value_n;
        if (str_eq(name, STR("if-match"))) {
            entity_tag_strip_all(r->text + f->value, &n);
        } else if (str_eq(name, STR("if-none-match"))) {
            struct coding_choice choice = choose_coding(x);
            bool coded;
            entity_tag_strip(r->text + f->value, &n, suffix_of(x, memory), choice.coding, &coded);
            x->coding = coded ? choice.coding : x->coding; // what a 304 will be about
        }
        f->value_n = (uint16_t)n;
    }
}

void transform_write_etag(struct exchange *x, struct str tag, bool not_modified)
{
    char memory[ENTITY_TAG_SUFFIX_MAX], made[ENTITY_TAG_MAX];
    struct response *r = &x->gateway->response;
    enum coding coding = not_modified || x->is_coded ? x->coding : CODING_IDENTITY;
    struct str etag = entity_tag_make(tag, suffix_of(x, memory), coding, made);
    if (etag.p) {
        response_field(r, STR("ETag"), etag);
    }
}

// --- Bodies

int transform_body(struct exchange *x, struct str body, struct str *ret_body)
{
    struct gateway *g = x->gateway;
    struct buf *from = &g->filtered[0], *to = &g->filtered[1];
    *ret_body = body;
    for (uint64_t left = x->masks; left && body.p; left &= left - 1) {
        buf_reset(to);
        const struct policy_rule *rule = &x->policy->rules[__builtin_ctzll(left)];
        int rc = field_filter_drop(&rule->mask, *ret_body, to);
        if (rc) {
            return rc;
        }
        *ret_body = buf_str(to);
        struct buf *used = to;
        to = from;
        from = used;
    }
    if (!x->fields.p || !body.p) {
        return 0;
    }
    buf_reset(to);
    if (read_fields(x->fields, &g->projection)) {
        return -EBADMSG; // take_fields() has seen that it is well-formed
    }
    int rc = field_filter_keep(&g->projection, *ret_body, to);
    *ret_body = buf_str(to);
    return rc;
}

void transform_compress(struct exchange *x)
{
    struct gateway *g = x->gateway;
    struct buf *body = &g->response.body;
    struct str accepted = http_request_field(&x->request, STR("accept-encoding"));
    x->is_coded = false;
    if (!accepted.n || body->len == 0 || !buf_ok(body)) {
        return;
    }
    bool small = body->len < COMPRESSOR_MIN_BYTES;
    if (small && !memchr(accepted.p, '=', accepted.n)) {
        return; // only "identity;q=0" would make a difference
    }
    struct coding_choice choice = choose_coding(x);
    if (choice.coding == CODING_IDENTITY || (small && choice.identity) ||
        !compressor_apply(g->compressor, choice.coding, !choice.identity, body)) {
        return;
    }
    x->coding = choice.coding;
    x->is_coded = true;
    response_field(&g->response, STR("Content-Encoding"), coding_name(choice.coding));
}

// --- Fields of answers

bool transform_answer_field(const struct exchange *x, struct str *name)
{
    return !x->rules.answer_edits ||
           policy_answer_field(x->policy, x->rules.answer_edits, name) == 0;
}

static bool is_settable(struct str name, int status)
{
    return status < 400 || !str_eq(name, STR("cache-control")); // problems are never cached
}

bool transform_sets(const struct exchange *x, int status, struct str name)
{
    for (uint64_t left = x->rules.answer_edits; left && is_settable(name, status);
         left &= left - 1) {
        if (field_edits_set(&x->policy->rules[__builtin_ctzll(left)].answer, name)) {
            return true;
        }
    }
    return false;
}

struct sets {
    struct response *response;
    int status;
};

static void write_set(void *data, struct str name, struct str value)
{
    const struct sets *s = data;
    if (is_settable(name, s->status)) {
        response_field(s->response, name, value);
    }
}

bool transform_write_fields(struct exchange *x, int status)
{
    struct response *r = &x->gateway->response;
    if (!x->policy) {
        return false;
    }
    if (x->rules.answer_edits) {
        policy_answer_sets(x->policy, x->rules.answer_edits, write_set,
                           &(struct sets){ r, status });
    }
    for (uint64_t left = x->rules.notices; left; left &= left - 1) {
        buf_append_str(&r->head, x->policy->rules[__builtin_ctzll(left)].notice);
    }
    return x->policy->cors.on &&
           cors_write(&x->policy->cors, http_request_field(&x->request, STR("origin")), &r->head);
}

bool transform_is_preflight(const struct exchange *x)
{
    return x->policy && x->policy->cors.on && x->request.method == METHOD_OPTIONS &&
           http_request_field(&x->request, STR("origin")).p &&
           http_request_field(&x->request, STR("access-control-request-method")).p;
}

// --- Traces

bool transform_trusts_trace(const struct exchange *x)
{
    return !x->policy || policy_trusts(&x->policy->trace, connection_client(x->connection));
}

static bool is_request_id(struct str s)
{
    bool ok = s.n > 0 && s.n <= REQUEST_ID_MAX;
    for (size_t i = 0; ok && i < s.n; i++) {
        char c = s.p[i];
        ok = is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
    }
    return ok;
}

struct str transform_request_id(const struct exchange *x)
{
    static const struct str none;
    if (!x->policy) {
        return none;
    }
    struct str id = http_request_field(&x->request, STR("x-request-id"));
    bool taken = is_request_id(id) &&
                 policy_trusts(&x->policy->request_id, connection_client(x->connection));
    return taken ? id : none;
}
