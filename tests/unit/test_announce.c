// SPDX-License-Identifier: MIT
// What a worker says of itself decodes, is valid OpenAPI, and two workers of one program say the same.
#include "common/announce.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>
#include <yyjson.h>

#define PRICE_FIELDS(S, I, B, T, O, L) I(amount, REQUIRED, 0, 1000, "Minor \"units\"")
MESSAGE_DECLARE(price, PRICE_FIELDS)
#define MESSAGE_SELF_ struct price
MESSAGE_DEFINE(price, PRICE_FIELDS)
#undef MESSAGE_SELF_

#define ARTICLE_FIELDS(S, I, B, T, O, L)      \
    S(name, REQUIRED, 1, 10, LINE, "Name")    \
    O(cost, REQUIRED, price, "What it costs") \
    L(more, OPTIONAL, 0, 3, price, "Others")
MESSAGE_DECLARE(article, ARTICLE_FIELDS)
#define MESSAGE_SELF_ struct article
MESSAGE_DEFINE(article, ARTICLE_FIELDS)
#undef MESSAGE_SELF_

static int nothing(struct call *c)
{
    (void)c;
    return 0;
}

static const struct query_param params[] = {
    { .name = "q", .kind = QUERY_STRING, .min = 1, .max = 9, .required = true, .description = "A \"quoted\" word" },
    { .name = "limit", .kind = QUERY_INTEGER, .min = 1, .max = 100, .fallback = "20" },
    { .name = "sort", .kind = QUERY_CHOICE, .choices = "up|down", .fallback = "up" },
    { .name = "kinds", .kind = QUERY_CHOICES, .choices = "a|b" },
    { .name = NULL },
};

static const struct route routes[] = {
    { .method = "GET", .pattern = "/v1/articles", .operation = "listArticles", .summary = "Lists \\ articles",
      .success = 200, .auth = FRAME_AUTH_OPTIONAL, .query = params, .reply = &article_message, .read = nothing,
      .problems = PROBLEMS(PROBLEM_INVALID_CURSOR) },
    { .method = "POST", .pattern = "/v1/articles", .operation = "createArticle", .success = 201, .tag = "shop",
      .auth = FRAME_AUTH_REQUIRED, .body = FRAME_BODY_JSON, .key = ROUTE_KEY_REQUIRED, .request = &article_message,
      .reply = &article_message, .write = nothing,
      .problems = PROBLEMS(PROBLEM_SKU_TAKEN, PROBLEM_OUT_OF_STOCK, PROBLEM_FORBIDDEN) },
    { .method = "PATCH", .pattern = "/v1/articles/{id}/prices/{no}", .operation = "changePrice", .success = 200,
      .auth = FRAME_AUTH_REQUIRED, .body = FRAME_BODY_MERGE_PATCH, .if_match = true, .sensitive = true,
      .request = &price_message,
      .deadline_ms = 750, .internal = true, .write = nothing },
    { .method = "DELETE", .pattern = "/v1/articles/{id}", .operation = "deleteArticle", .success = 204,
      .auth = FRAME_AUTH_NONE, .key = ROUTE_KEY_OPTIONAL, .compute = nothing },
};

static const struct event_kind events[] = {
    { "articles.article.written", &article_message, "id of the \"article\"", "It was written" },
    { "articles.price.changed", &price_message, "id of the article", "A price was changed" },
};
static const struct service service = { .name = "articles", .summary = "what is for sale",
                                        .routes = routes, .n_routes = 4,
                                        .events = events, .n_events = 2 };

static struct buf b;
static struct frame_hello hello;
static struct announcement *announcement;

static void announce(const struct service *s, const char *instance, uint32_t capacity, enum frame_role role)
{
    struct reader r;
    enum frame_type type;
    uint32_t fields;
    buf_fini(&b);
    buf_init(&b, FRAME_MAX_BYTES);
    announce_destroy(&announcement);
    assert_int_equal(announce_new(s, instance, capacity, &announcement), 0);
    announce_hello(announcement, role, &b);
    assert_true(buf_ok(&b));
    r = reader_of(buf_str(&b));
    assert_int_equal(frame_open(&r, &type, &fields), 0);
    assert_int_equal(type, FRAME_HELLO);
    assert_int_equal(frame_hello_decode(&r, fields, &hello), 0);
}

static int enter(void **state)
{
    (void)state;
    announce(&service, "articles-7", 64, FRAME_ROLE_READER);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    announce_destroy(&announcement);
    announce_destroy(&announcement); // twice does no harm
    buf_fini(&b);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

static void assert_str(struct str s, const char *expected)
{
    assert_true(str_eq(s, str_of(expected)));
}

static void test_the_frame(void **state)
{
    (void)state;
    assert_int_equal(hello.protocol, FRAME_PROTOCOL_VERSION);
    assert_str(hello.service, "articles");
    assert_str(hello.version, SLUICE_VERSION);
    assert_str(hello.instance, "articles-7");
    assert_int_equal(hello.role, FRAME_ROLE_READER);
    assert_int_equal(hello.capacity, 64);
    assert_int_equal(hello.heartbeat_ms, WORKER_HEARTBEAT_MS);
    assert_int_equal(hello.n_routes, 4);
    assert_int_equal(hello.n_schemas, 2); // each message once, the embedded ones too
    assert_str(hello.schemas[0].name, "article");
    assert_str(hello.schemas[1].name, "price");
    assert_str(hello.summary, "what is for sale");
}

static void test_the_routes(void **state)
{
    (void)state;
    const struct frame_route *r = hello.routes;
    assert_str(r[0].method, "GET");
    assert_str(r[0].pattern, "/v1/articles");
    assert_false(r[0].write || r[0].keyed || r[0].sensitive || r[0].internal);
    assert_int_equal(r[0].auth, FRAME_AUTH_OPTIONAL);
    assert_int_equal(r[0].n_headers, 1);
    assert_str(r[0].headers[0], "if-none-match");
    assert_true(r[1].write && r[1].keyed);
    assert_int_equal(r[1].auth, FRAME_AUTH_REQUIRED);
    assert_int_equal(r[1].body, FRAME_BODY_JSON);
    assert_int_equal(r[1].n_headers, 1);
    assert_str(r[1].headers[0], "idempotency-key");
    assert_true(r[2].write && !r[2].keyed && r[2].sensitive && r[2].internal);
    assert_int_equal(r[2].body, FRAME_BODY_MERGE_PATCH);
    assert_int_equal(r[2].deadline_ms, 750);
    assert_str(r[2].headers[0], "if-match");
    assert_false(r[3].write); // nothing but compute
    assert_true(r[3].keyed);
}

// The operation of route i; free it.
static yyjson_doc *operation(size_t i)
{
    yyjson_doc *doc = yyjson_read(hello.routes[i].operation.p, hello.routes[i].operation.n, 0);
    assert_non_null(doc);
    return doc;
}

static const char *text(yyjson_val *v, const char *key)
{
    const char *s = yyjson_get_str(yyjson_obj_get(v, key));
    assert_non_null(s);
    return s;
}

static void test_operations(void **state)
{
    (void)state;
    for (size_t i = 0; i < hello.n_routes; i++) {
        yyjson_doc *doc = operation(i);
        yyjson_val *root = yyjson_doc_get_root(doc), *responses = yyjson_obj_get(root, "responses"), *key, *value;
        char success[8];
        assert_string_equal(text(root, "operationId"), routes[i].operation);
        assert_string_equal(text(root, "summary"), routes[i].summary ? routes[i].summary : routes[i].operation);
        assert_string_equal(yyjson_get_str(yyjson_arr_get_first(yyjson_obj_get(root, "tags"))),
                            routes[i].tag ? routes[i].tag : "articles");
        (void)snprintf(success, sizeof success, "%d", routes[i].success);
        assert_non_null(yyjson_obj_get(responses, success));
        yyjson_obj_iter iter = yyjson_obj_iter_with(responses);
        while ((key = yyjson_obj_iter_next(&iter))) {
            value = yyjson_obj_iter_get_val(key);
            assert_true(strlen(text(value, "description")) > 0);
        }
        yyjson_doc_free(doc);
    }
}

// The parameters of route i: "name/in/required" each.
static void assert_parameters(size_t i, const char *const *expected)
{
    yyjson_doc *doc = operation(i);
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "parameters"), *p;
    size_t n = 0;
    for (; expected[n]; n++) {
        char got[64];
        p = yyjson_arr_get(list, n);
        (void)snprintf(got, sizeof got, "%s/%s/%s", text(p, "name"), text(p, "in"),
                       yyjson_get_bool(yyjson_obj_get(p, "required")) ? "required" : "optional");
        assert_string_equal(got, expected[n]);
        assert_non_null(yyjson_obj_get(p, "schema"));
    }
    assert_int_equal(yyjson_arr_size(list), n);
    yyjson_doc_free(doc);
}

static void test_parameters(void **state)
{
    (void)state;
    assert_parameters(0, (const char *[]){ "q/query/required", "limit/query/optional", "sort/query/optional",
                                           "kinds/query/optional", NULL });
    assert_parameters(1, (const char *[]){ "Idempotency-Key/header/required", NULL });
    assert_parameters(2, (const char *[]){ "id/path/required", "no/path/required", "If-Match/header/required", NULL });
    assert_parameters(3, (const char *[]){ "id/path/required", "Idempotency-Key/header/optional", NULL });
    yyjson_doc *doc = operation(0);
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "parameters");
    assert_string_equal(text(yyjson_arr_get(list, 0), "description"), "A \"quoted\" word");
    yyjson_val *limit = yyjson_obj_get(yyjson_arr_get(list, 1), "schema");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(limit, "default")), 20);
    assert_int_equal(yyjson_get_int(yyjson_obj_get(limit, "maximum")), 100);
    yyjson_val *sort = yyjson_obj_get(yyjson_arr_get(list, 2), "schema");
    assert_string_equal(text(sort, "default"), "up");
    assert_string_equal(text(sort, "pattern"), "^(up|down)$");
    assert_string_equal(text(yyjson_obj_get(yyjson_arr_get(list, 3), "schema"), "pattern"), "^(a|b)(,(a|b))*$");
    yyjson_doc_free(doc);
}

static void assert_statuses(size_t i, const char *expected)
{
    char got[256] = "";
    yyjson_doc *doc = operation(i);
    yyjson_obj_iter iter = yyjson_obj_iter_with(yyjson_obj_get(yyjson_doc_get_root(doc), "responses"));
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&iter))) {
        strcat(got, yyjson_get_str(key));
        strcat(got, " ");
    }
    assert_string_equal(got, expected);
    yyjson_doc_free(doc);
}

static void test_responses(void **state)
{
    (void)state;
    assert_statuses(0, "200 400 401 503 504 ");
    assert_statuses(1, "201 400 401 403 409 413 415 422 503 504 ");
    assert_statuses(2, "200 400 401 412 413 415 422 428 503 504 ");
    assert_statuses(3, "204 400 409 422 503 504 ");
    yyjson_doc *doc = operation(1);
    yyjson_val *root = yyjson_doc_get_root(doc);
    const char *conflict = text(yyjson_obj_get(yyjson_obj_get(root, "responses"), "409"), "description");
    assert_non_null(strstr(conflict, "SKU taken"));
    assert_non_null(strstr(conflict, "Out of stock"));
    yyjson_doc_free(doc);
}

static void test_bodies_and_security(void **state)
{
    (void)state;
    static const char *const bodies[] = { NULL, "/requestBody/content/application~1json/schema/$ref",
                                          "/requestBody/content/application~1merge-patch+json/schema/$ref", NULL };
    static const size_t security[] = { 2, 1, 1, 0 }; // ways to be let in: none needed, bearer
    for (size_t i = 0; i < 4; i++) {
        yyjson_doc *doc = operation(i);
        yyjson_val *root = yyjson_doc_get_root(doc);
        assert_int_equal(yyjson_obj_get(root, "requestBody") != NULL, bodies[i] != NULL);
        if (bodies[i]) {
            assert_non_null(yyjson_get_str(yyjson_doc_ptr_get(doc, bodies[i])));
        }
        assert_int_equal(yyjson_arr_size(yyjson_obj_get(root, "security")), security[i]);
        yyjson_doc_free(doc);
    }
}

// Every $ref leads to a schema that is there (the gateway adds `problem`).
static void test_references(void **state)
{
    (void)state;
    for (size_t i = 0; i < hello.n_schemas; i++) {
        yyjson_doc *doc = yyjson_read(hello.schemas[i].value.p, hello.schemas[i].value.n, 0);
        assert_non_null(doc);
        yyjson_doc_free(doc);
    }
    static const char ref[] = "\"$ref\":\"#/components/schemas/";
    for (const char *p = b.data; (p = memmem(p, (size_t)(b.data + b.len - p), ref, sizeof ref - 1)); p++) {
        struct str name = { p + sizeof ref - 1, 0 };
        name.n = (size_t)((const char *)memchr(name.p, '"', 100) - name.p);
        assert_true(str_eq(name, STR("article")) || str_eq(name, STR("price")) || str_eq(name, STR("problem")));
    }
}

static bool schema_is_closed(const char *name)
{
    for (size_t i = 0; i < hello.n_schemas; i++) {
        if (str_eq(hello.schemas[i].name, str_of(name))) {
            yyjson_doc *doc = yyjson_read(hello.schemas[i].value.p, hello.schemas[i].value.n, 0);
            bool closed = yyjson_is_false(yyjson_doc_ptr_get(doc, "/additionalProperties"));
            yyjson_doc_free(doc);
            return closed;
        }
    }
    fail_msg("there is no schema %s", name);
    return false;
}

// Requests with unknown members are refused; answers and events may get more members some day.
static void test_only_what_is_asked_with_is_closed(void **state)
{
    (void)state;
    static const struct route asks[] = {
        { .method = "POST", .pattern = "/a", .operation = "a", .success = 200, .write = nothing,
          .body = FRAME_BODY_JSON, .request = &article_message },
        { .method = "GET", .pattern = "/p", .operation = "p", .success = 200, .read = nothing,
          .reply = &price_message },
    };
    struct service s = { .name = "s", .routes = asks, .n_routes = 1 };
    announce(&s, "s-1", 1, FRAME_ROLE_ANY);
    assert_true(schema_is_closed("article") && schema_is_closed("price"));
    s.n_routes = 2; // and price is an answer, too
    announce(&s, "s-1", 1, FRAME_ROLE_ANY);
    assert_true(schema_is_closed("article"));
    assert_false(schema_is_closed("price"));
    s.n_routes = 1; // or an event
    s.events = &events[1];
    s.n_events = 1;
    announce(&s, "s-1", 1, FRAME_ROLE_ANY);
    assert_true(schema_is_closed("article"));
    assert_false(schema_is_closed("price"));
}

static void test_the_name_of_the_table(void **state)
{
    (void)state;
    char name[64], changed[64];
    (void)snprintf(name, sizeof name, "%.*s", STR_ARG(hello.schema));
    assert_int_equal(strlen(name), 32);
    announce(&service, "articles-8", 1, FRAME_ROLE_WRITER); // another worker of the same program
    assert_str(hello.schema, name);
    assert_int_equal(hello.capacity, 1);
    assert_int_equal(hello.role, FRAME_ROLE_WRITER);
    for (int change = 0; change < 5; change++) {
        struct route copy[4];
        memcpy(copy, routes, sizeof copy);
        struct service other = { .name = "articles", .summary = service.summary, .routes = copy, .n_routes = 4,
                                 .events = events, .n_events = change == 4 ? 1 : 2 };
        copy[0].deadline_ms = change == 0 ? 1 : 0;
        copy[1].summary = change == 1 ? "Another" : NULL;
        copy[2].request = change == 2 ? &article_message : &price_message;
        other.n_routes = change == 3 ? 3 : 4;
        announce(&other, "articles-7", 64, FRAME_ROLE_READER);
        (void)snprintf(changed, sizeof changed, "%.*s", STR_ARG(hello.schema));
        assert_string_not_equal(changed, name);
    }
}

// What a listener finds in the AsyncAPI document.
static void test_the_events(void **state)
{
    (void)state;
    assert_int_equal(hello.n_events, 2);
    assert_str(hello.events[0].name, "articles.article.written");
    assert_str(hello.events[1].name, "articles.price.changed");
    for (size_t i = 0; i < hello.n_events; i++) {
        yyjson_doc *doc = yyjson_read(hello.events[i].value.p, hello.events[i].value.n, 0);
        assert_non_null(doc);
        assert_string_equal(yyjson_get_str(yyjson_doc_ptr_get(doc, "/name")), events[i].topic);
        assert_string_equal(yyjson_get_str(yyjson_doc_ptr_get(doc, "/summary")), events[i].summary);
        assert_non_null(strstr(yyjson_get_str(yyjson_doc_ptr_get(doc, "/description")), events[i].key));
        assert_non_null(strstr(yyjson_get_str(yyjson_doc_ptr_get(doc, "/payload/$ref")), events[i].message->name));
        yyjson_doc_free(doc);
    }
    // The schema of what only an event has is there too.
    struct service silent = { .name = "silent", .events = events + 1, .n_events = 1 };
    announce(&silent, "silent-1", 1, FRAME_ROLE_ANY);
    assert_int_equal(hello.n_schemas, 1);
    assert_str(hello.schemas[0].name, "price");
    assert_str(hello.summary, "");
}

static void test_the_role_of_now(void **state)
{
    (void)state;
    struct buf again;
    buf_init(&again, FRAME_MAX_BYTES);
    for (int role = FRAME_ROLE_ANY; role <= FRAME_ROLE_READER; role++) {
        struct reader r;
        enum frame_type type;
        uint32_t fields;
        buf_reset(&again);
        announce_hello(announcement, (enum frame_role)role, &again);
        r = reader_of(buf_str(&again));
        assert_int_equal(frame_open(&r, &type, &fields), 0);
        assert_int_equal(frame_hello_decode(&r, fields, &hello), 0);
        assert_int_equal(hello.role, role);
    }
    buf_fini(&again);
}

static void test_more_schemas_than_a_hello_holds(void **state)
{
    (void)state;
    static struct message messages[FRAME_MAX_SCHEMAS + 1];
    static struct route many[FRAME_MAX_SCHEMAS + 1];
    static char names[FRAME_MAX_SCHEMAS + 1][16];
    for (size_t i = 0; i <= FRAME_MAX_SCHEMAS; i++) {
        (void)snprintf(names[i], sizeof names[i], "m%zu", i);
        messages[i] = price_message;
        messages[i].name = names[i];
        many[i] = (struct route){ .method = "GET", .pattern = "/", .operation = "o", .success = 200,
                                  .reply = &messages[i], .read = nothing };
    }
    struct service s = { .name = "many", .routes = many, .n_routes = FRAME_MAX_SCHEMAS };
    announce(&s, "many-1", 1, FRAME_ROLE_ANY);
    assert_int_equal(hello.n_schemas, FRAME_MAX_SCHEMAS);
    s.n_routes++;
    struct announcement *none = NULL;
    assert_int_equal(announce_new(&s, "many-1", 1, &none), -ENOSPC);
    assert_null(none);
}

int main(void)
{
    if (sodium_init() < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CASE(test_the_frame),
        CASE(test_the_routes),
        CASE(test_operations),
        CASE(test_parameters),
        CASE(test_responses),
        CASE(test_bodies_and_security),
        CASE(test_references),
        CASE(test_only_what_is_asked_with_is_closed),
        CASE(test_the_name_of_the_table),
        CASE(test_the_role_of_now),
        CASE(test_the_events),
        CASE(test_more_schemas_than_a_hello_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
