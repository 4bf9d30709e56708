// SPDX-License-Identifier: MIT
// A dead letter: the event that failed, and why (PROTOCOL.md 3.8).
#ifndef TAP_LETTER_H
#define TAP_LETTER_H

#include "services/tap/render.h"

struct letter {
    uint64_t seq;    // of the dead letter
    int64_t died_ms; // when it was stored
    struct str group, reason, error;
    uint64_t attempts, retries;
    uint64_t origin_seq; // of the event
    int64_t stored_ms;
    struct event event; // as it was
};

// Everything in it borrows encoded. -EBADMSG: it is no dead letter.
__attribute__((warn_unused_result)) int letter_parse(uint64_t seq, int64_t died_ms, struct str encoded,
                                                     struct letter *ret_letter);

// Appends it in the style: JSON is that of the event, with a member `dead`; pretty is a line that
// says why, and, if whole, the event below it.
void letter_render(const struct letter *l, const struct render_style *style, bool whole, struct buf *b);

#endif
