// SPDX-License-Identifier: MIT
// Spans as OTLP/JSON: what a collector would read is what happened, each part under its parent and
// within the process that did it.
#include "common/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static const struct span_resource resource = { "gateway", "gateway-1", NULL };

struct found {
    yyjson_val *span;
    const char *service, *instance;
};

static yyjson_doc *doc;
static struct found found[64];
static size_t n_found;

static const char *text(yyjson_val *object, const char *member)
{
    return yyjson_get_str(yyjson_obj_get(object, member));
}

// The text of an attribute, be it text or a number; NULL: it has none.
static const char *attribute(yyjson_val *object, const char *key)
{
    size_t i, n;
    yyjson_val *v;
    yyjson_arr_foreach(yyjson_obj_get(object, "attributes"), i, n, v)
    {
        if (strcmp(text(v, "key"), key) == 0) {
            yyjson_val *value = yyjson_obj_get(v, "value");
            const char *s = text(value, "stringValue");
            return s ? s : text(value, "intValue");
        }
    }
    return NULL;
}

static void take_spans(yyjson_val *of_resource)
{
    yyjson_val *r = yyjson_obj_get(of_resource, "resource"), *scope, *span;
    size_t i, n, k, m;
    yyjson_arr_foreach(yyjson_obj_get(of_resource, "scopeSpans"), i, n, scope)
    {
        yyjson_arr_foreach(yyjson_obj_get(scope, "spans"), k, m, span)
        {
            assert_true(n_found < 64);
            found[n_found++] = (struct found){ span, attribute(r, "service.name"),
                                               attribute(r, "service.instance.id") };
        }
    }
}

static void write_spans(const struct span_resource *own, const struct span *spans, size_t n)
{
    struct buf json;
    size_t i, m;
    yyjson_val *v;
    yyjson_doc_free(doc);
    buf_init(&json, 1 << 20);
    span_write_otlp(own, spans, n, &json);
    assert_true(buf_ok(&json));
    doc = yyjson_read(json.data, json.len, 0);
    assert_non_null(doc);
    buf_fini(&json);
    n_found = 0;
    yyjson_val *all = yyjson_obj_get(yyjson_doc_get_root(doc), "resourceSpans");
    assert_true(yyjson_is_arr(all));
    yyjson_arr_foreach(all, i, m, v) take_spans(v);
}

static int64_t at(yyjson_val *span, const char *member)
{
    return strtoll(text(span, member), NULL, 10);
}

static void assert_span(const struct found *f, const char *service, const char *name,
                        const char *parent, int kind)
{
    assert_string_equal(f->service, service);
    assert_string_equal(text(f->span, "name"), name);
    assert_string_equal(text(f->span, "traceId"), TRACE);
    assert_int_equal(strlen(text(f->span, "spanId")), 16);
    assert_int_equal(yyjson_get_int(yyjson_obj_get(f->span, "kind")), kind);
    const char *p = text(f->span, "parentSpanId");
    assert_true(parent ? p && strcmp(p, parent) == 0 : !p);
}

// Within its parent.
static void assert_within(const struct found *inner, const struct found *outer)
{
    assert_true(at(inner->span, "startTimeUnixNano") >= at(outer->span, "startTimeUnixNano"));
    assert_true(at(inner->span, "endTimeUnixNano") <= at(outer->span, "endTimeUnixNano"));
    assert_true(at(inner->span, "startTimeUnixNano") <= at(inner->span, "endTimeUnixNano"));
}

static struct span request(const char *method, const char *route, uint32_t status)
{
    struct span s = { .kind = SPAN_SERVER,
                      .status = status,
                      .error = status >= 500,
                      .start_us = INT64_C(1700000000000000),
                      .duration_us = 10000 };
    assert_int_equal(trace_parse(STR("00-" TRACE "-00f067aa0ba902b7-01"), &s.trace), 0);
    span_name(&s, str_of(method), str_of(route));
    return s;
}

static struct span_remote at_worker(void)
{
    return (struct span_remote){ .span_id = { 1, 2, 3, 4, 5, 6, 7, 8 },
                                 .service = "orders",
                                 .instance = "orders-2",
                                 .answered = true,
                                 .attempt = 1,
                                 .wait_us = 1000,
                                 .away_us = 8000,
                                 .queue_us = 500,
                                 .handler_us = 1500,
                                 .store_us = 5000 };
}

static void test_request(void **state)
{
    (void)state;
    struct span s = request("POST", "/v1/orders", 201);
    s.remote = at_worker();
    write_spans(&resource, &s, 1);
    assert_int_equal(n_found, 4);
    assert_span(&found[0], "gateway", "POST /v1/orders", NULL, SPAN_SERVER);
    assert_span(&found[1], "gateway", "wait for a worker", "00f067aa0ba902b7", SPAN_INTERNAL);
    assert_span(&found[2], "orders", "POST /v1/orders", "00f067aa0ba902b7", SPAN_SERVER);
    assert_string_equal(text(found[2].span, "spanId"), "0102030405060708");
    assert_string_equal(found[2].instance, "orders-2");
    assert_span(&found[3], "orders", "store", "0102030405060708", SPAN_INTERNAL);
    assert_within(&found[1], &found[0]);
    assert_within(&found[2], &found[0]);
    assert_within(&found[3], &found[2]);
    assert_int_equal(at(found[0].span, "startTimeUnixNano"), INT64_C(1700000000000000000));
    assert_int_equal(at(found[3].span, "endTimeUnixNano") - at(found[3].span, "startTimeUnixNano"),
                     5000000);
    assert_string_equal(attribute(found[0].span, "http.request.method"), "POST");
    assert_string_equal(attribute(found[0].span, "http.route"), "/v1/orders");
    assert_string_equal(attribute(found[0].span, "http.response.status_code"), "201");
    assert_string_equal(attribute(found[2].span, "sluice.store_us"), "5000");
    assert_null(attribute(found[0].span, "error.type"));
    assert_null(yyjson_obj_get(yyjson_obj_get(found[0].span, "status"), "code"));
}

// An error without an answer: the worker's part is as long as it was waited for.
static void test_lost_worker(void **state)
{
    (void)state;
    struct span s = request("GET", "/v1/orders/{id}", 504);
    s.remote = at_worker();
    s.remote.answered = false;
    s.remote.attempt = 2;
    s.remote.wait_us = 0;
    memset(s.parent_id, 0xB7, sizeof s.parent_id);
    write_spans(&resource, &s, 1);
    assert_int_equal(n_found, 2);
    assert_span(&found[0], "gateway", "GET /v1/orders/{id}", "b7b7b7b7b7b7b7b7", SPAN_SERVER);
    assert_string_equal(attribute(found[0].span, "error.type"), "504");
    assert_int_equal(
        yyjson_get_int(yyjson_obj_get(yyjson_obj_get(found[0].span, "status"), "code")), 2);
    assert_string_equal(attribute(found[1].span, "http.request.resend_count"), "1");
    assert_null(attribute(found[1].span, "sluice.store_us"));
    assert_int_equal(at(found[1].span, "endTimeUnixNano") - at(found[1].span, "startTimeUnixNano"),
                     8000000);
    assert_within(&found[1], &found[0]);
}

// Refused before a route was known: a name without one, and no route made up.
static void test_without_route(void **state)
{
    (void)state;
    struct span s = request("GET", "", 404);
    write_spans(&resource, &s, 1);
    assert_int_equal(n_found, 1);
    assert_span(&found[0], "gateway", "GET", NULL, SPAN_SERVER);
    assert_null(attribute(found[0].span, "http.route"));
    assert_string_equal(attribute(found[0].span, "http.request.method"), "GET");
    assert_null(yyjson_obj_get(yyjson_obj_get(found[0].span, "status"), "code"));
}

static void test_events(void **state)
{
    (void)state;
    struct span both[2] = { request("publish", "orders.order.placed", 0),
                            request("process", "orders.order.placed", 0) };
    memset(both[0].parent_id, 0xAA, 8);
    memset(both[1].parent_id, 0xAA, 8);
    both[0].kind = SPAN_PRODUCER;
    both[0].seq = 17;
    both[0].batch = 3;
    both[0].remote =
        (struct span_remote){ { 9 },           "queue",         "", true, 0, .wait_us = 2000,
                              .away_us = 8000, .store_us = 6000 };
    both[1].kind = SPAN_CONSUMER;
    both[1].trace.span_id[0] = 7;
    both[1].seq = 99;
    both[1].consumer = "search";
    both[1].error = true;
    write_spans(&(struct span_resource){ "orders", "orders-1", NULL }, both, 2);
    assert_int_equal(n_found, 4);
    assert_span(&found[0], "orders", "publish orders.order.placed", "aaaaaaaaaaaaaaaa",
                SPAN_PRODUCER);
    assert_span(&found[1], "orders", "outbox", "00f067aa0ba902b7", SPAN_INTERNAL);
    assert_span(&found[2], "queue", "append", "00f067aa0ba902b7", SPAN_SERVER);
    assert_null(found[2].instance); // not known, so not said
    assert_span(&found[3], "orders", "process orders.order.placed", "aaaaaaaaaaaaaaaa",
                SPAN_CONSUMER);
    assert_within(&found[1], &found[0]);
    assert_within(&found[2], &found[0]);
    assert_string_equal(attribute(found[0].span, "messaging.destination.name"),
                        "orders.order.placed");
    assert_string_equal(attribute(found[0].span, "messaging.operation.type"), "send");
    assert_string_equal(attribute(found[0].span, "messaging.batch.message_count"), "3");
    assert_string_equal(attribute(found[0].span, "sluice.outbox_seq"), "17");
    assert_string_equal(attribute(found[3].span, "messaging.operation.type"), "process");
    assert_string_equal(attribute(found[3].span, "messaging.consumer.group.name"), "search");
    assert_string_equal(attribute(found[3].span, "sluice.seq"), "99");
    assert_null(attribute(found[3].span, "http.request.method"));
    yyjson_val *link = yyjson_arr_get_first(yyjson_obj_get(found[3].span, "links"));
    assert_string_equal(text(link, "traceId"), TRACE);
    assert_string_equal(text(link, "spanId"), "aaaaaaaaaaaaaaaa");
    assert_null(yyjson_obj_get(found[0].span, "links"));
}

// Spans of one process in a row stand under one resource.
static void test_resources(void **state)
{
    (void)state;
    struct span three[3];
    for (int i = 0; i < 3; i++) {
        three[i] = request("GET", "/livez", 200);
    }
    write_spans(&(struct span_resource){ "gateway", "g",
                                         "team=a \"b\",=x,y,deployment.environment=prod=1" },
                three, 3);
    assert_int_equal(n_found, 3);
    yyjson_val *all = yyjson_obj_get(yyjson_doc_get_root(doc), "resourceSpans");
    assert_int_equal(yyjson_arr_size(all), 1);
    yyjson_val *r = yyjson_obj_get(yyjson_arr_get_first(all), "resource");
    assert_string_equal(attribute(r, "team"), "a \"b\"");
    assert_string_equal(attribute(r, "deployment.environment"), "prod=1");
    assert_string_equal(attribute(r, "service.namespace"), "sluice");
    assert_null(attribute(r, ""));
    assert_null(attribute(r, "y"));
    write_spans(&resource, NULL, 0);
    assert_int_equal(n_found, 0);
}

static void test_long_names(void **state)
{
    (void)state;
    struct span s;
    char route[200];
    memset(route, 'x', sizeof route - 1);
    route[sizeof route - 1] = '\0';
    span_name(&s, STR("GET"), str_of(route));
    assert_int_equal(strlen(s.name), SPAN_NAME_SIZE - 1);
    span_name(&s, str_of(route), STR("y"));
    assert_int_equal(strlen(s.name), SPAN_NAME_SIZE - 1);
    span_name(&s, STR("GET"), STR(""));
    assert_string_equal(s.name, "GET");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),       cmocka_unit_test(test_lost_worker),
        cmocka_unit_test(test_without_route), cmocka_unit_test(test_events),
        cmocka_unit_test(test_resources),     cmocka_unit_test(test_long_names),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    yyjson_doc_free(doc);
    return failed;
}
