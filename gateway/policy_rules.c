// SPDX-License-Identifier: MIT
#include "gateway/policy_rules.h"

#include "common/json_text.h"
#include "gateway/grammar.h"
#include "gateway/hello_check.h"
#include "gateway/response.h"
#include "proto/timestamp.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define MAX_PATHS 64                              // of one mask
#define HASH_START UINT64_C(14695981039346656037) // FNV-1a
#define HASH_PRIME UINT64_C(1099511628211)

// --- method and path

static void take_method(struct json_check *c, struct json_item item, void *target)
{
    struct policy_rule *rule = target;
    struct str s = json_string(c, item, "*, GET, POST, PUT, PATCH, DELETE");
    if (!s.p) {
        return;
    }
    enum method method = method_find(s);
    if (str_eq(s, STR("*"))) {
        rule->methods = (1U << METHOD_ROUTED) - 1;
    } else if (method < METHOD_ROUTED) {
        rule->methods = 1U << method;
    } else {
        json_mistake(c, item,
                     "\"%.32s\" is no method of a route; allowed: *, GET, POST, PUT, "
                     "PATCH, DELETE",
                     s.p);
    }
}

static bool literal_valid(struct str s)
{
    bool ok = s.n > 0 && !str_eq(s, STR(".")) && !str_eq(s, STR(".."));
    for (size_t i = 0; ok && i < s.n; i++) {
        char ch = s.p[i];
        ok = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
             (ch != '\0' && strchr("-._~:@", ch));
    }
    return ok;
}

static bool pattern_valid(struct str pattern)
{
    bool ok = true;
    while (ok && pattern.n) {
        bool parameter;
        struct str segment = pattern_next(&pattern, &parameter);
        ok = literal_valid(parameter ? (struct str){ segment.p + 1, segment.n - 2 } : segment);
    }
    return ok;
}

static void take_path(struct json_check *c, struct json_item item, void *target)
{
    static const char allowed[] =
        "a pattern as the route announces it (\"/v1/orders/{id}\"), or a prefix of one with /* "
        "behind it (\"/v1/orders/*\")";
    struct policy_rule *rule = target;
    struct str s = json_string(c, item, allowed);
    if (!s.p) {
        return;
    }
    struct str path = s;
    rule->below = path.n >= 2 && path.p[path.n - 2] == '/' && path.p[path.n - 1] == '*';
    path.n -= rule->below ? 2 : 0;
    bool whole = rule->below ? path.n == 0 : str_eq(path, STR("/"));
    if (!whole && (path.n == 0 || path.p[0] != '/' || !pattern_valid(path))) {
        json_mistake(c, item, "\"%.100s\" is no such path; allowed: %s", s.p, allowed);
    } else {
        rule->path = json_copy(c, path);
    }
}

// --- Header fields

struct edits {
    struct field_edits *edits;
    enum field_edit_kind kind;
    bool response;
};

static bool is_taken(const struct field_edits *e, struct str name)
{
    for (size_t i = 0; i < e->n; i++) {
        if (str_eq(e->edits[i].name, name) ||
            (e->edits[i].kind == FIELD_RENAME && str_eq(e->edits[i].value, name))) {
            return true;
        }
    }
    return false;
}

static bool check_field_name(struct json_check *c, struct json_item item, struct str name,
                             const struct edits *into)
{
    const char *why = is_field_name(name) ? field_edits_refusal(name, into->response) : NULL;
    if (!is_field_name(name)) {
        json_mistake(c, item,
                     "\"%.100s\" is no header field; allowed: a name in lower case, such as "
                     "\"x-tenant\"",
                     name.p);
    } else if (why) {
        json_mistake(c, item,
                     "\"%s\" %s; allowed: fields that neither frame a message nor belong to one "
                     "connection or to the gateway",
                     name.p, why);
    } else if (is_taken(into->edits, name)) {
        json_mistake(c, item, "\"%s\" is edited twice; allowed: once in a rule", name.p);
    } else {
        return true;
    }
    return false;
}

static void add_edit(struct json_check *c, struct edits *into, struct str name, struct str value)
{
    struct field_edits *e = into->edits;
    if (e->edits) {
        e->edits[e->n++] = (struct field_edit){ into->kind, json_copy(c, name),
                                                value.p ? json_copy(c, value) : value };
    }
}

static struct str key_of(struct json_item key)
{
    return json_text(key.value);
}

static void take_set(struct json_check *c, struct json_item key, struct json_item value,
                     void *target)
{
    struct str s = json_string(c, value, "a string");
    if (!check_field_name(c, key, key_of(key), target) || !s.p) {
        return;
    }
    if (!response_value_valid(s) || s.n > FIELD_EDIT_VALUE_MAX) {
        json_mistake(c, value,
                     "is no value of a header field; allowed: at most %d bytes without "
                     "control characters",
                     FIELD_EDIT_VALUE_MAX);
        return;
    }
    add_edit(c, target, key_of(key), s);
}

static void take_rename(struct json_check *c, struct json_item key, struct json_item value,
                        void *target)
{
    struct edits *into = target;
    struct str s = json_string(c, value, "the new name of the field, in lower case");
    if (!check_field_name(c, key, key_of(key), into) || !s.p) {
        return;
    }
    if (str_eq(s, key_of(key))) {
        json_mistake(c, value, "is the old name; allowed: another one");
    } else if (check_field_name(c, value, s, into)) {
        add_edit(c, into, key_of(key), s);
    }
}

static void take_remove(struct json_check *c, struct json_item item, void *target)
{
    struct str s = json_string(c, item, "the name of a header field in lower case");
    if (s.p && check_field_name(c, item, s, target)) {
        add_edit(c, target, s, (struct str){ NULL, 0 });
    }
}

static void take_sets(struct json_check *c, struct json_item item, void *target)
{
    ((struct edits *)target)->kind = FIELD_SET;
    (void)json_members(c, item, FIELD_EDITS_MAX, take_set, target); // it said so
}

static void take_removes(struct json_check *c, struct json_item item, void *target)
{
    ((struct edits *)target)->kind = FIELD_REMOVE;
    (void)json_array(c, item, FIELD_EDITS_MAX, "header fields", take_remove, target);
}

static void take_renames(struct json_check *c, struct json_item item, void *target)
{
    ((struct edits *)target)->kind = FIELD_RENAME;
    (void)json_members(c, item, FIELD_EDITS_MAX, take_rename, target);
}

// Renames first, then removes, then sets, in whatever order the file has them.
static void sort(struct field_edits *e)
{
    for (size_t i = 1; i < e->n; i++) {
        struct field_edit edit = e->edits[i];
        size_t k = i;
        for (; k > 0 && e->edits[k - 1].kind > edit.kind; k--) {
            e->edits[k] = e->edits[k - 1];
        }
        e->edits[k] = edit;
    }
}

static void take_headers(struct json_check *c, struct json_item item, struct field_edits *edits,
                         bool response)
{
    static const struct json_key keys[] = {
        { "set", take_sets, 0 },
        { "remove", take_removes, 0 },
        { "rename", take_renames, 0 },
        { NULL, NULL, 0 },
    };
    struct edits into = { edits, FIELD_SET, response };
    edits->edits = json_alloc(c, 3 * (size_t)FIELD_EDITS_MAX * sizeof *edits->edits);
    if (json_object(c, item, keys, &into)) {
        sort(edits);
    }
}

static void take_request_headers(struct json_check *c, struct json_item item, void *target)
{
    take_headers(c, item, target, false);
}

static void take_answer_headers(struct json_check *c, struct json_item item, void *target)
{
    take_headers(c, item, target, true);
}

static void take_request(struct json_check *c, struct json_item item, void *target)
{
    static const struct json_key keys[] = { { "headers", take_request_headers, 0 },
                                            { NULL, NULL, 0 } };
    (void)json_object(c, item, keys, target); // it said so
}

static void take_answer(struct json_check *c, struct json_item item, void *target)
{
    static const struct json_key keys[] = { { "headers", take_answer_headers, 0 },
                                            { NULL, NULL, 0 } };
    (void)json_object(c, item, keys, target);
}

// --- mask

static void take_mask_path(struct json_check *c, struct json_item item, void *target)
{
    static const char allowed[] =
        "names of letters, digits, _ and - with dots between them, at most 8, such as \"email\" or "
        "\"items[].price\"; in one mask at most 95 names";
    struct policy_rule *rule = target;
    struct str s = json_string(c, item, allowed);
    if (!s.p) {
        return;
    }
    struct str path = json_copy(c, s);
    if (path.p && field_filter_add(&rule->mask, path)) {
        json_mistake(c, item, "\"%.100s\" is no path of a member, or one too many; allowed: %s",
                     s.p, allowed);
    }
    for (size_t i = 0; i <= s.n; i++) { // with its NUL, which tells "a" and "b" from "ab"
        rule->mask_hash = (rule->mask_hash ^ (unsigned char)s.p[i]) * HASH_PRIME;
    }
}

static void take_mask_paths(struct json_check *c, struct json_item item, void *target)
{
    struct policy_rule *rule = target;
    field_filter_init(&rule->mask);
    rule->masked = true;
    rule->mask_hash = HASH_START;
    if (json_array(c, item, MAX_PATHS, "paths", take_mask_path, rule) &&
        yyjson_arr_size(item.value) == 0) {
        json_mistake(c, item, "masks nothing; allowed: at least one path, or no key \"mask\"");
    }
}

static void take_role(struct json_check *c, struct json_item item, void *target)
{
    struct policy_rule *rule = target;
    struct str s = json_string(c, item, "the name of a role, such as \"admin\"");
    if (s.p && (s.n == 0 || s.n > 64)) {
        json_mistake(c, item, "is no role; allowed: 1 to 64 bytes, such as \"admin\"");
    } else if (s.p && rule->roles) {
        rule->roles[rule->n_roles++] = json_copy(c, s);
    }
}

static void take_roles(struct json_check *c, struct json_item item, void *target)
{
    struct policy_rule *rule = target;
    rule->roles = json_alloc(c, POLICY_MAX_ROLES * sizeof *rule->roles);
    (void)json_array(c, item, POLICY_MAX_ROLES, "roles", take_role, rule); // it said so
}

static void take_mask(struct json_check *c, struct json_item item, void *target)
{
    static const struct json_key keys[] = {
        { "fields", take_mask_paths, 0 },
        { "unless_roles", take_roles, 0 },
        { NULL, NULL, 0 },
    };
    if (json_object(c, item, keys, target) && !yyjson_obj_get(item.value, "fields")) {
        json_mistake(c, item, "has no \"fields\"; allowed: an array of paths");
    }
}

// --- deprecation, sunset, link

#define TIME_ALLOWED "a day (\"2027-01-31\") or a time (\"2027-01-31T12:00:00Z\")"

// What a rule says about the end of a route, until its fields are written.
struct notice {
    struct policy_rule *rule;
    int64_t deprecation_s, sunset_s; // -1: not said
    struct str link;
};

static void take_time(struct json_check *c, struct json_item item, void *target)
{
    char text[64];
    int64_t ms;
    struct str s = json_string(c, item, TIME_ALLOWED);
    if (!s.p) {
        return;
    }
    int n = snprintf(text, sizeof text, "%.40s%s", s.p, s.n == 10 ? "T00:00:00Z" : "");
    if (s.n > 40 || timestamp_parse((struct str){ text, (size_t)n }, &ms)) {
        json_mistake(c, item, "\"%.64s\" is no time; allowed: %s", s.p, TIME_ALLOWED);
    } else {
        *(int64_t *)target = ms / 1000;
    }
}

static void take_link(struct json_check *c, struct json_item item, void *target)
{
    static const char allowed[] = "a URL or a path that tells what to do, such as "
                                  "\"https://example.com/migrate\"";
    struct str s = json_string(c, item, allowed);
    bool ok = s.n > 0 && s.n <= FIELD_EDIT_VALUE_MAX &&
              (str_starts(s, STR("https://")) || str_starts(s, STR("http://")) || s.p[0] == '/');
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = s.p[i] > 0x20 && s.p[i] < 0x7F && !strchr("<>\"\\^`{|}", s.p[i]);
    }
    if (ok) {
        *(struct str *)target = s;
    } else if (s.p) {
        json_mistake(c, item, "\"%.100s\" is no link; allowed: %s", s.p, allowed);
    }
}

// RFC 9745 section 2 (a structured date), RFC 8594 section 3 (an HTTP date), and the links of both.
static void write_notice(struct json_check *c, const struct notice *n)
{
    struct buf fields;
    buf_init(&fields, 2 * FIELD_EDIT_VALUE_MAX);
    if (n->deprecation_s >= 0) {
        buf_printf(&fields, "Deprecation: @%" PRId64 "\r\n", n->deprecation_s);
    }
    if (n->sunset_s >= 0) {
        char date[40];
        struct tm tm;
        time_t t = (time_t)n->sunset_s;
        bool ok =
            gmtime_r(&t, &tm) && strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0;
        assert(ok); // timestamp_parse() takes years up to 9999
        buf_printf(&fields, "Sunset: %s\r\n", date);
    }
    if (n->link.n) {
        buf_printf(&fields, "Link: <%.*s>; rel=\"%s\"; type=\"text/html\"\r\n", STR_ARG(n->link),
                   n->deprecation_s >= 0 ? "deprecation" : "sunset");
    }
    c->no_memory = c->no_memory || !buf_ok(&fields);
    n->rule->deprecated = n->deprecation_s >= 0;
    n->rule->notice = fields.len ? json_copy(c, buf_str(&fields)) : STR("");
    buf_fini(&fields);
}

// --- A rule

// The walk's target: the rule, and what becomes its notice.
struct draft {
    struct policy_rule rule;
    struct notice notice;
};

static void check_rule(struct json_check *c, struct json_item item, struct draft *d)
{
    const struct policy_rule *rule = &d->rule;
    if (!yyjson_obj_get(item.value, "path")) {
        json_mistake(c, item, "has no \"path\"; allowed: a pattern or a prefix");
    }
    if (d->notice.sunset_s >= 0 && d->notice.sunset_s < d->notice.deprecation_s) {
        json_mistake(c, item, "\"sunset\" is before \"deprecation\"; allowed: not before it");
    }
    if (d->notice.link.n && d->notice.deprecation_s < 0 && d->notice.sunset_s < 0) {
        json_mistake(c, item,
                     "\"link\" alone says nothing; allowed: with \"deprecation\" or "
                     "\"sunset\"");
    }
    if (yyjson_is_obj(item.value) && !rule->request.n && !rule->answer.n && !rule->masked &&
        !rule->fields && d->notice.deprecation_s < 0 && d->notice.sunset_s < 0) {
        json_mistake(c, item,
                     "does nothing; allowed: at least one of request, response, "
                     "deprecation, sunset, mask, and fields true");
    }
}

static void take_rule(struct json_check *c, struct json_item item, void *target)
{
    static const struct json_key keys[] = {
        { "method", take_method, offsetof(struct draft, rule) },
        { "path", take_path, offsetof(struct draft, rule) },
        { "request", take_request, offsetof(struct draft, rule.request) },
        { "response", take_answer, offsetof(struct draft, rule.answer) },
        { "deprecation", take_time, offsetof(struct draft, notice.deprecation_s) },
        { "sunset", take_time, offsetof(struct draft, notice.sunset_s) },
        { "link", take_link, offsetof(struct draft, notice.link) },
        { "mask", take_mask, offsetof(struct draft, rule) },
        { "fields", json_take_bool, offsetof(struct draft, rule.fields) },
        { NULL, NULL, 0 },
    };
    struct policy *p = target;
    struct draft d = { .rule = { .methods = (1U << METHOD_ROUTED) - 1 },
                       .notice = { NULL, -1, -1, { NULL, 0 } } };
    d.notice.rule = &d.rule;
    size_t before = c->n_mistakes;
    if (!json_object(c, item, keys, &d) || !p->rules) {
        return;
    }
    if (c->n_mistakes == before) { // what is left over would be said of what is wrong already
        check_rule(c, item, &d);
    }
    write_notice(c, &d.notice);
    p->rules[p->n_rules++] = d.rule;
}

void policy_take_rules(struct json_check *c, struct json_item item, void *target)
{
    struct policy *p = target;
    p->rules = json_alloc(c, POLICY_MAX_RULES * sizeof *p->rules);
    (void)json_array(c, item, POLICY_MAX_RULES, "rules", take_rule, p); // it said so
}
