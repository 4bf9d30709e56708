// SPDX-License-Identifier: MIT
// Messages of the search service.
#ifndef PROTO_SEARCH_H
#define PROTO_SEARCH_H

#include "proto/message.h"

#define SEARCH_HIT_FIELDS(S, I, B, T, O, L)                                           \
    S(type, REQUIRED, 1, 20, TOKEN, "product, order or user")                         \
    S(id, REQUIRED, 1, 64, TOKEN, "sku of a product, id of an order or user")         \
    S(title, REQUIRED, 0, 300, LINE, "Name of the product or user; date of the order")\
    S(snippet, REQUIRED, 0, 2000, TEXT, "Where it was found; <b> marks the words")    \
    I(score, REQUIRED, 0, INT64_MAX, "Relevance in thousandths; higher is better")
MESSAGE_DECLARE(search_hit, SEARCH_HIT_FIELDS)

#define SEARCH_RESULT_FIELDS(S, I, B, T, O, L)                                        \
    L(items, REQUIRED, 0, 100, search_hit, "One page of hits, best first")            \
    S(next_cursor, OPTIONAL, 1, 512, TOKEN, "For the next page; absent on the last")
MESSAGE_DECLARE(search_result, SEARCH_RESULT_FIELDS)

#define SUGGESTION_FIELDS(S, I, B, T, O, L)                                           \
    S(text, REQUIRED, 1, 200, LINE, "A completion of what was typed")
MESSAGE_DECLARE(suggestion, SUGGESTION_FIELDS)

#define SUGGESTIONS_FIELDS(S, I, B, T, O, L)                                          \
    L(items, REQUIRED, 0, 10, suggestion, "Best first")
MESSAGE_DECLARE(suggestions, SUGGESTIONS_FIELDS)

#endif
