// SPDX-License-Identifier: MIT
// The part of a text that shows best why it was found, as HTML. Takes time in proportion to the
// text, which FTS5's own snippet() does not: it compares every match with every other.
#ifndef SEARCH_SNIPPET_H
#define SEARCH_SNIPPET_H

#include "proto/buf.h"

// Around a match in the text that is given. Texts have no control characters of their own; if one
// has, it costs a mark, nothing else.
#define SNIPPET_MARK_ON '\x01'
#define SNIPPET_MARK_OFF '\x02'

#define SNIPPET_TEXT_BYTES 200 // of the text, at most
#define SNIPPET_MAX_BYTES 1300 // of the result: escapes and tags make it longer

// Appends the best part of a marked text. Every character of it is escaped, so that <b> and </b>
// are the only tags, and they are balanced; "…" stands where something was left out.
void snippet_put(struct str marked, struct buf *b);

#endif
