// SPDX-License-Identifier: MIT
#include "services/search/index.h"

#include "common/db.h"
#include "proto/orders.h"
#include "proto/timestamp.h"
#include "proto/users.h"
#include "services/search/query.h"
#include "services/search/search_store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

// Room for an order of 50 lines with names of 200 characters (of 4 bytes), a note, and the parts of
// words.
#define TEXT_MAX_BYTES (128 * 1024)

#define KEY_MAX_BYTES (32 * 1024) // of a document's key; parts of further words are left out
#define MIN_PART_BYTES 3          // shorter parts of words are noise
#define MAX_WORD_BYTES 64         // longer words have no parts, and are not offered as completions

// --- Words

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Bytes above ASCII are left to FTS5's tokenizer, which knows Unicode: here they belong to words.
static bool is_word(char c)
{
    return is_lower(c) || is_upper(c) || is_digit(c) || (unsigned char)c >= 0x80;
}

// Whether the word is the name of a library, made of "lib" and what it is a library for.
static bool is_library(struct str word)
{
    return str_starts(word, STR("lib")) && !str_starts(word, STR("librar")) &&
           !str_starts(word, STR("liber")) && !str_starts(word, STR("libre"));
}

// Whether people would see a new word begin at byte i: aB, 3b, and behind the "lib" of a library.
static bool begins_part(struct str word, size_t i)
{
    char before = word.p[i - 1], c = word.p[i];
    return (is_upper(c) && !is_upper(before)) ||
           (is_digit(before) && (is_lower(c) || is_upper(c))) || (i == 3 && is_library(word));
}

static int each_part(struct str word, index_word_fn *on_word, void *data)
{
    int rc = on_word(word, false, data);
    size_t end = word.n <= MAX_WORD_BYTES ? word.n : 0;
    for (size_t i = 0; rc >= 0 && i + MIN_PART_BYTES <= end; i++) {
        if (i && !begins_part(word, i)) {
            continue;
        }
        struct str part = { word.p + i, word.n - i };
        struct str stem = part;
        while (stem.n && is_digit(stem.p[stem.n - 1])) {
            stem.n--;
        }
        rc = i ? on_word(part, true, data) : 0;
        if (rc >= 0 && stem.n != part.n && stem.n >= MIN_PART_BYTES) {
            rc = on_word(stem, true, data);
        }
    }
    return rc;
}

int index_words(struct str text, index_word_fn *on_word, void *data)
{
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < text.n;) {
        size_t start = i;
        while (i < text.n && is_word(text.p[i])) {
            i++;
        }
        if (i > start) {
            rc = each_part((struct str){ text.p + start, i - start }, on_word, data);
        } else {
            i++;
        }
    }
    return rc < 0 ? rc : 0;
}

static int append_part(struct str word, bool part, void *data)
{
    struct buf *b = data;
    if (part && b->len < KEY_MAX_BYTES) {
        buf_append_char(b, ' ');
        buf_append_str(b, word);
    }
    return 0;
}

static void append_parts(struct str text, struct buf *b)
{
    int rc = index_words(text, append_part, b);
    assert(rc == 0); // append_part never fails; the buf keeps its errors
    (void)rc;
}

static void append_name(struct str name, struct buf *b)
{
    buf_append_char(b, ' ');
    query_put_name(name, b);
}

struct count {
    struct db *db;
    int64_t by;
};

static int count_word(struct str word, bool part, void *data)
{
    const struct count *count = data;
    char lower[MAX_WORD_BYTES];
    (void)part;
    bool has_letter = false;
    if (word.n < 2 || word.n > sizeof lower) {
        return 0;
    }
    for (size_t i = 0; i < word.n; i++) {
        lower[i] = is_upper(word.p[i]) ? (char)(word.p[i] | 0x20) : word.p[i];
        has_letter |= !is_digit(word.p[i]);
    }
    return has_letter ? search_store_count_word(count->db, (struct str){ lower, word.n }, count->by)
                      : 0;
}

// Counts the words that are offered as completions. old.p == NULL: the product is new.
static int recount_words(struct db *db, const struct product *p, struct str old)
{
    struct count less = { db, -1 }, more = { db, 1 };
    if (old.p && str_eq(old, p->name)) {
        return 0;
    }
    int rc = old.p ? index_words(old, count_word, &less) : index_words(p->sku, count_word, &more);
    return rc < 0 ? rc : index_words(p->name, count_word, &more);
}

// --- Documents

struct str index_owner(struct str user_id, char out[INDEX_OWNER_BYTES])
{
    size_t n = 0;
    for (size_t i = 0; i < user_id.n && n < INDEX_OWNER_BYTES; i++) {
        if (is_word(user_id.p[i])) {
            out[n++] = user_id.p[i];
        }
    }
    return (struct str){ out, n };
}

// Appends the name under which a product is in the index. 1, or 0 when it is not.
static int append_known_name(struct db *db, struct str sku, struct buf *b)
{
    struct db_rows row;
    int rc = search_store_title(db, SEARCH_PRODUCT, sku, &row);
    if (rc > 0) {
        buf_append_str(b, db_str(&row, 0));
        db_rows_close(&row);
    }
    return rc;
}

static int put_product(struct db *db, const void *entity)
{
    const struct product *p = entity;
    struct buf key, old;
    buf_init(&key, TEXT_MAX_BYTES);
    buf_init(&old, TEXT_MAX_BYTES);
    buf_append_str(&key, p->sku);
    append_parts(p->sku, &key);
    append_parts(p->name, &key);
    append_name(p->sku, &key);
    append_name(p->name, &key);
    struct search_document d = { .type = SEARCH_PRODUCT,
                                 .id = p->sku,
                                 .version = p->version,
                                 .title = p->name,
                                 .key = buf_str(&key),
                                 .body = p->description };
    int known = append_known_name(db, p->sku, &old);
    int rc = known < 0 ? known : buf_error(&key) ? buf_error(&key) : buf_error(&old);
    rc = rc ? rc : search_store_put(db, &d);
    if (rc > 0) {
        rc = recount_words(db, p, known ? buf_str(&old) : (struct str){ NULL, 0 });
    }
    buf_fini(&key);
    buf_fini(&old);
    return rc;
}

static void describe_order(const struct order *o, struct buf *key, struct buf *body)
{
    buf_append_str(key, o->id);
    for (size_t i = 0; i < o->n_items; i++) {
        const struct order_line *line = &o->items[i];
        append_parts(line->sku, key);
        append_parts(line->name, key);
        buf_printf(body, "%s%" PRId64 " x %.*s (%.*s)", i ? ", " : "", line->quantity,
                   STR_ARG(line->name), STR_ARG(line->sku));
    }
    if (o->note.n) {
        buf_append_z(body, ". ");
        buf_append_str(body, o->note);
    }
}

static int put_described_order(struct db *db, const struct order *o)
{
    struct buf key, body;
    char date[TIMESTAMP_SIZE], title[] = "Order of YYYY-MM-DD", owner[INDEX_OWNER_BYTES];
    (void)timestamp_format(o->created_at, date);
    memcpy(title + 9, date, 10);
    buf_init(&key, TEXT_MAX_BYTES);
    buf_init(&body, TEXT_MAX_BYTES);
    describe_order(o, &key, &body);
    struct search_document d = { .type = SEARCH_ORDER,
                                 .id = o->id,
                                 .version = o->version,
                                 .owner = index_owner(o->user_id, owner),
                                 .title = str_of(title),
                                 .key = buf_str(&key),
                                 .body = buf_str(&body) };
    int rc = buf_error(&key) ? buf_error(&key) : buf_error(&body);
    rc = rc ? rc : search_store_put(db, &d);
    buf_fini(&key);
    buf_fini(&body);
    return rc;
}

static int remove_order(struct db *db, const void *entity)
{
    const struct order *o = entity;
    return search_store_remove(db, SEARCH_ORDER, o->id, o->version);
}

// The state is left out on purpose: an order then is indexed once, not once for each step, and GET
// /v1/orders finds orders by state. Orders of a user who is gone are found by nobody; some events
// may still name the user.
static int put_order(struct db *db, const void *entity)
{
    const struct order *o = entity;
    int gone = search_store_is_removed(db, SEARCH_USER, o->user_id);
    if (gone < 0) {
        return gone;
    }
    return gone || str_eq(o->user_id, STR(ORDER_NOBODY)) ? remove_order(db, o)
                                                         : put_described_order(db, o);
}

static int put_user(struct db *db, const void *entity)
{
    const struct user *u = entity;
    struct search_document d = { .type = SEARCH_USER,
                                 .id = u->id,
                                 .version = u->version,
                                 .title = u->name,
                                 .key = u->id,
                                 .body = u->email };
    return search_store_put(db, &d);
}

static int remove_user(struct db *db, const void *entity)
{
    const struct user_deleted *u = entity;
    char owner[INDEX_OWNER_BYTES];
    int rc = search_store_remove(db, SEARCH_USER, u->id, u->version);
    return rc > 0 ? search_store_remove_orders(db, index_owner(u->id, owner)) : rc;
}

// --- Events

union entity {
    struct product product;
    struct order order;
    struct user user;
    struct user_deleted user_deleted;
};

static const struct {
    const struct event_kind *kind;
    int (*apply)(struct db *db, const void *entity);
} topics[] = {
    { &orders_events[EVENT_PRODUCT_CREATED], put_product },
    { &orders_events[EVENT_PRODUCT_UPDATED], put_product },
    { &orders_events[EVENT_ORDER_PLACED], put_order },
    { &orders_events[EVENT_ORDER_PAID], put_order },
    { &orders_events[EVENT_ORDER_SHIPPED], put_order },
    { &orders_events[EVENT_ORDER_DELIVERED], put_order },
    { &orders_events[EVENT_ORDER_CANCELLED], put_order },
    { &orders_events[EVENT_ORDER_ARCHIVED], remove_order },
    { &users_events[EVENT_USER_CREATED], put_user },
    { &users_events[EVENT_USER_UPDATED], put_user },
    { &users_events[EVENT_USER_DELETED], remove_user },
};

int index_apply(struct db *db, const struct event *e, void *data)
{
    (void)data;
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
        if (!str_eq(e->topic, str_of(topics[i].kind->topic))) {
            continue;
        }
        union entity entity;
        struct reader r = reader_of(e->data);
        int rc = message_unpack_lenient(topics[i].kind->message, &r, &entity);
        rc = rc ? rc : topics[i].apply(db, &entity);
        return rc < 0 ? rc : 0;
    }
    return 0;
}
