// SPDX-License-Identifier: MIT
// Matching: runs the program over one event. The fields of the event are read in their order as far as an
// operand needs them; its data is walked over once, when the first operand asks for something in it.
#include "services/queue/where.h"

#include "proto/timestamp.h"
#include "services/queue/where_program.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define MAX_TIME_BYTES 64 // of a string that is tried as a time; RFC 3339 needs about 30
#define TWO_63 9223372036854775808.0
#define TWO_64 18446744073709551616.0

// One event while it is looked at.
struct view {
    const struct where *where;
    uint64_t seq;
    int64_t stored_ms;
    struct reader rest;                            // of the event's fields
    struct where_value attributes[WHERE_DATA + 1]; // .data as bytes
    unsigned n_attributes;                         // read so far
    bool opened, walked;
    const uint8_t *data_end;
    uint64_t decided; // places that were found, or are known not to be there
    uint64_t found;
    const uint8_t *found_at[WHERE_MAX_PLACES]; // of those in found
};

// --- Values

static const struct where_value missing = { .type = WHERE_MISSING };

static struct where_value of_uint(uint64_t v)
{
    if (v > INT64_MAX) {
        return (struct where_value){ .type = WHERE_UINT, .large = v };
    }
    return (struct where_value){ .type = WHERE_INT, .integer = (int64_t)v };
}

// The value that r stands before. r moves behind it, but stays before a list or something that equals
// nothing: most who ask do not go on from there. -EBADMSG: no value.
static int read_value(struct reader *r, struct where_value *ret)
{
    switch (reader_peek(r)) {
    case READER_NIL:
        ret->type = WHERE_NIL;
        return reader_nil(r);
    case READER_BOOL:
        ret->type = WHERE_BOOL;
        return reader_bool(r, &ret->truth);
    case READER_INT:
        ret->type = WHERE_INT;
        return reader_int(r, &ret->integer);
    case READER_UINT:
        ret->type = WHERE_UINT;
        return reader_uint(r, &ret->large);
    case READER_DOUBLE:
        ret->type = WHERE_DOUBLE;
        return reader_double(r, &ret->real);
    case READER_STR:
        ret->type = WHERE_STR;
        return reader_str(r, &ret->str);
    case READER_ARRAY:
        ret->type = WHERE_LIST;
        ret->list = *r;
        return 0;
    case READER_END:
    case READER_INVALID:
        return -EBADMSG;
    default:
        ret->type = WHERE_OTHER;
        return 0;
    }
}

// --- Comparing

enum order { BELOW = -1, SAME = 0, ABOVE = 1, NO_ORDER = 2, NOT_SAME = 3 };

static enum order order_of(bool below, bool above)
{
    return below ? BELOW : above ? ABOVE : SAME;
}

static bool is_number(const struct where_value *v)
{
    return v->type == WHERE_INT || v->type == WHERE_UINT || v->type == WHERE_DOUBLE;
}

// An integer against a double. A double between -2^63 and 2^64 has an integer part that fits; when that
// is the integer, what is behind the point decides.
static enum order order_mixed(const struct where_value *v, double d)
{
    if (isnan(d)) {
        return NOT_SAME;
    }
    if (v->type == WHERE_UINT) {
        if (d >= TWO_64 || d < TWO_63) {
            return d < TWO_63 ? ABOVE : BELOW;
        }
        return order_of(v->large<(uint64_t)d, v->large>(uint64_t)
                            d); // from 2^53 on there is no part
    }
    if (d >= TWO_63 || d < -TWO_63) {
        return d < 0 ? ABOVE : BELOW;
    }
    int64_t whole = (int64_t)d;
    double part = d - (double)whole;
    if (v->integer != whole) {
        return order_of(v->integer < whole, true);
    }
    return order_of(part > 0, part < 0);
}

static enum order reversed(enum order o)
{
    return o == BELOW ? ABOVE : o == ABOVE ? BELOW : o;
}

static enum order order_numbers(const struct where_value *a, const struct where_value *b)
{
    if (a->type == WHERE_DOUBLE && b->type == WHERE_DOUBLE) {
        return isnan(a->real) || isnan(b->real) ? NOT_SAME
                                                : order_of(a->real<b->real, a->real> b->real);
    }
    if (b->type == WHERE_DOUBLE) {
        return order_mixed(a, b->real);
    }
    if (a->type == WHERE_DOUBLE) {
        return reversed(order_mixed(b, a->real));
    }
    if (a->type != b->type) {
        return order_of(b->type == WHERE_UINT,
                        true); // one above INT64_MAX is above one that is not
    }
    return a->type == WHERE_INT ? order_of(a->integer<b->integer, a->integer> b->integer)
                                : order_of(a->large<b->large, a->large> b->large);
}

static enum order order_times(const struct where_value *when, const struct where_value *v)
{
    int64_t ms = v->integer;
    if (v->type == WHERE_STR) {
        if (v->str.n > MAX_TIME_BYTES || timestamp_parse(v->str, &ms)) {
            return NOT_SAME;
        }
    } else if (v->type != WHERE_WHEN) {
        return NOT_SAME;
    }
    return order_of(when->integer<ms, when->integer> ms);
}

static enum order order_values(const struct where_value *a, const struct where_value *b)
{
    if (a->type == WHERE_STR && b->type == WHERE_STR) {
        int order = str_cmp(a->str, b->str);
        return order_of(order<0, order> 0);
    }
    if (is_number(a) && is_number(b)) {
        return order_numbers(a, b);
    }
    if (a->type == WHERE_WHEN) {
        return order_times(a, b);
    }
    if (b->type == WHERE_WHEN) {
        return reversed(order_times(b, a));
    }
    if (a->type != b->type || (a->type != WHERE_NIL && a->type != WHERE_BOOL)) {
        return NOT_SAME;
    }
    return a->type == WHERE_NIL || a->truth == b->truth ? NO_ORDER : NOT_SAME;
}

static bool equal(enum order o)
{
    return o == SAME || o == NO_ORDER;
}

static bool ends(struct str s, struct str end)
{
    return s.n >= end.n && (end.n == 0 || memcmp(s.p + s.n - end.n, end.p, end.n) == 0);
}

static bool list_contains(struct reader list, const struct where_value *wanted)
{
    uint32_t count;
    if (reader_array(&list, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct where_value v;
        if (read_value(&list, &v)) {
            return false;
        }
        if (equal(order_values(&v, wanted))) {
            return true;
        }
        if (v.type >= WHERE_LIST && reader_skip(&list)) {
            return false;
        }
    }
    return false;
}

static bool contains(const struct where_value *a, const struct where_value *b)
{
    if (a->type == WHERE_LIST) {
        return list_contains(a->list, b);
    }
    if (a->type != WHERE_STR || b->type != WHERE_STR) {
        return false;
    }
    return b->str.n == 0 || (a->str.n && memmem(a->str.p, a->str.n, b->str.p, b->str.n));
}

// --- Finding places in data

// Whether everything that the program can ask for is decided.
static bool all_decided(const struct view *v)
{
    return (v->where->places[0].wanted & ~v->decided) == 0;
}

static bool wants(const struct view *v, uint8_t place)
{
    return (v->where->places[place].wanted & ~v->decided) != 0;
}

static bool skip_values(struct reader *r, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (reader_skip(r)) {
            return false;
        }
    }
    return true;
}

static bool walk(struct view *v, uint8_t place, struct reader *r);

static uint8_t child_of_name(const struct view *v, uint8_t place, struct str name)
{
    const struct where_place *places = v->where->places;
    uint8_t child = places[place].first_child;
    while (child &&
           !(places[child].name.p && str_eq(places[child].name, name) && wants(v, child))) {
        child = places[child].next;
    }
    return child;
}

static bool walk_map(struct view *v, uint8_t place, struct reader *r)
{
    uint32_t count;
    if (reader_map(r, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct str name;
        if (!wants(v, place)) {
            return skip_values(r, 2 * (uint64_t)(count - i));
        }
        uint8_t child = 0;
        if (reader_str(r, &name) == 0) {
            child = child_of_name(v, place, name);
        } else if (reader_skip(r)) {
            return false;
        }
        if (child ? !walk(v, child, r) : reader_skip(r) != 0) {
            return false;
        }
    }
    return true;
}

// The child of the lowest index that is wanted; 0: none.
static uint8_t next_index(const struct view *v, uint8_t place)
{
    const struct where_place *places = v->where->places;
    uint8_t lowest = 0;
    for (uint8_t child = places[place].first_child; child; child = places[child].next) {
        if (!places[child].name.p && wants(v, child) &&
            (!lowest || places[child].index < places[lowest].index)) {
            lowest = child;
        }
    }
    return lowest;
}

static bool walk_list(struct view *v, uint8_t place, struct reader *r)
{
    uint32_t count, at = 0;
    uint8_t child;
    if (reader_array(r, &count)) {
        return false;
    }
    while ((child = next_index(v, place)) && v->where->places[child].index < count) {
        uint32_t index = v->where->places[child].index;
        if (!skip_values(r, index - at) || !walk(v, child, r)) {
            return false;
        }
        at = index + 1;
    }
    return skip_values(r, count - at);
}

// Looks for a place and what is below it in the value that r stands before, and steps over the value.
// False when there is no reason to go on: everything is decided, or the bytes are no value. Recursion ends
// with the depth of paths, WHERE_MAX_NESTING.
static bool walk(struct view *v, uint8_t place, struct reader *r)
{
    const struct where_place *p = &v->where->places[place];
    enum reader_type type = reader_peek(r);
    if (type == READER_END || type == READER_INVALID) {
        return false;
    }
    v->found |= UINT64_C(1) << place;
    v->found_at[place] = r->p;
    v->decided |= UINT64_C(1) << place;
    if (all_decided(v)) {
        return false;
    }
    bool go_on = !wants(v, place)       ? reader_skip(r) == 0
                 : type == READER_MAP   ? walk_map(v, place, r)
                 : type == READER_ARRAY ? walk_list(v, place, r)
                                        : reader_skip(r) == 0;
    v->decided |= p->wanted;
    return go_on && !all_decided(v);
}

// --- Operands

// Reads the event's fields up to number i. What cannot be read is missing.
static const struct where_value *attribute(struct view *v, unsigned i)
{
    uint32_t count;
    if (!v->opened) {
        v->opened = true;
        if (reader_array(&v->rest, &count) || count <= WHERE_DATA) {
            v->rest.p = v->rest.end;
        }
    }
    for (; v->n_attributes <= i; v->n_attributes++) {
        struct where_value *a = &v->attributes[v->n_attributes];
        int status;
        if (v->n_attributes == WHERE_TIME) {
            a->type = WHERE_WHEN;
            status = reader_int(&v->rest, &a->integer);
        } else {
            a->type = WHERE_STR;
            status = v->n_attributes == WHERE_DATA ? reader_bin(&v->rest, &a->str)
                                                   : reader_str(&v->rest, &a->str);
        }
        if (status) {
            *a = missing;
            v->rest.p = v->rest.end;
        }
    }
    return &v->attributes[i];
}

static struct where_value place_value(struct view *v, uint8_t place)
{
    struct where_value value;
    if (!v->walked) {
        v->walked = true;
        const struct where_value *data = attribute(v, WHERE_DATA);
        if (data->type == WHERE_STR) {
            struct reader r = reader_of(data->str);
            v->data_end = r.end;
            (void)walk(v, 0, &r); // what was found is in v
        }
    }
    if (!(v->found & UINT64_C(1) << place)) {
        return missing;
    }
    struct reader r = { v->found_at[place], v->data_end };
    return read_value(&r, &value) ? missing : value;
}

static struct where_value operand(struct view *v, uint8_t number)
{
    if (number >= WHERE_LITERAL) {
        return v->where->literals[number - WHERE_LITERAL];
    } else if (number < WHERE_ATTRIBUTE) {
        return place_value(v, number);
    } else if (number == WHERE_ATTRIBUTE + WHERE_SEQ) {
        return of_uint(v->seq);
    } else if (number == WHERE_ATTRIBUTE + WHERE_STORED_AT) {
        return (struct where_value){ .type = WHERE_WHEN, .integer = v->stored_ms };
    }
    return *attribute(v, number - WHERE_ATTRIBUTE);
}

// --- Running

static bool exists(const struct where_value *a, uint8_t number)
{
    bool none = number >= WHERE_ATTRIBUTE && a->type == WHERE_STR && a->str.n == 0;
    return a->type != WHERE_MISSING && !none;
}

static bool test(struct view *v, struct where_instruction i)
{
    struct where_value a = operand(v, i.left);
    if (i.op == WHERE_EXISTS) {
        return exists(&a, i.left);
    }
    if (i.op == WHERE_TRUE) {
        return exists(&a, i.left) && a.type != WHERE_NIL && !(a.type == WHERE_BOOL && !a.truth);
    }
    if (i.op == WHERE_IN) {
        for (unsigned k = 0; k < i.more; k++) {
            struct where_value one = operand(v, (uint8_t)(i.right + k));
            if (equal(order_values(&a, &one))) {
                return true;
            }
        }
        return false;
    }
    struct where_value b = operand(v, i.right);
    bool strings = a.type == WHERE_STR && b.type == WHERE_STR;
    switch ((enum where_op)i.op) {
    case WHERE_EQUAL:
        return equal(order_values(&a, &b));
    case WHERE_UNEQUAL:
        return !equal(order_values(&a, &b));
    case WHERE_LESS:
        return order_values(&a, &b) == BELOW;
    case WHERE_LESS_EQUAL:
        return order_values(&a, &b) <= SAME;
    case WHERE_GREATER:
        return order_values(&a, &b) == ABOVE;
    case WHERE_GREATER_EQUAL:
        return reversed(order_values(&a, &b)) <= SAME;
    case WHERE_STARTS:
        return strings && str_starts(a.str, b.str);
    case WHERE_ENDS:
        return strings && ends(a.str, b.str);
    case WHERE_CONTAINS:
        return contains(&a, &b);
    default:
        assert(false && "no test");
        return false;
    }
}

bool where_matches(const struct where *w, uint64_t seq, int64_t stored_ms, struct str event)
{
    struct view v; // found_at is large, and never read before it is written
    v.where = w;
    v.seq = seq;
    v.stored_ms = stored_ms;
    v.rest = reader_of(event);
    v.n_attributes = 0;
    v.opened = v.walked = false;
    v.decided = v.found = 0;
    bool truth = false;
    size_t at = 0;
    assert(w->n_instructions > 0);
    while (at < w->n_instructions) {
        struct where_instruction i = w->program[at++];
        if (i.op == WHERE_NOT) {
            truth = !truth;
        } else if (i.op == WHERE_JUMP_IF_FALSE || i.op == WHERE_JUMP_IF_TRUE) {
            assert(i.more >= at);
            at = truth == (i.op == WHERE_JUMP_IF_TRUE) ? i.more : at;
        } else {
            truth = test(&v, i);
        }
    }
    return truth;
}

void where_destroy(struct where **w)
{
    free(*w);
    *w = NULL;
}
