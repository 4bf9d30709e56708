// SPDX-License-Identifier: MIT
// The problem table as data.
#include "proto/problems.h"

#include <assert.h>

static const struct problem_type types[PROBLEM_COUNT] = {
#define X(symbol, slug_, status_, title_, meaning_)                                                \
    [PROBLEM_##symbol] = { STR_INIT(slug_), status_, STR_INIT(title_), STR_INIT(meaning_) },
    PROBLEM_TABLE(X)
#undef X
};

const struct problem_type *problem_type(enum problem p)
{
    assert(p < PROBLEM_COUNT);
    return &types[p];
}

const struct problem_type *problem_find(struct str slug)
{
    for (size_t i = 0; i < PROBLEM_COUNT; i++) {
        if (str_eq(types[i].slug, slug)) {
            return &types[i];
        }
    }
    return NULL;
}
