// SPDX-License-Identifier: MIT
// Turns the end of an exchange into an HTTP answer: a worker's reply, a problem, or a document of
// the gateway's own. Each function answers, counts, logs and gives the exchange back; x is gone
// afterwards.
#ifndef GATEWAY_ANSWER_H
#define GATEWAY_ANSWER_H

#include "gateway/exchange.h"
#include "gateway/page_file.h"
#include "gateway/problem.h"

// A worker's reply, rendered as the client asked.
void answer_reply(struct exchange *x, const struct frame_reply *reply);

// One of our own problems; detail NULL: its own text.
void answer_problem(struct exchange *x, enum problem problem, const char *detail);

// A document that is in gateway->response.body already (begun with answer_begin()). etag is quoted
// or empty.
void answer_begin(struct exchange *x, int status);
void answer_document(struct exchange *x, int status, const char *media_type, struct str etag,
                     const char *cache_control);

// A file of a page of the gateway's own.
void answer_page(struct exchange *x, const struct page_file *file);

// 204 with the methods of the path.
void answer_options(struct exchange *x, unsigned allowed);

#endif
