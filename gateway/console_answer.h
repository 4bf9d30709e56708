// SPDX-License-Identifier: MIT
// How the console answers what is no stream and no file: with JSON.
#ifndef GATEWAY_CONSOLE_ANSWER_H
#define GATEWAY_CONSOLE_ANSWER_H

#include "common/admin.h"

#define CONSOLE_JSON_MEDIA "application/json"

// Answers 200 with the JSON that was appended to admin_answer_body(). r is gone afterwards.
void console_answer(struct admin_request *r);

// Answers {"error": what} with a status; what is on its way in the body is dropped. r is gone
// afterwards.
void console_refuse(struct admin_request *r, int status, const char *what);

// The same for what the queue answered to a call: 409 with its reason when it refuses (-EBADMSG, and
// result is the reason), else `status` and `otherwise`.
void console_refuse_as_queue(struct admin_request *r, int rc, struct str result, int status,
                             const char *otherwise);

#endif
