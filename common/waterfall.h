// SPDX-License-Identifier: MIT
// Spans of several processes (OTLP/JSON, as their admin pages /traces give it) as text for a
// terminal: a trace as a waterfall, or a list of traces. Reads nothing, and asks nobody but the
// terminal.
#ifndef COMMON_WATERFALL_H
#define COMMON_WATERFALL_H

#include "proto/buf.h"

#include <stdbool.h>
#include <yyjson.h>

#define WATERFALL_MAX_SPANS 8192 // of all documents; a process has at most 3072 of one trace
#define WATERFALL_MAX_DEPTH 8    // deeper ones are drawn as if they were this deep
#define WATERFALL_MIN_COLUMNS 70 // of the terminal; narrower ones are written past
#define WATERFALL_COLUMNS 120    // where there is no terminal
#define WATERFALL_LIST 30        // traces in a list

struct waterfall_span {
    const char *process, *name; // borrowed from the document
    const char *trace, *id;
    const char *parent; // "": none
    const char *status; // of HTTP, "": none
    int64_t start_us, end_us;
    bool error;
    int depth;
};

struct waterfall {
    struct waterfall_span *spans; // owned
    size_t n, cap;
    bool more; // there are more than WATERFALL_MAX_SPANS
};

void waterfall_init(struct waterfall *w);
void waterfall_fini(struct waterfall *w);

// Adds the spans of one document, which must outlive w. What is no span is left out. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int waterfall_add(struct waterfall *w, yyjson_doc *doc);

// The columns of the terminal that is the standard output.
int waterfall_columns(void);

// Draws one trace, each span below its parent. columns: of the terminal.
void waterfall_draw(struct waterfall *w, int columns, bool color, struct buf *out);

// Lists the traces by their first spans, the latest first.
void waterfall_list(struct waterfall *w, bool color, struct buf *out);

#endif
