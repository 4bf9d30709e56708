// SPDX-License-Identifier: MIT
// Events into documents: what of a product, an order and a user can be found, and by which words.
// Events come in order per entity but may come again (a rebuild, a crash); a version that is not
// above the known one changes nothing.
#ifndef SEARCH_INDEX_H
#define SEARCH_INDEX_H

#include "proto/queue_frames.h"

struct db;

// Topics that index_apply() understands: the filters of the subscription.
#define INDEX_TOPICS "orders.product.*", "orders.order.*", "users.user.*"

// Applies one event; runs in the writer's transaction. Topics of these families that it does not
// know change nothing. -EBADMSG: the data is not what the topic says.
__attribute__((warn_unused_result)) int index_apply(struct db *db, const struct event *e,
                                                    void *data);

// The word that stands for an owner in the index: the id without its dashes. out takes 36 bytes.
#define INDEX_OWNER_BYTES 36
struct str index_owner(struct str user_id, char out[INDEX_OWNER_BYTES]);

// Calls on_word with each word of text, and with what people look for inside of words: "libsqlite3"
// has the word itself, "sqlite3" (behind lib) and "sqlite" (without its number); "WebServer" has
// "Server". part is false for whole words. A negative return ends it and is returned.
typedef int index_word_fn(struct str word, bool part, void *data);
__attribute__((warn_unused_result)) int index_words(struct str text, index_word_fn *on_word,
                                                    void *data);

#endif
