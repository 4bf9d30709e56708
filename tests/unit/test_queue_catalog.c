// SPDX-License-Identifier: MIT
// Thousands of names are all found again, also after most of them were removed; marks of producers only grow.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/catalog.h"

#include <stdio.h>

#define N 5000

static struct str name_of(unsigned i, char out[32])
{
    int n = snprintf(out, 32, "topic.%u", i);
    return (struct str){ out, (size_t)n };
}

static void test_names_are_found_again(void **state)
{
    (void)state;
    struct catalog c;
    char text[32];
    catalog_init(&c);
    assert_null(catalog_topic(&c, STR("a")));
    for (unsigned i = 0; i < N; i++) {
        struct topic *t = catalog_add_topic(&c, name_of(i, text));
        assert_non_null(t);
        t->events = i % 3 == 0;
        t->last_seq = i;
        assert_ptr_equal(catalog_add_topic(&c, name_of(i, text)), t); // not a second one
    }
    assert_int_equal(c.topics.n, N);
    assert_int_equal(c.topics_made, N);
    for (unsigned i = 0; i < N; i++) {
        struct topic *t = catalog_topic(&c, name_of(i, text));
        assert_non_null(t);
        assert_int_equal(t->last_seq, i);
    }
    catalog_prune_topics(&c, 1);
    size_t at = 0, n = 0;
    while (catalog_next_topic(&c, &at)) {
        n++;
    }
    assert_int_equal(n, c.topics.n);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(catalog_topic(&c, name_of(i, text)) != NULL, i % 3 == 0);
    }
    catalog_fini(&c);
}

static void test_marks_only_grow(void **state)
{
    (void)state;
    struct catalog c;
    catalog_init(&c);
    assert_int_equal(catalog_note_producer(&c, STR("p"), 10, 100), 0);
    struct producer *p = catalog_producer(&c, STR("p"));
    assert_non_null(p);
    assert_int_equal(p->accepted_seq, 10);
    assert_int_equal(catalog_note_producer(&c, STR("p"), 9, 200), 0);
    assert_int_equal(p->stored_seq, 10);
    assert_int_equal(p->last_ms, 100);
    p->accepted_seq = 30; // on its way
    assert_int_equal(catalog_note_producer(&c, STR("p"), 20, 300), 0);
    assert_int_equal(p->stored_seq, 20);
    assert_int_equal(p->accepted_seq, 30);
    assert_null(catalog_producer(&c, STR("q")));
    catalog_fini(&c);
}

static void test_names_with_any_bytes(void **state)
{
    (void)state;
    struct catalog c;
    catalog_init(&c);
    const struct str a = { "x\0y", 3 }, b = { "x\0z", 3 };
    assert_ptr_not_equal(catalog_add_producer(&c, a), catalog_add_producer(&c, b));
    assert_ptr_not_equal(catalog_producer(&c, a), catalog_add_producer(&c, STR("x")));
    assert_int_equal(c.producers.n, 3);
    catalog_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_found_again),
        cmocka_unit_test(test_marks_only_grow),
        cmocka_unit_test(test_names_with_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
