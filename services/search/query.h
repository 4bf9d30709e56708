// SPDX-License-Identifier: MIT
// What somebody typed into a search field, turned into an FTS5 expression that is always
// well-formed and always means words, whatever the bytes are: nothing that is typed can reach
// FTS5's operators or columns.
//
//     postgres backup    both words, in any order; longer words also match as beginnings of words
//     "web server"       these words next to each other
//     libsq*  "web se"*  words that begin so
//
// All else that FTS5 would take for syntax is plain text, which its tokenizer skips.
#ifndef SEARCH_QUERY_H
#define SEARCH_QUERY_H

#include "proto/buf.h"

#define QUERY_MAX_BYTES 200 // of what is typed; the routes refuse more
#define QUERY_MAX_TERMS 16  // words and phrases; later ones are not looked at
#define QUERY_MIN_PREFIX 2  // bytes; a single letter before a star is taken as a word, or left out
#define QUERY_MIN_WIDENED 4 // bytes of a word that also matches as the beginning of a longer one
#define QUERY_MATCH_BYTES 4096 // of an expression: below 20 bytes for each of QUERY_MAX_BYTES

struct query_term {
    struct str text; // borrowed; without quotes and star
    bool phrase;     // was in quotes
    bool prefix;     // a star followed
};

struct query {
    struct query_term terms[QUERY_MAX_TERMS];
    size_t n;
};

// A whole name as one word, for finding what is called exactly so: a mark that nobody types
// (U+E000, a letter to FTS5's tokenizer) and the name without blanks and signs. It stands in the
// key of a document, and query_match() looks for it. Longer names, and those of signs alone, have
// none.
#define QUERY_NAME_MARK "\xEE\x80\x80"
#define QUERY_MAX_NAME 64 // bytes
void query_put_name(struct str name, struct buf *b);

// Splits what was typed. n == 0: there is nothing to look for.
void query_parse(struct str typed, struct query *ret_query);

// Appends the expression: exact words alone, or (wide) also words that begin so, the more relevant
// the closer they are. n must not be 0.
void query_match(const struct query *q, bool wide, struct buf *b);

// Appends an expression for typing ahead: the last term matches as a beginning in any case.
void query_match_typing(const struct query *q, struct buf *b);

#endif
