// SPDX-License-Identifier: MIT
#include "services/search/search.h"

#include "proto/search.h"
#include "services/search/index.h"
#include "services/search/query.h"
#include "services/search/search_store.h"
#include "services/search/snippet.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define LIMIT_MAX 100
#define SUGGESTIONS 10
#define SUGGESTED_WORDS 5      // of them, when there are names for the rest
#define SUGGEST_MAX_RANKED 500 // matches that are ranked for one letter more on the keyboard

static const char *const type_names[SEARCH_TYPES] = {
    [SEARCH_PRODUCT] = "product",
    [SEARCH_ORDER] = "order",
    [SEARCH_USER] = "user",
};

_Static_assert(SEARCH_TYPES == CURSOR_VALUES, "a cursor holds one offset for each type");

// One page of what one type has to offer.
struct source {
    struct search_hit *hits;
    size_t n;       // hits: up to one more than the page needs
    size_t taken;   // of them, into the page
    int64_t offset; // results of pages before
};

// --- Finding

// Whether the parameter `type` (words with commas; absent: all) names the type and the caller may
// see it.
static bool wants(const struct call *c, enum search_type type)
{
    bool visible = type == SEARCH_PRODUCT ||
                   (type == SEARCH_ORDER ? call_principal(c)->id.p != NULL : call_is_admin(c));
    struct str given = call_query(c, "type"), name = str_of(type_names[type]);
    bool named = given.p == NULL;
    for (size_t i = 0; i < given.n && !named; i++) {
        struct str rest = { given.p + i, given.n - i };
        named = str_starts(rest, name) && (rest.n == name.n || rest.p[name.n] == ',');
    }
    return visible && named;
}

static void put_match(const struct call *c, enum search_type type, const struct query *q,
                      struct buf *b)
{
    char owner[INDEX_OWNER_BYTES];
    if (type == SEARCH_ORDER) {
        buf_printf(b, "owner : \"%.*s\" AND {title key body} : ",
                   STR_ARG(index_owner(call_principal(c)->id, owner)));
    }
    query_match(q, type != SEARCH_ORDER, b);
}

// Keeps a query that matches too much to be ranked to those that have it in their names, if there
// are any, and those to the newest. *ret_from: the document to begin with.
static int narrow(struct db *db, enum search_type type, struct buf *match, int64_t *ret_from)
{
    int n = search_store_count(db, type, buf_str(match), SEARCH_MAX_RANKED, ret_from);
    if (n <= SEARCH_MAX_RANKED || type == SEARCH_ORDER) {
        return n < 0 ? n : 0;
    }
    struct buf names;
    int64_t from;
    buf_init(&names, match->max + 32);
    buf_printf(&names, "{title key} : (%.*s)", STR_ARG(buf_str(match)));
    n = buf_error(&names);
    n = n ? n : search_store_count(db, type, buf_str(&names), SEARCH_MAX_RANKED, &from);
    if (n > 0) {
        *ret_from = from;
        buf_reset(match);
        buf_append_str(match, buf_str(&names));
    }
    buf_fini(&names);
    return n < 0 ? n : buf_error(match);
}

static struct str read_snippet(struct call *c, struct str marked)
{
    struct buf b;
    buf_init(&b, SNIPPET_MAX_BYTES);
    snippet_put(marked, &b);
    struct str s = buf_ok(&b) ? call_copy(c, buf_str(&b)) : (struct str){ NULL, 0 };
    buf_fini(&b);
    return s;
}

static int read_hit(struct call *c, const struct db_rows *rows, enum search_type type,
                    struct search_hit *h)
{
    double rank = db_double(rows, SEARCH_RANK); // below zero; the better, the lower
    int64_t score = (int64_t)(-rank * 1000.0 + 0.5);
    *h = (struct search_hit){ .type = str_of(type_names[type]),
                              .id = call_copy(c, db_str(rows, SEARCH_ID)),
                              .title = call_copy(c, db_str(rows, SEARCH_TITLE)),
                              .snippet = read_snippet(c, db_str(rows, SEARCH_MARKED)),
                              .score = score > 0 ? score : 1 };
    return h->id.p && h->title.p && h->snippet.p ? 0 : -ENOMEM;
}

// Fills a source with up to `limit` hits from its offset.
static int look(struct call *c, enum search_type type, const struct query *q, size_t limit,
                struct source *s)
{
    struct buf match;
    struct db_rows rows = { 0 };
    int64_t from = 0;
    buf_init(&match, QUERY_MATCH_BYTES + 64); // and the owner, or the names of columns
    put_match(c, type, q, &match);
    s->hits = call_alloc(c, limit * sizeof *s->hits);
    int rc = !s->hits ? -ENOMEM : buf_error(&match);
    rc = rc ? rc : narrow(call_db(c), type, &match, &from);
    rc = rc ? rc
            : search_store_find(call_db(c), type, buf_str(&match), from, s->offset, (int64_t)limit,
                                &rows);
    while (rc >= 0 && s->n < limit && (rc = db_rows_next(&rows)) > 0) {
        rc = read_hit(c, &rows, type, &s->hits[s->n]);
        s->n++;
    }
    db_rows_close(&rows);
    buf_fini(&match);
    return rc < 0 ? rc : 0;
}

// The source whose next hit is the best; NULL when all are empty. Equal scores: in the order of the
// types.
static struct source *best_of(struct source sources[SEARCH_TYPES])
{
    struct source *best = NULL;
    for (size_t t = 0; t < SEARCH_TYPES; t++) {
        struct source *s = &sources[t];
        if (s->taken < s->n && (!best || s->hits[s->taken].score > best->hits[best->taken].score)) {
            best = s;
        }
    }
    return best;
}

static int answer(struct call *c, struct source sources[SEARCH_TYPES], size_t limit)
{
    struct search_result *result = call_alloc(c, sizeof *result);
    if (!result) {
        return -ENOMEM;
    }
    int64_t before = sources[0].offset + sources[1].offset + sources[2].offset;
    struct source *best;
    while ((best = best_of(sources)) && result->n_items < limit) {
        result->items[result->n_items++] = best->hits[best->taken++];
    }
    if (best && before + (int64_t)result->n_items < SEARCH_MAX_RESULTS) {
        struct cursor_position next = { 0 };
        for (size_t t = 0; t < SEARCH_TYPES; t++) {
            next.number[t] = sources[t].offset + (int64_t)sources[t].taken;
        }
        result->next_cursor = call_next_cursor(c, &next);
        if (!result->next_cursor.p) {
            return -ENOMEM;
        }
        result->head.present |= MESSAGE_BIT(search_result, next_cursor);
    }
    return call_reply(c, 200, &search_result_message, result);
}

int search_find(struct call *c)
{
    struct query q;
    struct source sources[SEARCH_TYPES] = { 0 };
    struct cursor_position at = { 0 };
    size_t limit = (size_t)call_query_int(c, "limit");
    assert(limit >= 1 && limit <= LIMIT_MAX);
    if (call_cursor(c, &at) < 0) {
        return 0;
    }
    query_parse(call_query(c, "q"), &q);
    for (unsigned t = 0; t < SEARCH_TYPES && q.n; t++) {
        sources[t].offset = at.number[t];
        int rc = wants(c, (enum search_type)t)
                     ? look(c, (enum search_type)t, &q, limit + 1, &sources[t])
                     : 0;
        if (rc) {
            return rc;
        }
    }
    return answer(c, sources, limit);
}

// --- Suggesting

static bool same_text(struct str a, struct str b)
{
    return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

// Adds a suggestion unless it is there, is what was typed, or the list has `most`.
static int suggest(struct call *c, struct suggestions *list, size_t most, struct str typed,
                   struct str text)
{
    bool known = list->n_items >= most || text.n == 0 || same_text(text, typed);
    for (size_t i = 0; i < list->n_items && !known; i++) {
        known = same_text(list->items[i].text, text);
    }
    struct str copy = known ? text : call_copy(c, text);
    if (!known && copy.p) {
        list->items[list->n_items++] = (struct suggestion){ .text = copy };
    }
    return copy.p ? 0 : -ENOMEM;
}

static int suggest_words(struct call *c, struct suggestions *list, size_t most, struct str typed)
{
    struct db_rows rows;
    struct str prefix = call_copy(c, typed);
    if (!prefix.p) {
        return -ENOMEM;
    }
    char *lower = (char *)prefix.p; // the copy is ours
    for (size_t i = 0; i < prefix.n; i++) {
        lower[i] = lower[i] >= 'A' && lower[i] <= 'Z' ? (char)(lower[i] | 0x20) : lower[i];
    }
    int rc = search_store_words(call_db(c), prefix, SUGGESTIONS, &rows);
    while (rc >= 0 && (rc = db_rows_next(&rows)) > 0) {
        rc = suggest(c, list, most, typed, db_str(&rows, 0));
    }
    db_rows_close(&rows);
    return rc < 0 ? rc : 0;
}

static int suggest_names(struct call *c, struct suggestions *list, const struct query *q,
                         struct str typed)
{
    struct buf match;
    struct db_rows rows = { 0 };
    int64_t from = 0;
    buf_init(&match, QUERY_MATCH_BYTES);
    query_match_typing(q, &match);
    int rc = buf_error(&match);
    rc = rc ? rc
            : search_store_count(call_db(c), SEARCH_PRODUCT, buf_str(&match), SUGGEST_MAX_RANKED,
                                 &from);
    if (rc >= 0) {
        rc = search_store_find(call_db(c), SEARCH_PRODUCT, buf_str(&match), from, 0, SUGGESTIONS,
                               &rows);
    }
    while (rc >= 0 && (rc = db_rows_next(&rows)) > 0) {
        rc = suggest(c, list, SUGGESTIONS, typed, db_str(&rows, SEARCH_TITLE));
    }
    db_rows_close(&rows);
    buf_fini(&match);
    return rc < 0 ? rc : 0;
}

// A few words, then names, then more words while there is room. Only a single word is completed as
// a word.
int search_suggest(struct call *c)
{
    struct suggestions *list = call_alloc(c, sizeof *list);
    struct query q;
    if (!list) {
        return -ENOMEM;
    }
    query_parse(call_query(c, "q"), &q);
    struct str typed = q.n ? q.terms[0].text : (struct str){ NULL, 0 };
    int rc = q.n == 1 ? suggest_words(c, list, SUGGESTED_WORDS, typed) : 0;
    rc = rc || !q.n ? rc : suggest_names(c, list, &q, call_query(c, "q"));
    rc = rc || q.n != 1 ? rc : suggest_words(c, list, SUGGESTIONS, typed);
    return rc ? rc : call_reply(c, 200, &suggestions_message, list);
}
