// SPDX-License-Identifier: MIT
// The spans that the processes of a suite have in memory (common/traces.h), gathered from their
// admin listeners for tools that show them. Blocks, and needs neither supervisor nor collector.
#ifndef COMMON_TRACES_FETCH_H
#define COMMON_TRACES_FETCH_H

#include "common/trace.h"

#include <yyjson.h>

#define TRACES_FETCH_WAIT_MS 3000   // for the answer of one process
#define TRACES_FETCH_PROCESSES 512  // more are not asked
#define TRACES_FETCH_PATH_SIZE 4096 // of a home's sockets; with a longer one nobody is found

struct traces_fetch {
    char page[16 + TRACE_ID_TEXT + 1];        // of the admin listener
    yyjson_doc *docs[TRACES_FETCH_PROCESSES]; // what they answered; owned
    size_t n;
};

// id: of the trace, 32 lower-case hexadecimal digits; or "": the traces that were kept.
void traces_fetch_init(struct traces_fetch *f, const char *id);
void traces_fetch_fini(struct traces_fetch *f);

// Writes the trace id that a text names, which is one, or a whole traceparent. 0 or -EINVAL.
__attribute__((warn_unused_result)) int traces_fetch_id(const char *text,
                                                        char ret_id[TRACE_ID_TEXT + 1]);

// Asks one process at the address of its admin listener, "unix:/path" or "HOST:PORT". Returns 200
// with one document more; another HTTP status (404: it keeps no spans), or a negative errno.
__attribute__((warn_unused_result)) int traces_fetch_ask(struct traces_fetch *f,
                                                         const char *address);

// Asks every process of a home, by its sockets. on_failure hears of those that answer with anything
// else, as above; NULL: nobody does. Returns how many answered.
size_t traces_fetch_home(struct traces_fetch *f, const char *home,
                         void (*on_failure)(const char *address, int status));

#endif
