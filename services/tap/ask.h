// SPDX-License-Identifier: MIT
// Questions to the queue, each asked and waited for.
#ifndef TAP_ASK_H
#define TAP_ASK_H

#include "services/tap/tap.h"

// Arguments of a CALL: begun, given one by one, ended by ask_call(). Texts that are NULL and
// numbers below 0 are left out.
struct ask {
    struct buf arguments;
    size_t mark;
    uint32_t n;
};

void ask_begin(struct ask *a);
void ask_text(struct ask *a, const char *name, const char *text);
void ask_number(struct ask *a, const char *name, int64_t value);
void ask_flag(struct ask *a, const char *name, bool value);
void ask_texts(struct ask *a, const char *name, const struct str *texts, size_t n);
void ask_numbers(struct ask *a, const char *name, const uint64_t *numbers, size_t n);

// Calls the method and frees the arguments. ret_result (initialised) gets the bytes of the result's
// map. TAP_OK, or the exit status after a message.
__attribute__((warn_unused_result)) int ask_call(struct tap *t, const char *method, struct ask *a,
                                                 struct buf *ret_result);

// INFO, likewise.
__attribute__((warn_unused_result)) int ask_info(struct tap *t, struct buf *ret_map);

#endif
