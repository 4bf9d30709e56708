// SPDX-License-Identifier: MIT
#include "gateway/coding.h"

#include "gateway/quality.h"

#include <assert.h>

static const struct str names[CODING_COUNT] = {
    [CODING_IDENTITY] = STR_INIT("identity"),
    [CODING_GZIP] = STR_INIT("gzip"),
    [CODING_ZSTD] = STR_INIT("zstd"),
};

struct str coding_name(enum coding c)
{
    assert(c < CODING_COUNT);
    return names[c];
}

enum coding coding_find(struct str name)
{
    enum coding c = CODING_IDENTITY;
    if (quality_same_name(name, STR("x-gzip"))) { // RFC 9110 section 8.4.1.3
        return CODING_GZIP;
    }
    while (c < CODING_COUNT && !quality_same_name(name, names[c])) {
        c++;
    }
    return c;
}

#define NOT_SAID (-1)

struct coding_choice coding_accept(struct str accept_encoding, unsigned offered)
{
    int quality[CODING_COUNT] = { NOT_SAID, NOT_SAID, NOT_SAID }, others = NOT_SAID;
    while (accept_encoding.n) {
        struct str parameters = quality_next(&accept_encoding, ',');
        struct str name = quality_next(&parameters, ';');
        int q = quality_of(parameters);
        enum coding c = coding_find(name);
        if (q >= 0 && str_eq(name, STR("*"))) {
            others = q;
        } else if (q >= 0 && c < CODING_COUNT) {
            quality[c] = q;
        }
    }
    struct coding_choice choice = { CODING_IDENTITY, true };
    int best = 0;
    for (enum coding c = CODING_GZIP; c < CODING_COUNT; c++) {
        int q = quality[c] != NOT_SAID ? quality[c] : others;
        if ((offered & 1U << c) && q > 0 && q >= best) {
            best = q;
            choice.coding = c;
        }
    }
    int plain = quality[CODING_IDENTITY] != NOT_SAID ? quality[CODING_IDENTITY] : others;
    choice.identity = plain != 0; // also when nothing is said about it
    if (plain > best) {
        choice.coding = CODING_IDENTITY;
    }
    return choice;
}
