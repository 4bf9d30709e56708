// SPDX-License-Identifier: MIT
// Where a snippet is cut, that it is safe HTML whatever the text is, and that it is quick.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/search/snippet.h"

#include <stdlib.h>

static struct buf out;

static int open_buf(void **state)
{
    (void)state;
    buf_init(&out, SNIPPET_MAX_BYTES + 1);
    return 0;
}

static int close_buf(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

static const char *snippet_of(struct str marked)
{
    buf_reset(&out);
    snippet_put(marked, &out);
    assert_true(out.len <= SNIPPET_MAX_BYTES);
    buf_append_char(&out, '\0');
    assert_true(buf_ok(&out));
    return out.data;
}

static const char *snippet(const char *marked)
{
    return snippet_of(str_of(marked));
}

static void a_short_text_is_given_as_it_is(void **state)
{
    (void)state;
    assert_string_equal(snippet("A \x01lamp\x02 for the desk"), "A <b>lamp</b> for the desk");
    assert_string_equal(snippet("nothing found here"), "nothing found here");
    assert_string_equal(snippet(""), "");
    assert_string_equal(snippet_of((struct str){ NULL, 0 }), "");
}

static void text_is_not_html(void **state)
{
    (void)state;
    assert_string_equal(snippet("<b>\x01<script>\x02 & \"q\"</b>"),
                        "&lt;b&gt;<b>&lt;script&gt;</b> &amp; &quot;q&quot;&lt;/b&gt;");
}

static void tags_are_balanced(void **state)
{
    (void)state;
    assert_string_equal(snippet("\x02 a \x01 b \x01 c"), " a <b> b  c</b>");
    assert_string_equal(snippet("\x01\x01 a \x02\x02"), "<b> a </b>");
}

static void a_long_text_is_cut_at_blanks_around_the_match(void **state)
{
    (void)state;
    char text[2000];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = i % 5 == 4 ? ' ' : 'x';
    }
    text[sizeof text - 1] = '\0';
    memcpy(text + 1002, "\x01lamp\x02", 6);
    const char *s = snippet(text);
    assert_true(strncmp(s, "…xxxx ", strlen("…xxxx ")) == 0);
    assert_non_null(strstr(s, "<b>lamp</b>"));
    assert_true(strstr(s, "<b>") - s <= 44);
    assert_true(strlen(s) > 150);
    assert_string_equal(s + strlen(s) - strlen("xxxx…"), "xxxx…");
    memcpy(text + 1002, "xx xxx", 6);
    s = snippet(text);
    assert_true(strncmp(s, "xxxx xxxx", 9) == 0);
}

static void the_place_with_most_matches_is_shown(void **state)
{
    (void)state;
    char text[1200];
    memset(text, ' ', sizeof text);
    text[sizeof text - 1] = '\0';
    memcpy(text + 10, "\x01one\x02", 5);
    memcpy(text + 800, "\x01two\x02 \x01three\x02", 13);
    const char *s = snippet(text);
    assert_null(strstr(s, "one"));
    assert_non_null(strstr(s, "<b>two</b> <b>three</b>"));
    memcpy(text + 800, "      \x01three\x02", 13); // as many here as there: the first
    assert_non_null(strstr(snippet(text), "<b>one</b>"));
}

static void a_text_without_blanks_is_cut_between_characters(void **state)
{
    (void)state;
    char text[901];
    for (size_t i = 0; i < 900; i += 3) {
        memcpy(text + i, "\xE2\x82\xAC", 3);
    }
    text[900] = '\0';
    for (size_t shift = 0; shift < 3; shift++) {
        text[shift] = 'x';
        const char *s = snippet(text);
        size_t n = strlen(s);
        assert_string_equal(s + n - 6, "\xE2\x82\xAC…");
    }
}

static void any_bytes_are_safe(void **state)
{
    (void)state;
    char text[600];
    srand(1);
    for (int round = 0; round < 20000; round++) {
        size_t n = (size_t)rand() % sizeof text;
        for (size_t i = 0; i < n; i++) {
            int kind = rand() % 6;
            text[i] = (char)(kind == 0 ? 1 + rand() % 2 : kind == 1 ? 0x80 + rand() % 64 : rand());
            text[i] = text[i] ? text[i] : '"';
        }
        const char *s = snippet_of((struct str){ text, n });
        int open = 0;
        for (const char *p = s; (p = strchr(p, '<')); p++) {
            bool on = strncmp(p, "<b>", 3) == 0;
            assert_true(on || strncmp(p, "</b>", 4) == 0);
            open += on ? 1 : -1;
            assert_true(open == 0 || open == 1);
        }
        assert_int_equal(open, 0);
    }
}

static void many_matches_take_no_longer(void **state)
{
    (void)state;
    size_t n = 8 * 1000 * 1000; // would take hours if each were compared with every other
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        text[i] = "\x01w\x02 "[i % 4];
    }
    assert_non_null(strstr(snippet_of((struct str){ text, n }), "<b>w</b>"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_text_is_given_as_it_is),
        cmocka_unit_test(text_is_not_html),
        cmocka_unit_test(tags_are_balanced),
        cmocka_unit_test(a_long_text_is_cut_at_blanks_around_the_match),
        cmocka_unit_test(the_place_with_most_matches_is_shown),
        cmocka_unit_test(a_text_without_blanks_is_cut_between_characters),
        cmocka_unit_test(any_bytes_are_safe),
        cmocka_unit_test(many_matches_take_no_longer),
    };
    return cmocka_run_group_tests(tests, open_buf, close_buf);
}
