// SPDX-License-Identifier: MIT
// A router that workers join by HELLO, and a document of it, for the tests of what the gateway publishes.
#ifndef TESTS_UNIT_JOINED_ROUTER_H
#define TESTS_UNIT_JOINED_ROUTER_H

#include "gateway/document.h"

#include <yyjson.h>

#define JOINED_TAG_SIZE 64

// Of the current case.
extern struct router router;
extern struct frame_hello hello; // hello_make() fills it in

// Set-up: an empty router; write NULL: without a document. Tear-down. For cmocka: 0.
int joined_enter(document_write_fn *write);
int joined_leave(void);

// The worker of `hello` joins: its table, for router_leave().
struct table *joined_table(void);

// The document of the moment, which the caller frees; tag NULL: not wanted.
yyjson_doc *joined_document(char tag[JOINED_TAG_SIZE]);

// A string in it; NULL: there is none at this JSON pointer.
const char *joined_text(yyjson_doc *doc, const char *pointer);

#endif
