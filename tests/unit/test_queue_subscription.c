// SPDX-License-Identifier: MIT
// What a reader wants: filters and key by event, and the topics' bits that let whole blocks be passed over, which
// must never hide an event that matches.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/format.h"
#include "services/queue/subscription.h"

#include <errno.h>
#include <stdio.h>

static struct subscription *make(const char *first, const char *second, const char *key)
{
    struct queue_subscribe f = { .subscription = 1, .credit = 7 };
    static char text[3][64]; // overwritten before this returns: the subscription must have its own
    const char *given[3] = { first, second, key };
    for (int i = 0; i < 3; i++) {
        (void)snprintf(text[i], sizeof text[i], "%s", given[i] ? given[i] : "");
    }
    if (first) {
        f.filters[f.n_filters++] = str_of(text[0]);
    }
    if (second) {
        f.filters[f.n_filters++] = str_of(text[1]);
    }
    if (key) {
        f.key = str_of(text[2]);
    }
    struct subscription *s;
    struct where_error error;
    assert_int_equal(subscription_new(&f, &s, &error), 0);
    memset(text, 'X', sizeof text);
    return s;
}

static bool matches(const struct subscription *s, const char *topic, const char *key)
{
    struct event e = { .id = STR("id"),
                       .topic = str_of(topic),
                       .key = str_of(key),
                       .subject = STR(""),
                       .source = STR(""),
                       .traceparent = STR("") };
    struct buf b;
    buf_init(&b, 1000);
    event_encode(&b, &e);
    assert_true(buf_ok(&b));
    bool result = subscription_matches(s, &(struct queue_event_entry){ 1, 2, buf_str(&b) });
    buf_fini(&b);
    return result;
}

static void test_matching(void **state)
{
    (void)state;
    struct subscription *s = make(NULL, NULL, NULL);
    assert_int_equal(s->credit, 7);
    assert_true(matches(s, "a.b", "k"));
    subscription_destroy(&s);
    assert_null(s);
    subscription_destroy(&s);
    s = make("a.*", "x.>", NULL);
    assert_true(matches(s, "a.b", ""));
    assert_true(matches(s, "x.y.z", "k"));
    assert_false(matches(s, "a", "k"));
    assert_false(matches(s, "b.a", "k"));
    subscription_destroy(&s);
    s = make("a.*", NULL, "k");
    assert_true(matches(s, "a.b", "k"));
    assert_false(matches(s, "a.b", "kk"));
    assert_false(matches(s, "b.b", "k"));
    subscription_destroy(&s);
    s = make(NULL, NULL, ""); // the empty key is a key
    assert_true(matches(s, "a.b", ""));
    assert_false(matches(s, "a.b", "k"));
    subscription_destroy(&s);
}

static void test_filter(void **state)
{
    (void)state;
    char text[] = ".seq == 1 and .stored_at == \"1970-01-01T00:00:00.002Z\" and .key starts \"k\"";
    struct queue_subscribe f = { .filters = { STR("a.*") }, .n_filters = 1, .where = str_of(text) };
    struct subscription *s = NULL;
    struct where_error error;
    assert_int_equal(subscription_new(&f, &s, &error), 0);
    memset(text, 'X', sizeof text - 1);
    assert_true(matches(s, "a.b", "k1")); // event 1, stored at 2
    assert_false(matches(s, "a.b", "1k"));
    assert_false(matches(s, "b.b", "k1"));
    subscription_destroy(&s);
    f.where = STR("exists");
    assert_int_equal(subscription_new(&f, &s, &error), -EINVAL);
    assert_int_equal(error.at, 6);
    assert_null(s);
    f.where = STR(""); // the empty filter is one, and not right
    assert_int_equal(subscription_new(&f, &s, &error), -EINVAL);
}

static void test_bits_cover_every_topic_that_matches(void **state)
{
    (void)state;
    struct catalog c;
    struct subscription *all = make(NULL, NULL, "k"), *some = make("a.*", "b.x7", NULL),
                        *none = make("q", NULL, NULL);
    catalog_init(&c);
    assert_int_equal(subscription_topics(some, &c), 0);
    for (int i = 0; i < 50; i++) {
        for (char word = 'a'; word <= 'c'; word++) {
            char name[32];
            (void)snprintf(name, sizeof name, "%c.x%d", word, i);
            assert_non_null(catalog_add_topic(&c, str_of(name)));
            if (matches(some, name, "")) {
                assert_true(subscription_topics(some, &c) & catalog_topic(&c, str_of(name))->bit);
            }
        }
    }
    uint64_t bits = 0;
    struct topic *t;
    for (size_t at = 0; (t = catalog_next_topic(&c, &at));) {
        bits |= t->bit;
    }
    assert_true(subscription_topics(all, &c) == bits);
    assert_int_equal(subscription_topics(none, &c), 0);
    assert_non_null(catalog_add_topic(&c, STR("q"))); // a topic that came later counts at once
    assert_true(subscription_topics(none, &c) == catalog_topic(&c, STR("q"))->bit);
    subscription_destroy(&all);
    subscription_destroy(&some);
    subscription_destroy(&none);
    catalog_fini(&c);
}

// Who wants everything does not mean the queue's own topics, also when the first of them comes late.
static void test_own_topics_are_hidden(void **state)
{
    (void)state;
    struct catalog c;
    struct subscription *all = make(NULL, NULL, NULL), *dead = make("$dead.>", NULL, NULL);
    catalog_init(&c);
    assert_non_null(catalog_add_topic(&c, STR("a.b")));
    assert_true(subscription_topics(all, &c) & topic_bit(STR("a.b")));
    assert_true(matches(all, "a.b", "k"));
    assert_non_null(catalog_add_topic(&c, STR("$dead.g")));
    (void)subscription_topics(all, &c);
    (void)subscription_topics(dead, &c);
    assert_true(matches(all, "a.b", "k"));
    assert_false(matches(all, "$dead.g", "k"));
    assert_true(matches(dead, "$dead.g", "k"));
    assert_false(matches(dead, "dead.g", "k"));
    subscription_destroy(&all);
    subscription_destroy(&dead);
    catalog_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_bits_cover_every_topic_that_matches),
        cmocka_unit_test(test_own_topics_are_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
