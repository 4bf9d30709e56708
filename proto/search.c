// SPDX-License-Identifier: MIT
// The tables of the search service's messages; their fields are in the header.
#include "proto/search.h"

#define MESSAGE_SELF_ struct search_hit
MESSAGE_DEFINE(search_hit, SEARCH_HIT_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct search_result
MESSAGE_DEFINE(search_result, SEARCH_RESULT_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct suggestion
MESSAGE_DEFINE(suggestion, SUGGESTION_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct suggestions
MESSAGE_DEFINE(suggestions, SUGGESTIONS_FIELDS)
#undef MESSAGE_SELF_
