// SPDX-License-Identifier: MIT
// A message that breaks its table is refused with every mistake named at its exact place; one that keeps it comes
// back as it went.
#include "proto/message.h"

#include "proto/orders.h"
#include "proto/search.h"
#include "proto/users.h"
#include "proto/writer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <yyjson.h>

#define LINE_FIELDS(S, I, B, T, O, L)                \
    S(sku, REQUIRED, 1, 8, SKU, "What")              \
    I(quantity, REQUIRED, 1, 10, "How many")
MESSAGE_DECLARE(line, LINE_FIELDS)
#define MESSAGE_SELF_ struct line
MESSAGE_DEFINE(line, LINE_FIELDS)
#undef MESSAGE_SELF_

#define BASKET_FIELDS(S, I, B, T, O, L)              \
    S(any, OPTIONAL, 0, 5, ANY, "Any \"text\"")      \
    S(line, OPTIONAL, 0, 20, LINE, "A line")         \
    S(text, OPTIONAL, 0, 20, TEXT, "A text")         \
    S(email, OPTIONAL, 3, 40, EMAIL, "An address")   \
    S(uuid, OPTIONAL, 36, 36, UUID, "An id")         \
    S(currency, OPTIONAL, 3, 3, CURRENCY, "A code")  \
    S(token, OPTIONAL, 1, 20, TOKEN, "A token")      \
    I(number, OPTIONAL, -5, INT64_MAX, "A number")   \
    B(flag, OPTIONAL, "A flag")                      \
    T(at, OPTIONAL, "A time")                        \
    O(first, OPTIONAL, line, "A line of its own")    \
    S(note, NULLABLE, 0, 10, LINE, "May be removed") \
    L(items, REQUIRED, 1, 3, line, "The lines")
MESSAGE_DECLARE(basket, BASKET_FIELDS)
#define MESSAGE_SELF_ struct basket
MESSAGE_DEFINE(basket, BASKET_FIELDS)
#undef MESSAGE_SELF_

static struct buf b;
static struct basket basket;
static struct message_errors errors;

static int open_buf(void **state)
{
    (void)state;
    buf_init(&b, 1024 * 1024);
    return 0;
}

static int close_buf(void **state)
{
    (void)state;
    buf_fini(&b);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_buf, close_buf)

// --- Bodies as a client makes them

static void put_line(const char *sku, int64_t quantity)
{
    writer_map(&b, 2);
    writer_key(&b, "sku");
    writer_str(&b, str_of(sku));
    writer_key(&b, "quantity");
    writer_int(&b, quantity);
}

static void put_items(void)
{
    writer_key(&b, "items");
    writer_array(&b, 1);
    put_line("A1", 1);
}

static int unpack(void)
{
    assert_true(buf_ok(&b));
    struct reader r = reader_of(buf_str(&b));
    int rc = message_unpack(&basket_message, &r, &basket, &errors);
    if (rc != -EBADMSG) {
        assert_int_equal(reader_left(&r), 0);
    }
    return rc;
}

// Unpacks a body with good items and one string field.
static int unpack_string(const char *field, const char *bytes, size_t n)
{
    buf_reset(&b);
    writer_map(&b, 2);
    put_items();
    writer_key(&b, field);
    writer_str(&b, (struct str){ bytes, n });
    return unpack();
}

static void assert_error(size_t i, const char *pointer, const char *part_of_detail)
{
    assert_true(i < errors.n);
    assert_string_equal(errors.item[i].pointer, pointer);
    if (!strstr(errors.item[i].detail, part_of_detail)) {
        fail_msg("\"%s\" is not in \"%s\"", part_of_detail, errors.item[i].detail);
    }
}

// --- Strings

static void assert_takes(const char *field, const char *text)
{
    if (unpack_string(field, text, strlen(text)) != 0) {
        fail_msg("%s refuses \"%s\": %s", field, text, errors.item[0].detail);
    }
}

static void assert_refuses(const char *field, const char *bytes, size_t n, const char *detail)
{
    char pointer[32];
    (void)snprintf(pointer, sizeof pointer, "#/%s", field);
    assert_int_equal(unpack_string(field, bytes, n), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_error(0, pointer, detail);
}

#define REFUSES(field, literal, detail) assert_refuses(field, literal, sizeof(literal) - 1, detail)

static void test_lengths_count_characters(void **state)
{
    (void)state;
    assert_takes("any", "");
    assert_takes("any", "12345");
    assert_takes("any", "äöüß€");
    assert_takes("any", "\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80");
    REFUSES("any", "123456", "has 6 characters; allowed are 0 to 5");
    REFUSES("any", "äöüß€s", "has 6 characters");
    REFUSES("email", "a@", "has 2 characters; allowed are 3 to 40");
    REFUSES("uuid", "0192f3c1-7b9a-7c3d-8e4f-00112233445", "has 35 characters; allowed are 36 to 36");
}

static void test_only_utf8_without_nul(void **state)
{
    (void)state;
    REFUSES("any", "a\0b", "must be valid UTF-8 without NUL");
    REFUSES("any", "\xC3", "must be valid UTF-8");
    REFUSES("any", "\xC3(", "must be valid UTF-8");
    REFUSES("any", "\xC0\x80", "must be valid UTF-8");
    REFUSES("any", "\xE0\x9F\xBF", "must be valid UTF-8");
    REFUSES("any", "\xED\xA0\x80", "must be valid UTF-8");
    REFUSES("any", "\xF0\x8F\xBF\xBF", "must be valid UTF-8");
    REFUSES("any", "\xF4\x90\x80\x80", "must be valid UTF-8");
    REFUSES("any", "\xFF", "must be valid UTF-8");
    REFUSES("any", "\x80", "must be valid UTF-8");
    assert_takes("any", "\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF");
}

static void test_formats(void **state)
{
    (void)state;
    assert_takes("any", "\x01\x7F\n");
    assert_takes("line", "Zoë O'Brien <3");
    REFUSES("line", "two\nlines", "text without control characters");
    REFUSES("line", "\x7F", "text without control characters");
    assert_takes("text", "two\n\tlines");
    REFUSES("text", "\r", "but tab and newline");
    REFUSES("text", "\x1B[0m", "but tab and newline");
    assert_takes("uuid", "0192f3c1-7b9a-7c3d-8e4f-001122334455");
    REFUSES("uuid", "0192F3C1-7b9a-7c3d-8e4f-001122334455", "a UUID in lower case");
    REFUSES("uuid", "0192f3c1x7b9a-7c3d-8e4f-001122334455", "a UUID in lower case");
    REFUSES("uuid", "0192f3c1-7b9a-7c3d-8e4f-00112233445g", "a UUID in lower case");
    assert_takes("currency", "EUR");
    REFUSES("currency", "EUr", "ISO 4217");
    REFUSES("currency", "EU1", "ISO 4217");
    assert_takes("token", "!~aZ09-_.");
    REFUSES("token", "a b", "printable ASCII without blanks");
    REFUSES("token", "\xC3\xA9", "printable ASCII without blanks");
    REFUSES("token", "a\x7F", "printable ASCII without blanks");
}

static void test_email(void **state)
{
    (void)state;
    static const char *const good[] = { "a@b.c", "ada.lovelace+shop@mail.example.org", "zoë@exämple.org" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_takes("email", good[i]);
    }
    static const char *const bad[] = { "a.b.c",  "@b.c",    "a@b",     "a@.c",     "a@b.",   "a@@b.c",
                                       "a@b@c.d", "a b@c.d", "a@b .c", "a@b.c\n", "a\x7F@b.c" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refuses("email", bad[i], strlen(bad[i]), "an email address such as");
    }
}

static void test_sku(void **state)
{
    (void)state;
    static const struct {
        const char *sku;
        bool good;
    } cases[] = { { "aZ09._+:", true }, { "~-", true }, { "a b", false }, { "a/b", false }, { "ä", false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_reset(&b);
        writer_map(&b, 1);
        writer_key(&b, "items");
        writer_array(&b, 1);
        put_line(cases[i].sku, 1);
        assert_int_equal(unpack(), cases[i].good ? 0 : -EINVAL);
        if (!cases[i].good) {
            assert_error(0, "#/items/0/sku", "must be letters, digits and . _ + : ~ -");
        }
    }
}

// --- Other kinds

static void test_integers(void **state)
{
    (void)state;
    static const int64_t good[] = { -5, 0, INT64_MAX };
    for (size_t i = 0; i < 3; i++) {
        buf_reset(&b);
        writer_map(&b, 2);
        put_items();
        writer_key(&b, "number");
        writer_int(&b, good[i]);
        assert_int_equal(unpack(), 0);
        assert_true(basket.number == good[i]);
    }
    buf_reset(&b);
    writer_map(&b, 2);
    put_items();
    writer_key(&b, "number");
    writer_int(&b, -6);
    assert_int_equal(unpack(), -EINVAL);
    assert_error(0, "#/number", "is -6; allowed are -5 to 9223372036854775807");
    buf_reset(&b);
    writer_map(&b, 2);
    put_items();
    writer_key(&b, "number");
    writer_uint(&b, UINT64_MAX); // an integer, but none of ours
    assert_int_equal(unpack(), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_error(0, "#/number", "is 18446744073709551615; allowed are -5 to 9223372036854775807");
}

// Puts one value of each type in place of field; a wrong one must say what it must be.
static void assert_kind(const char *field, int right, const char *name)
{
    for (int kind = 0; kind < 8; kind++) {
        if (kind == right) {
            continue;
        }
        char pointer[32];
        (void)snprintf(pointer, sizeof pointer, "#/%s", field);
        buf_reset(&b);
        writer_map(&b, 2);
        put_items();
        writer_key(&b, field);
        switch (kind) {
        case 0:
            writer_str(&b, STR("x"));
            break;
        case 1:
            writer_int(&b, 1);
            break;
        case 2:
            writer_bool(&b, true);
            break;
        case 3:
            writer_map(&b, 1);
            writer_key(&b, "sku");
            writer_nil(&b);
            break;
        case 4:
            writer_array(&b, 1);
            writer_nil(&b);
            break;
        case 5:
            writer_double(&b, 1.0);
            break;
        case 6:
            writer_bin(&b, STR("2026-11-23T10:00:00Z"));
            break;
        default:
            buf_append(&b, "\xD4\x01x", 3); // an extension type
        }
        assert_int_equal(unpack(), -EINVAL);
        assert_int_equal(errors.n, 1);
        assert_error(0, pointer, name);
    }
}

static void test_every_kind_refuses_the_others(void **state)
{
    (void)state;
    assert_kind("text", 0, "must be a string");
    assert_kind("number", 1, "must be an integer");
    assert_kind("flag", 2, "must be a boolean");
    assert_kind("first", 3, "must be an object");
    assert_kind("at", -1, "must be an RFC 3339 time from 1970 to 9999, such as \"2026-11-23T10:00:00Z\"");
}

static void test_a_list_refuses_the_others(void **state)
{
    (void)state;
    writer_map(&b, 1);
    writer_key(&b, "items");
    put_line("A", 1);
    assert_int_equal(unpack(), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_error(0, "#/items", "must be an array");
}

static void test_times(void **state)
{
    (void)state;
    assert_takes("at", "2026-11-23T11:00:00.5+01:00");
    assert_true(basket.at == INT64_C(1795428000500));
    REFUSES("at", "2026-11-23", "must be an RFC 3339 time");
    REFUSES("at", "1969-12-31T23:59:59Z", "from 1970 to 9999"); // could not be written back
    REFUSES("at", "", "must be an RFC 3339 time");
}

// --- Lists and places

static void test_list_limits(void **state)
{
    (void)state;
    for (uint32_t n = 0; n <= 5; n++) {
        buf_reset(&b);
        writer_map(&b, 1);
        writer_key(&b, "items");
        writer_array(&b, n);
        for (uint32_t i = 0; i < n; i++) {
            put_line("A", (int64_t)i + 1);
        }
        char detail[64];
        (void)snprintf(detail, sizeof detail, "has %u items; allowed are 1 to 3", (unsigned)n);
        assert_int_equal(unpack(), n >= 1 && n <= 3 ? 0 : -EINVAL);
        if (n < 1 || n > 3) {
            assert_int_equal(errors.n, 1);
            assert_error(0, "#/items", detail);
        }
        assert_int_equal(basket.n_items, n > 3 ? 3 : n);
        for (size_t i = 0; i < basket.n_items; i++) {
            assert_int_equal(basket.items[i].quantity, i + 1);
        }
    }
}

static void test_every_mistake_has_its_place(void **state)
{
    (void)state;
    writer_map(&b, 3);
    writer_key(&b, "items");
    writer_array(&b, 3);
    put_line("", 1);
    writer_int(&b, 7); // not an object
    put_line("ok", 11);
    writer_key(&b, "first");
    writer_map(&b, 2);
    writer_key(&b, "quantity");
    writer_int(&b, 0);
    writer_key(&b, "colour");
    writer_array(&b, 2); // whole values are stepped over
    writer_map(&b, 0);
    writer_nil(&b);
    writer_key(&b, "number");
    writer_str(&b, STR("1"));
    assert_int_equal(unpack(), -EINVAL);
    assert_int_equal(errors.n, 7);
    assert_error(0, "#/items/0/sku", "has 0 characters; allowed are 1 to 8");
    assert_error(1, "#/items/1", "must be an object");
    assert_error(2, "#/items/2/quantity", "is 11; allowed are 1 to 10");
    assert_error(3, "#/first/quantity", "is 0; allowed are 1 to 10");
    assert_error(4, "#/first/colour", "is unknown; allowed are sku, quantity");
    assert_error(5, "#/first/sku", "is required");
    assert_error(6, "#/number", "must be an integer");
}

static void assert_unknown(struct str name, const char *pointer)
{
    buf_reset(&b);
    writer_map(&b, 2);
    put_items();
    writer_str(&b, name);
    writer_int(&b, 1);
    assert_int_equal(unpack(), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_error(0, pointer, "is unknown; allowed are any, line, text, email");
}

// JSON Pointer escapes, and those of a URI fragment (RFC 6901 section 6).
static void test_pointers_are_escaped(void **state)
{
    (void)state;
    assert_unknown(STR("plain-_.!$&'()*+,;=:@?"), "#/plain-_.!$&'()*+,;=:@?");
    assert_unknown(STR("a/b~c"), "#/a~1b~0c");
    assert_unknown(STR("a b"), "#/a%20b");
    assert_unknown(STR("é\"%\n"), "#/%C3%A9%22%25%0A");
    assert_unknown(STR("#[]{}|\\^`<>"), "#/%23%5B%5D%7B%7D%7C%5C%5E%60%3C%3E");
    assert_unknown(STR(""), "#/");
    assert_unknown(STR("\0"), "#/%00");
    assert_unknown(STR("item"), "#/item");     // the beginning of a field's name
    assert_unknown(STR("itemss"), "#/itemss"); // and more than it
    assert_unknown(STR("items\0"), "#/items%00");
    assert_unknown(STR("items\0and more than the name has"), "#/items%00and%20more%20than%20the%20name%20has");
}

static void test_a_long_pointer_is_cut(void **state)
{
    (void)state;
    for (size_t n = 110; n < 140; n++) {
        char name[140];
        memset(name, n % 2 ? '~' : '\xFF', sizeof name);
        buf_reset(&b);
        writer_map(&b, 2);
        put_items();
        writer_str(&b, (struct str){ name, n });
        writer_nil(&b);
        assert_int_equal(unpack(), -EINVAL);
        assert_true(strlen(errors.item[0].pointer) < sizeof errors.item[0].pointer);
        assert_memory_equal(errors.item[0].pointer, "#/", 2);
    }
}

static void test_errors_over_the_limit_are_not_recorded(void **state)
{
    (void)state;
    writer_map(&b, 3 * MESSAGE_MAX_ERRORS + 1);
    put_items();
    for (int i = 0; i < 3 * MESSAGE_MAX_ERRORS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%d", i);
        writer_key(&b, name);
        writer_nil(&b);
    }
    assert_int_equal(unpack(), -EINVAL);
    assert_int_equal(errors.n, MESSAGE_MAX_ERRORS);
    assert_error(0, "#/f0", "is unknown");
    assert_error(MESSAGE_MAX_ERRORS - 1, "#/f15", "is unknown");
    message_error_add(&errors, "#", "one more");
    assert_int_equal(errors.n, MESSAGE_MAX_ERRORS);
}

static void test_an_added_error_is_cut_to_fit(void **state)
{
    (void)state;
    char longer[400];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    errors.n = 0;
    message_error_add(&errors, longer, "%s", longer);
    assert_int_equal(errors.n, 1);
    assert_int_equal(strlen(errors.item[0].pointer), sizeof errors.item[0].pointer - 1);
    assert_int_equal(strlen(errors.item[0].detail), sizeof errors.item[0].detail - 1);
}

// --- Presence

static void test_null(void **state)
{
    (void)state;
    writer_map(&b, 3);
    put_items();
    writer_key(&b, "note");
    writer_nil(&b);
    writer_key(&b, "flag");
    writer_nil(&b);
    assert_int_equal(unpack(), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_error(0, "#/flag", "must not be null; it must be a boolean");
    assert_true(MESSAGE_HAS(&basket, basket, note));
    assert_true(MESSAGE_IS_NULL(&basket, basket, note));
    assert_false(MESSAGE_HAS(&basket, basket, text));
}

static void test_null_for_everything(void **state)
{
    (void)state;
    writer_map(&b, (uint32_t)basket_message.n_fields);
    for (size_t i = 0; i < basket_message.n_fields; i++) {
        writer_key(&b, basket_message.fields[i].name);
        writer_nil(&b);
    }
    assert_int_equal(unpack(), -EINVAL);
    assert_int_equal(errors.n, basket_message.n_fields - 1);
    for (size_t i = 0; i < errors.n; i++) {
        assert_non_null(strstr(errors.item[i].detail, "must not be null"));
    }
}

static void test_required(void **state)
{
    (void)state;
    writer_map(&b, 0);
    assert_int_equal(unpack(), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_error(0, "#/items", "is required");
}

static void test_a_field_twice(void **state)
{
    (void)state;
    writer_map(&b, 3);
    put_items();
    writer_key(&b, "number");
    writer_int(&b, 1);
    writer_key(&b, "number");
    writer_int(&b, 2);
    assert_int_equal(unpack(), -EBADMSG);
}

static void test_bodies_that_are_no_object(void **state)
{
    (void)state;
    writer_array(&b, 1);
    writer_nil(&b);
    assert_int_equal(unpack(), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_error(0, "#", "must be an object");
    static const struct str broken[] = { STR_INIT(""), STR_INIT("\xC1"), STR_INIT("\x82\xA1"),
                                         STR_INIT("\x81\x01\x01"),        STR_INIT("\x81\xA5items") };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        buf_reset(&b);
        buf_append_str(&b, broken[i]);
        assert_int_equal(unpack(), -EBADMSG);
    }
}

// --- Round trips

static void fill(struct basket *m)
{
    memset(m, 0, sizeof *m);
    m->head.present = (UINT64_C(1) << basket_message.n_fields) - 1;
    m->any = STR("a\x01");
    m->line = STR("");
    m->text = STR("x\ny");
    m->email = STR("a@b.c");
    m->uuid = STR("0192f3c1-7b9a-7c3d-8e4f-001122334455");
    m->currency = STR("EUR");
    m->token = STR("t");
    m->number = -5;
    m->flag = true;
    m->at = 1795428000123;
    m->first = (struct line){ .sku = STR("S1"), .quantity = 10 };
    m->note = STR("n");
    m->items[0] = (struct line){ .sku = STR("S2"), .quantity = 1 };
    m->items[1] = (struct line){ .sku = STR("S3"), .quantity = 2 };
    m->n_items = 2;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct basket m;
    fill(&m);
    message_pack(&basket_message, &m, &b);
    assert_int_equal(unpack(), 0);
    assert_true(basket.head.present == m.head.present && basket.head.null == 0);
    assert_true(str_eq(basket.any, m.any) && str_eq(basket.line, m.line) && basket.line.p);
    assert_true(str_eq(basket.text, m.text) && str_eq(basket.email, m.email));
    assert_true(str_eq(basket.uuid, m.uuid) && str_eq(basket.currency, m.currency));
    assert_true(str_eq(basket.token, m.token) && basket.number == -5 && basket.flag);
    assert_true(basket.at == m.at && str_eq(basket.note, m.note));
    assert_true(str_eq(basket.first.sku, STR("S1")) && basket.first.quantity == 10);
    assert_int_equal(basket.n_items, 2);
    assert_true(str_eq(basket.items[1].sku, STR("S3")) && basket.items[1].quantity == 2);
    struct buf again;
    buf_init(&again, 10000);
    message_pack(&basket_message, &basket, &again);
    assert_true(str_eq(buf_str(&again), buf_str(&b)));
    buf_fini(&again);
}

static void test_only_what_is_present_is_packed(void **state)
{
    (void)state;
    struct basket m;
    fill(&m);
    m.head.present = MESSAGE_BIT(basket, note);
    m.head.null = MESSAGE_BIT(basket, note);
    message_pack(&basket_message, &m, &b);
    struct reader r = reader_of(buf_str(&b));
    uint32_t members;
    assert_int_equal(reader_map(&r, &members), 0);
    assert_int_equal(members, 2); // note, and items, which is required
    assert_int_equal(unpack(), 0);
    assert_true(MESSAGE_IS_NULL(&basket, basket, note));
    assert_true(MESSAGE_HAS(&basket, basket, items));
    assert_false(MESSAGE_HAS(&basket, basket, any));
}

// Cut at any byte, or with any bit turned, a body is refused or read, and nothing outside it is looked at.
static void test_damaged_bodies(void **state)
{
    (void)state;
    struct basket m;
    fill(&m);
    message_pack(&basket_message, &m, &b);
    for (size_t n = 0; n < b.len; n++) {
        char *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, b.data, n);
        struct reader r = reader_of((struct str){ copy, n });
        assert_int_equal(message_unpack(&basket_message, &r, &basket, &errors), -EBADMSG);
        r = reader_of((struct str){ copy, n });
        assert_int_equal(message_unpack_lenient(&basket_message, &r, &basket), -EBADMSG);
        free(copy);
    }
    for (size_t bit = 0; bit < 8 * b.len; bit++) {
        char *copy = malloc(b.len);
        assert_non_null(copy);
        memcpy(copy, b.data, b.len);
        copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
        struct reader r = reader_of((struct str){ copy, b.len });
        if (message_unpack(&basket_message, &r, &basket, &errors) == 0) {
            struct buf again;
            buf_init(&again, 10000);
            message_pack(&basket_message, &basket, &again); // whatever was taken can be written
            assert_true(buf_ok(&again));
            buf_fini(&again);
        }
        r = reader_of((struct str){ copy, b.len });
        int rc = message_unpack_lenient(&basket_message, &r, &basket);
        assert_true(rc == 0 || rc == -EBADMSG);
        free(copy);
    }
}

// --- Lenient

static void test_lenient_ignores_limits_and_the_unknown(void **state)
{
    (void)state;
    writer_map(&b, 5);
    writer_key(&b, "new_field");
    writer_array(&b, 1);
    writer_map(&b, 0);
    writer_key(&b, "any");
    writer_str(&b, STR("much longer than five"));
    writer_key(&b, "number");
    writer_int(&b, -100);
    writer_key(&b, "email");
    writer_str(&b, STR("nobody"));
    put_items();
    struct reader r = reader_of(buf_str(&b));
    assert_int_equal(message_unpack_lenient(&basket_message, &r, &basket), 0);
    assert_int_equal(reader_left(&r), 0);
    assert_true(str_eq(basket.email, STR("nobody")));
    assert_int_equal(basket.number, -100);
    assert_int_equal(basket.n_items, 1);
}

static int unpack_lenient(void)
{
    struct reader r = reader_of(buf_str(&b));
    return message_unpack_lenient(&basket_message, &r, &basket);
}

static void test_lenient_still_checks_types(void **state)
{
    (void)state;
    writer_map(&b, 2);
    put_items();
    writer_key(&b, "number");
    writer_str(&b, STR("1"));
    assert_int_equal(unpack_lenient(), -EBADMSG);
    buf_reset(&b);
    writer_map(&b, 0);
    assert_int_equal(unpack_lenient(), -EBADMSG); // items is required
    buf_reset(&b);
    writer_map(&b, 1);
    writer_key(&b, "items");
    writer_array(&b, 4); // there is room for three
    for (int i = 0; i < 4; i++) {
        put_line("A", 1);
    }
    assert_int_equal(unpack_lenient(), -EBADMSG);
    buf_reset(&b);
    writer_map(&b, 2);
    put_items();
    writer_key(&b, "at");
    writer_str(&b, STR("1969-12-31T23:59:59Z")); // message_pack() has no text for it
    assert_int_equal(unpack_lenient(), -EBADMSG);
}

// --- Schemas

// Checks one schema against its table, member by member.
static void assert_schema(const struct message *m, bool closed)
{
    buf_reset(&b);
    message_schema(m, closed, &b);
    yyjson_doc *doc = yyjson_read(b.data, b.len, 0);
    assert_non_null(doc);
    yyjson_val *root = yyjson_doc_get_root(doc), *properties = yyjson_obj_get(root, "properties");
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "type")), "object");
    assert_int_equal(yyjson_is_false(yyjson_obj_get(root, "additionalProperties")), closed);
    assert_int_equal(yyjson_obj_size(root), closed ? 4 : 3);
    assert_int_equal(yyjson_obj_size(properties), m->n_fields);
    size_t required = 0;
    for (size_t i = 0; i < m->n_fields; i++) {
        yyjson_val *p = yyjson_obj_get(properties, m->fields[i].name);
        assert_non_null(p);
        assert_string_equal(yyjson_get_str(yyjson_obj_get(p, "description")), m->fields[i].description);
        if (m->fields[i].kind == FIELD_OBJECT) {
            assert_non_null(strstr(yyjson_get_str(yyjson_ptr_get(p, "/allOf/0/$ref")), m->fields[i].sub->name));
            assert_int_equal(yyjson_is_false(yyjson_obj_get(p, "unevaluatedProperties")), closed);
        } else {
            assert_non_null(yyjson_obj_get(p, "type"));
        }
        if (m->fields[i].kind == FIELD_LIST) {
            yyjson_val *end = yyjson_ptr_get(p, "/items/unevaluatedProperties");
            assert_int_equal(yyjson_is_false(end), closed);
        }
        required += (m->fields[i].flags & FIELD_REQUIRED) != 0;
    }
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(root, "required")), required);
    yyjson_doc_free(doc);
}

static void test_schemas(void **state)
{
    (void)state;
    static const struct message *const all[] = {
        &basket_message,       &line_message,          &user_message,          &user_create_message,
        &user_patch_message,   &user_deleted_message,  &session_create_message, &session_message,
        &session_refresh_message, &session_revoked_message, &user_list_message, &money_message,
        &product_message,      &product_create_message, &product_patch_message, &product_list_message,
        &order_create_message, &order_line_message,    &order_message,         &order_list_message,
        &order_history_message, &search_hit_message,   &search_result_message, &suggestions_message,
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_schema(all[i], false);
        assert_schema(all[i], true);
    }
}

static void test_schema_of_each_kind(void **state)
{
    (void)state;
    message_schema(&basket_message, false, &b);
    buf_append_char(&b, '\0');
    static const char *const parts[] = {
        "\"any\":{\"type\":\"string\",\"minLength\":0,\"maxLength\":5,\"description\":\"Any \\\"text\\\"\"}",
        "\"email\":{\"type\":\"string\",\"minLength\":3,\"maxLength\":40,\"format\":\"email\"",
        "\"number\":{\"type\":\"integer\",\"minimum\":-5,\"description\"", // INT64_MAX is no limit to name
        "\"at\":{\"type\":\"string\",\"format\":\"date-time\"",
        "\"first\":{\"allOf\":[{\"$ref\":\"#/components/schemas/line\"}],\"description\"",
        "\"note\":{\"type\":[\"string\",\"null\"],\"minLength\":0,\"maxLength\":10",
        "\"items\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/line\"},",
        "\"minItems\":1,\"maxItems\":3",
        "\"required\":[\"items\"]",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!strstr(b.data, parts[i])) {
            fail_msg("%s is not in %s", parts[i], b.data);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_lengths_count_characters),
        CASE(test_only_utf8_without_nul),
        CASE(test_formats),
        CASE(test_email),
        CASE(test_sku),
        CASE(test_integers),
        CASE(test_every_kind_refuses_the_others),
        CASE(test_a_list_refuses_the_others),
        CASE(test_times),
        CASE(test_list_limits),
        CASE(test_every_mistake_has_its_place),
        CASE(test_pointers_are_escaped),
        CASE(test_a_long_pointer_is_cut),
        CASE(test_errors_over_the_limit_are_not_recorded),
        CASE(test_an_added_error_is_cut_to_fit),
        CASE(test_null),
        CASE(test_null_for_everything),
        CASE(test_required),
        CASE(test_a_field_twice),
        CASE(test_bodies_that_are_no_object),
        CASE(test_round_trip),
        CASE(test_only_what_is_present_is_packed),
        CASE(test_damaged_bodies),
        CASE(test_lenient_ignores_limits_and_the_unknown),
        CASE(test_lenient_still_checks_types),
        CASE(test_schemas),
        CASE(test_schema_of_each_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
