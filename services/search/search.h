// SPDX-License-Identifier: MIT
// Handlers of /v1/search. Everybody finds products, users find their own orders too, and admins
// find users as well; what the caller may not see is looked for no more than what is not there.
#ifndef SEARCH_SEARCH_H
#define SEARCH_SEARCH_H

#include "common/call.h"

// A query is broad when it matches more documents of a type than this: then those are looked at
// that have it in their names, and of these the newest. Bounds what one query costs: about 1.5 us
// for each match.
#define SEARCH_MAX_RANKED 2000

// Results that can be paged through. Each page looks at all matches again.
#define SEARCH_MAX_RESULTS 1000

int search_find(struct call *c);    // read
int search_suggest(struct call *c); // read

#endif
