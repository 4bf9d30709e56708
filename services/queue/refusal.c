// SPDX-License-Identifier: MIT
#include "services/queue/refusal.h"

#include "proto/queue_frames.h"
#include "services/queue/stats.h"

const char *refusal_word(enum refusal r)
{
    static const char *const words[] = {
#define X(name, word) [REFUSED_##name] = word,
        REFUSALS(X)
#undef X
    };
    return words[r];
}

void refusal_encode(struct buf *frame, uint32_t peer, uint64_t number, enum refusal reason,
                    const char *detail)
{
    stats_refuse(peer, reason, detail);
    buf_reset(frame);
    queue_word_encode(frame, QUEUE_REFUSED, number, 0, str_of(refusal_word(reason)),
                      str_of(detail));
}

void refusal_send(struct zsocket *socket, struct buf *frame, uint32_t peer, uint64_t number,
                  enum refusal reason, const char *detail)
{
    refusal_encode(frame, peer, number, reason, detail);
    if (buf_ok(frame)) {
        int status = zsocket_send(socket, peer, buf_str(frame));
        (void)status;
    }
}
