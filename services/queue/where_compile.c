// SPDX-License-Identifier: MIT
// The compiler of the filter language: recursive descent, one function per rule of the grammar, straight from the
// text to instructions. The first error ends it, and says where and what would have been right.
#include "services/queue/where.h"

#include "proto/timestamp.h"
#include "proto/utf8.h"
#include "services/queue/where_program.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define MAX_NUMBER_BYTES 64

struct compiler {
    struct str text;
    size_t at; // next byte
    struct where *where;
    struct where_error *error;
    unsigned nesting;
    unsigned n_nodes, n_contains;
};

__attribute__((warn_unused_result)) static int fail_at(struct compiler *c, size_t at,
                                                       const char *reason)
{
    *c->error = (struct where_error){ at, reason };
    return -EINVAL;
}

__attribute__((warn_unused_result)) static int fail(struct compiler *c, const char *reason)
{
    return fail_at(c, c->at, reason);
}

// --- Characters and words

static int peek(const struct compiler *c)
{
    return c->at < c->text.n ? (unsigned char)c->text.p[c->at] : -1;
}

static bool take_char(struct compiler *c, char wanted)
{
    if (peek(c) != wanted) {
        return false;
    }
    c->at++;
    return true;
}

static void skip_blanks(struct compiler *c)
{
    while (peek(c) == ' ' || peek(c) == '\t' || peek(c) == '\r' || peek(c) == '\n') {
        c->at++;
    }
}

static bool is_digit(int ch)
{
    return ch >= '0' && ch <= '9';
}

static bool is_name_char(int ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_' || is_digit(ch);
}

// The word at the place where the text is read; empty when there is none.
static struct str peek_word(const struct compiler *c)
{
    size_t end = c->at;
    while (end < c->text.n && is_name_char((unsigned char)c->text.p[end])) {
        end++;
    }
    return (struct str){ c->text.p + c->at, end - c->at };
}

static bool take_word(struct compiler *c, struct str wanted)
{
    skip_blanks(c);
    if (!str_eq(peek_word(c), wanted)) {
        return false;
    }
    c->at += wanted.n;
    return true;
}

// --- Nodes

static int count_node(struct compiler *c)
{
    if (c->n_nodes == WHERE_MAX_NODES) {
        return fail(c, "too long: at most 128 comparisons, operators and literals together");
    }
    c->n_nodes++;
    return 0;
}

static int emit(struct compiler *c, struct where_instruction i)
{
    int status = count_node(c);
    if (status == 0) {
        c->where->program[c->where->n_instructions++] = i;
    }
    return status;
}

static int add_literal(struct compiler *c, struct where_value v, uint8_t *ret_operand)
{
    int status = count_node(c);
    if (status == 0) {
        *ret_operand = (uint8_t)(WHERE_LITERAL + c->where->n_literals);
        c->where->literals[c->where->n_literals++] = v;
    }
    return status;
}

// --- Strings

// Strings are never longer than the text that they stand in, and do not overlap there: they fit.
static void put(struct compiler *c, char ch)
{
    struct where *w = c->where;
    assert(w->text_bytes < sizeof w->text);
    w->text[w->text_bytes++] = ch;
}

static void put_code_point(struct compiler *c, uint32_t v)
{
    if (v < 0x80) {
        put(c, (char)v);
        return;
    }
    if (v < 0x800) {
        put(c, (char)(0xC0 | v >> 6));
    } else if (v < 0x10000) {
        put(c, (char)(0xE0 | v >> 12));
        put(c, (char)(0x80 | (v >> 6 & 0x3F)));
    } else {
        put(c, (char)(0xF0 | v >> 18));
        put(c, (char)(0x80 | (v >> 12 & 0x3F)));
        put(c, (char)(0x80 | (v >> 6 & 0x3F)));
    }
    put(c, (char)(0x80 | (v & 0x3F)));
}

// Four hexadecimal digits.
static int take_hex(struct compiler *c, uint32_t *ret)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int ch = peek(c), lower = ch | 0x20;
        if (!is_digit(ch) && !(lower >= 'a' && lower <= 'f')) {
            return fail(c, "\\u is followed by four hexadecimal digits");
        }
        v = v << 4 | (uint32_t)(is_digit(ch) ? ch - '0' : lower - 'a' + 10);
        c->at++;
    }
    *ret = v;
    return 0;
}

// What follows \u.
static int unicode_escape(struct compiler *c)
{
    static const char reason[] =
        "half of a pair: \\uD800 to \\uDBFF are followed by \\uDC00 to \\uDFFF";
    size_t start = c->at - 2;
    uint32_t high, low;
    int status = take_hex(c, &high);
    if (status) {
        return status;
    }
    if (high < 0xD800 || high > 0xDFFF) {
        put_code_point(c, high);
        return 0;
    }
    if (high > 0xDBFF || !take_char(c, '\\') || !take_char(c, 'u')) {
        return fail_at(c, start, reason);
    }
    status = take_hex(c, &low);
    if (status == 0 && (low < 0xDC00 || low > 0xDFFF)) {
        status = fail_at(c, start, reason);
    }
    if (status == 0) {
        put_code_point(c, 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
    }
    return status;
}

// What follows a backslash.
static int escape(struct compiler *c)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int ch = peek(c);
    if (ch == 'u') {
        c->at++;
        return unicode_escape(c);
    }
    const char *found = ch > 0 ? strchr(from, ch) : NULL;
    if (!found) {
        return fail_at(c, c->at - 1, "in a string \\ is followed by one of \" \\ / b f n r t u");
    }
    put(c, to[found - from]);
    c->at++;
    return 0;
}

// A string from its opening quote on, which is there.
static int string(struct compiler *c, struct str *ret)
{
    size_t start = c->at++, first = c->where->text_bytes;
    while (!take_char(c, '"')) {
        int ch = peek(c), status = 0;
        if (ch < 0) {
            return fail_at(c, start, "a string without a closing \"");
        }
        if (ch < 0x20) {
            return fail(c, "a control character in a string is written as \\n, \\t or \\u0000");
        }
        c->at++;
        if (ch == '\\') {
            status = escape(c);
        } else {
            put(c, (char)ch);
        }
        if (status) {
            return status;
        }
    }
    *ret = (struct str){ c->where->text + first, c->where->text_bytes - first };
    return 0;
}

// --- Numbers

static size_t count_digits(struct compiler *c)
{
    size_t from = c->at;
    while (is_digit(peek(c))) {
        c->at++;
    }
    return c->at - from;
}

static int integer(struct compiler *c, size_t start, struct where_value *ret)
{
    bool negative = c->text.p[start] == '-';
    uint64_t limit = negative ? UINT64_C(1) << 63 : UINT64_MAX, v = 0;
    for (size_t i = start + negative; i < c->at; i++) {
        uint64_t digit = (uint64_t)(c->text.p[i] - '0');
        if (v > (limit - digit) / 10) {
            return fail_at(
                c, start,
                "an integer is from -9223372036854775808 to 18446744073709551615; with an "
                "exponent (1e30) it is a double");
        }
        v = v * 10 + digit;
    }
    if (v > INT64_MAX && !negative) {
        *ret = (struct where_value){ .type = WHERE_UINT, .large = v };
    } else {
        *ret =
            (struct where_value){ .type = WHERE_INT, .integer = (int64_t)(negative ? 0 - v : v) };
    }
    return 0;
}

static int number(struct compiler *c, struct where_value *ret)
{
    static const char reason[] = "a number is written as in JSON: 12, -3, 0.5, 1e6";
    size_t start = c->at;
    bool is_integer = true;
    (void)take_char(c, '-'); // may be there
    size_t first = c->at, digits = count_digits(c);
    if (digits == 0 || (digits > 1 && c->text.p[first] == '0')) {
        return fail_at(c, start, reason);
    }
    if (take_char(c, '.')) {
        is_integer = false;
        if (count_digits(c) == 0) {
            return fail_at(c, start, reason);
        }
    }
    if (take_char(c, 'e') || take_char(c, 'E')) {
        is_integer = false;
        (void)(take_char(c, '+') || take_char(c, '-')); // may be there
        if (count_digits(c) == 0) {
            return fail_at(c, start, reason);
        }
    }
    if (is_name_char(peek(c)) || peek(c) == '.') {
        return fail_at(c, start, reason);
    }
    if (is_integer) {
        return integer(c, start, ret);
    }
    char z[MAX_NUMBER_BYTES + 1];
    size_t n = c->at - start;
    if (n > MAX_NUMBER_BYTES) {
        return fail_at(c, start, "a number has at most 64 characters");
    }
    memcpy(z, c->text.p + start, n);
    z[n] = '\0';
    *ret = (struct where_value){ .type = WHERE_DOUBLE, .real = strtod(z, NULL) };
    return isinf(ret->real) ? fail_at(c, start, "a double is at most about 1.797e308") : 0;
}

// --- Literals

// 1 and the literal, 0 when something else begins here, or an error.
static int literal(struct compiler *c, uint8_t *ret_operand)
{
    struct where_value v = { .type = WHERE_NIL };
    int status = 0;
    skip_blanks(c);
    if (peek(c) == '"') {
        v.type = WHERE_STR;
        status = string(c, &v.str);
    } else if (peek(c) == '-' || is_digit(peek(c))) {
        status = number(c, &v);
    } else if (take_word(c, STR("true"))) {
        v = (struct where_value){ .type = WHERE_BOOL, .truth = true };
    } else if (take_word(c, STR("false"))) {
        v = (struct where_value){ .type = WHERE_BOOL, .truth = false };
    } else if (!take_word(c, STR("null"))) {
        return 0;
    }
    status = status ? status : add_literal(c, v, ret_operand);
    return status ? status : 1;
}

// --- Paths

static int add_place(struct compiler *c, struct where_place p, size_t start, uint8_t *ret_place)
{
    struct where *w = c->where;
    uint8_t *link = &w->places[p.parent].first_child;
    for (; *link; link = &w->places[*link].next) {
        const struct where_place *other = &w->places[*link];
        bool same = p.name.p ? other->name.p && str_eq(other->name, p.name)
                             : !other->name.p && other->index == p.index;
        if (same) {
            *ret_place = *link;
            return 0;
        }
    }
    if (w->n_places == WHERE_MAX_PLACES) {
        return fail_at(c, start, "too many paths: at most 63 names and indexes under .data");
    }
    *link = *ret_place = (uint8_t)w->n_places;
    w->places[w->n_places++] = p;
    return 0;
}

// The name behind a dot.
static int path_name(struct compiler *c, struct str *ret)
{
    struct str word = peek_word(c);
    if (peek(c) == '"') {
        return string(c, ret);
    }
    if (word.n == 0 || is_digit(peek(c))) {
        return fail(c, "behind a dot comes a name, or a string for an odd one: .a or .\"a b\"");
    }
    ret->p = c->where->text + c->where->text_bytes;
    ret->n = word.n;
    for (size_t i = 0; i < word.n; i++) {
        put(c, word.p[i]);
    }
    c->at += word.n;
    return 0;
}

static int path_index(struct compiler *c, uint32_t *ret)
{
    uint64_t v = 0;
    size_t start = c->at;
    while (is_digit(peek(c)) && v <= UINT32_MAX) {
        v = v * 10 + (uint64_t)(c->text.p[c->at++] - '0');
    }
    if (c->at == start || v > UINT32_MAX || !take_char(c, ']')) {
        return fail_at(c, start, "an index is a number from 0 to 4294967295 and a ]");
    }
    *ret = (uint32_t)v;
    return 0;
}

// What follows .data.
static int data_path(struct compiler *c, uint8_t *ret_operand)
{
    uint8_t place = 0;
    for (unsigned depth = 1; peek(c) == '.' || peek(c) == '['; depth++) {
        struct where_place p = { .parent = place };
        size_t start = c->at++;
        int status = c->text.p[start] == '.' ? path_name(c, &p.name) : path_index(c, &p.index);
        if (status == 0 && depth > WHERE_MAX_NESTING) {
            status = fail_at(c, start, "a path has at most 16 names and indexes behind .data");
        }
        status = status ? status : add_place(c, p, start, &place);
        if (status) {
            return status;
        }
    }
    c->where->places[place].wanted |= UINT64_C(1) << place;
    *ret_operand = WHERE_PLACE + place;
    return 0;
}

// A path from its dot on, which is there.
static int path(struct compiler *c, uint8_t *ret_operand)
{
    static const struct {
        struct str name;
        enum where_attribute attribute;
    } attributes[] = {
        { STR_INIT("topic"), WHERE_TOPIC },
        { STR_INIT("type"), WHERE_TOPIC },
        { STR_INIT("key"), WHERE_KEY },
        { STR_INIT("partitionkey"), WHERE_KEY },
        { STR_INIT("subject"), WHERE_SUBJECT },
        { STR_INIT("source"), WHERE_SOURCE },
        { STR_INIT("id"), WHERE_ID },
        { STR_INIT("time"), WHERE_TIME },
        { STR_INIT("seq"), WHERE_SEQ },
        { STR_INIT("stored_at"), WHERE_STORED_AT },
        { STR_INIT("traceparent"), WHERE_TRACEPARENT },
    };
    struct str name;
    size_t start = c->at++;
    int status = path_name(c, &name);
    if (status) {
        return status;
    }
    if (str_eq(name, STR("data"))) {
        return data_path(c, ret_operand);
    }
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        if (str_eq(name, attributes[i].name)) {
            *ret_operand = (uint8_t)(WHERE_ATTRIBUTE + attributes[i].attribute);
            return peek(c) == '.' || peek(c) == '[' ? fail(c, "only .data has something inside")
                                                    : 0;
        }
    }
    return fail_at(
        c, start,
        "an event has .topic (or .type), .key (or .partitionkey), .subject, .source, .id, "
        ".traceparent, .time, .seq, .stored_at and .data");
}

// --- Comparisons

static bool is_time(uint8_t operand)
{
    return operand == WHERE_ATTRIBUTE + WHERE_TIME || operand == WHERE_ATTRIBUTE + WHERE_STORED_AT;
}

// A literal that is compared with a time becomes one.
static int make_time(struct compiler *c, uint8_t operand, size_t at)
{
    if (operand < WHERE_LITERAL) {
        return 0;
    }
    struct where_value *v = &c->where->literals[operand - WHERE_LITERAL];
    int64_t ms;
    if (v->type != WHERE_STR || timestamp_parse(v->str, &ms)) {
        return fail_at(c, at, "a time is compared with a time: \"2026-11-23T10:00:00Z\"");
    }
    *v = (struct where_value){ .type = WHERE_WHEN, .integer = ms };
    return 0;
}

// 1 and the operator, 0 when there is none, or an error.
static int comparison_operator(struct compiler *c, enum where_op *ret)
{
    static const struct {
        struct str sign;
        enum where_op op;
    } signs[] = { // of two that begin alike, the longer first
        { STR_INIT("=="), WHERE_EQUAL },      { STR_INIT("!="), WHERE_UNEQUAL },
        { STR_INIT("<="), WHERE_LESS_EQUAL }, { STR_INIT("<"), WHERE_LESS },
        { STR_INIT(">="), WHERE_GREATER_EQUAL }, { STR_INIT(">"), WHERE_GREATER },
    }, words[] = {
        { STR_INIT("starts"), WHERE_STARTS }, { STR_INIT("ends"), WHERE_ENDS },
        { STR_INIT("contains"), WHERE_CONTAINS }, { STR_INIT("in"), WHERE_IN },
    };
    skip_blanks(c);
    struct str rest = { c->text.p + c->at, c->text.n - c->at };
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        if (str_starts(rest, signs[i].sign)) {
            c->at += signs[i].sign.n;
            *ret = signs[i].op;
            return 1;
        }
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (take_word(c, words[i].sign)) {
            *ret = words[i].op;
            return 1;
        }
    }
    return peek(c) == '=' ? fail(c, "equality is written ==") : 0;
}

static int operand(struct compiler *c, uint8_t *ret_operand)
{
    int status = literal(c, ret_operand);
    if (status) {
        return status < 0 ? status : 0;
    }
    return peek(c) == '.' ? path(c, ret_operand)
                          : fail(c, "here comes a path like .data.total, a number, a string, true, "
                                    "false or null");
}

// What follows `in`.
static int list(struct compiler *c, uint8_t left)
{
    struct where_instruction i = { .op = WHERE_IN, .left = left };
    skip_blanks(c);
    if (!take_char(c, '[')) {
        return fail(c, "behind in comes a list: in [\"a\", \"b\"]");
    }
    do {
        uint8_t one;
        skip_blanks(c);
        size_t at = c->at;
        int status = literal(c, &one);
        if (status <= 0) {
            return status ? status
                          : fail(c, "in a list are numbers, strings, true, false and null");
        }
        if (is_time(left) && (status = make_time(c, one, at))) {
            return status;
        }
        i.right = i.more++ == 0 ? one : i.right;
        skip_blanks(c);
    } while (take_char(c, ','));
    return take_char(c, ']') ? emit(c, i) : fail(c, "a list goes on with , or ends with ]");
}

// What follows an operator that has two operands.
static int right_side(struct compiler *c, struct where_instruction i, size_t left_at)
{
    skip_blanks(c);
    size_t at = c->at;
    int status = operand(c, &i.right);
    bool times = is_time(i.left) || is_time(i.right);
    if (status) {
        return status;
    }
    if (times && i.op >= WHERE_STARTS && i.op <= WHERE_CONTAINS) {
        return fail_at(c, left_at, "a time is compared by == != < <= > >= or in");
    }
    if (times && (status = make_time(c, i.right, at))) {
        return status;
    }
    if (times && (status = make_time(c, i.left, left_at))) {
        return status;
    }
    if (i.op == WHERE_CONTAINS && c->n_contains++ == WHERE_MAX_CONTAINS) {
        return fail_at(c, left_at, "at most 8 times contains in one filter");
    }
    return emit(c, i);
}

static int comparison(struct compiler *c)
{
    struct where_instruction i = { .op = WHERE_TRUE };
    size_t at = c->at;
    enum where_op op;
    int status = operand(c, &i.left);
    if (status) {
        return status;
    }
    status = comparison_operator(c, &op);
    if (status < 0) {
        return status;
    }
    if (status == 0) {
        return i.left < WHERE_LITERAL ? emit(c, i)
                                      : fail(c, "behind a value comes == != < <= > >= starts ends "
                                                "contains or in");
    }
    i.op = (uint8_t)op;
    return op == WHERE_IN ? list(c, i.left) : right_side(c, i, at);
}

// --- Conditions

static int filter(struct compiler *c);

static int group(struct compiler *c)
{
    size_t start = c->at++;
    if (c->nesting == WHERE_MAX_NESTING) {
        return fail_at(c, start, "parentheses may be nested 16 deep");
    }
    c->nesting++;
    int status = filter(c);
    c->nesting--;
    skip_blanks(c);
    if (status == 0 && !take_char(c, ')')) {
        status = peek(c) < 0 ? fail_at(c, start, "a ( without its )")
                             : fail(c, "here comes and, or, a comparison, or the ) of a (");
    }
    return status;
}

static int condition(struct compiler *c)
{
    bool inverted = false;
    int status;
    while (take_word(c, STR("not"))) {
        inverted = !inverted;
    }
    if (peek(c) == '(') {
        status = group(c);
    } else if (take_word(c, STR("exists"))) {
        struct where_instruction i = { .op = WHERE_EXISTS };
        skip_blanks(c);
        status =
            peek(c) == '.' ? path(c, &i.left) : fail(c, "behind exists comes a path: exists .key");
        status = status ? status : emit(c, i);
    } else {
        status = comparison(c);
    }
    if (status == 0 && inverted) {
        status = emit(c, (struct where_instruction){ .op = WHERE_NOT });
    }
    return status;
}

// Conditions between `word`s: behind each, a jump over the next one, which is taken when the value decides.
static int chain(struct compiler *c, struct str word, enum where_op jump,
                 int (*part)(struct compiler *))
{
    int status = part(c);
    while (status == 0 && take_word(c, word)) {
        size_t here = c->where->n_instructions;
        status = emit(c, (struct where_instruction){ .op = (uint8_t)jump });
        status = status ? status : part(c);
        if (status == 0) {
            c->where->program[here].more = (uint8_t)c->where->n_instructions;
        }
    }
    return status;
}

static int all(struct compiler *c)
{
    return chain(c, STR("and"), WHERE_JUMP_IF_FALSE, condition);
}

static int filter(struct compiler *c)
{
    return chain(c, STR("or"), WHERE_JUMP_IF_TRUE, all);
}

static int compile(struct compiler *c)
{
    if (c->text.n > QUEUE_MAX_WHERE) {
        return fail_at(c, QUEUE_MAX_WHERE, "a filter has at most 1024 bytes");
    }
    if (!utf8_valid(c->text)) {
        return fail(c, "a filter is UTF-8");
    }
    int status = filter(c);
    skip_blanks(c);
    if (status == 0 && c->at < c->text.n) {
        status = fail(
            c, "here comes and, or, a comparison (== != < <= > >= starts ends contains in), or the "
               "end");
    }
    return status;
}

int where_compile(struct str text, struct where **ret_where, struct where_error *ret_error)
{
    struct where *w = calloc(1, sizeof *w);
    if (!w) {
        return -ENOMEM;
    }
    struct compiler c = { .text = text, .where = w, .error = ret_error };
    w->n_places = 1; // .data
    int status = compile(&c);
    if (status) {
        free(w);
        return status;
    }
    for (size_t i = w->n_places - 1; i > 0; i--) { // children come behind their parents
        w->places[w->places[i].parent].wanted |= w->places[i].wanted;
    }
    *ret_where = w;
    return 0;
}
