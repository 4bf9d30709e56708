// SPDX-License-Identifier: MIT
// Every SQL statement of the search service: a table of documents with their versions, one FTS5
// index for each type of document, and the words of product names. Everything here can be built
// again from the events.
//
// Why one index for each type: relevance (bm25) looks at every match, so millions of orders must
// not stand in the way of looking for a product; and an order is found by its owner only, which is
// a word in its index, so that an intersection of two lists is all that is ever read of other
// people's orders.
#ifndef SEARCH_SEARCH_STORE_H
#define SEARCH_SEARCH_STORE_H

#include "common/db.h"

// The numbers are stored.
enum search_type { SEARCH_PRODUCT = 0, SEARCH_ORDER = 1, SEARCH_USER = 2 };

#define SEARCH_TYPES 3

#define SEARCH_MIGRATIONS 1
extern const char *const search_migrations[SEARCH_MIGRATIONS];

// SQL that empties the store, for building it anew.
extern const char search_reset[];

#define SEARCH_CHECK __attribute__((warn_unused_result))

struct search_document {
    enum search_type type;
    struct str id;
    int64_t version;
    struct str owner; // one word, or p == NULL; only matches "owner : word"
    struct str title; // shown; matches weigh most
    struct str key;   // other names of it: id, parts of words
    struct str body;  // text that snippets are made of
};

// Adds a document or replaces an older version of it. Returns 1, or 0 when this version or a later
// one is there.
SEARCH_CHECK int search_store_put(struct db *db, const struct search_document *d);

// Removes a document, and keeps its version, so that it does not come back by an older one. Returns
// as above.
SEARCH_CHECK int search_store_remove(struct db *db, enum search_type type, struct str id,
                                     int64_t version);

// Whether this document was removed: 1 or 0.
SEARCH_CHECK int search_store_is_removed(struct db *db, enum search_type type, struct str id);

// Removes the orders of an owner.
SEARCH_CHECK int search_store_remove_orders(struct db *db, struct str owner);

// Counts the documents that an expression matches, from the newest back, up to one more than
// `most`. *ret_from is the number of the document from which on search_store_find() looks at `most`
// at most; 0 for all.
SEARCH_CHECK int search_store_count(struct db *db, enum search_type type, struct str match,
                                    int most, int64_t *ret_from);

// Columns of the rows of search_store_find().
// SEARCH_MARKED is the body with SNIPPET_MARK_ON and SNIPPET_MARK_OFF around what matches.
enum { SEARCH_ID, SEARCH_TITLE, SEARCH_MARKED, SEARCH_RANK };

// Documents that match, best first. The caller steps with db_rows_next() and closes rows.
SEARCH_CHECK int search_store_find(struct db *db, enum search_type type, struct str match,
                                   int64_t from, int64_t offset, int64_t limit,
                                   struct db_rows *rows);

// Counts a word of a product's name (by is 1 or -1). word is lower case.
SEARCH_CHECK int search_store_count_word(struct db *db, struct str word, int64_t by);

// Words of product names that begin so (column 0), the most used first.
SEARCH_CHECK int search_store_words(struct db *db, struct str prefix, int64_t limit,
                                    struct db_rows *rows);

// Title of the document (column 0): 1 and the row, which the caller closes, or 0.
SEARCH_CHECK int search_store_title(struct db *db, enum search_type type, struct str id,
                                    struct db_rows *row);

#endif
