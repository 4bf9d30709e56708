// SPDX-License-Identifier: MIT
#include "gateway/console_answer.h"

#include <errno.h>
#include <stdio.h>

#define REASON_BYTES 256 // of a refusal of the queue; longer ones are cut

void console_answer(struct admin_request *r)
{
    admin_answer(r, 200, CONSOLE_JSON_MEDIA, "");
}

void console_refuse(struct admin_request *r, int status, const char *what)
{
    struct buf *b = admin_answer_body(r);
    buf_reset(b);
    buf_append_z(b, "{\"error\":\"");
    buf_append_json(b, str_of(what));
    buf_append_z(b, "\"}\n");
    admin_answer(r, status, CONSOLE_JSON_MEDIA,
                 status == 503   ? "Retry-After: 1\r\n"
                 : status == 401 ? "WWW-Authenticate: Bearer realm=\"sluice-admin\"\r\n"
                                 : "");
}

void console_refuse_as_queue(struct admin_request *r, int rc, struct str result, int status,
                             const char *otherwise)
{
    char why[REASON_BYTES];
    (void)snprintf(why, sizeof why, "the queue refuses: %.*s", STR_ARG(result));
    bool refused = rc == -EBADMSG;
    console_refuse(r, refused ? 409 : status, refused ? why : otherwise);
}
