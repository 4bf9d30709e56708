// SPDX-License-Identifier: MIT
// How an API key lets a request in. A key that this gateway does not know is asked for at the users
// service, once the request is complete; then the request goes on, or is answered 401 or 403.
//
//     head --api_key_admit()--> known: caller and scope are checked at once
//                         \--> asking --complete: api_key_ask()--> reply: api_key_answered()
#ifndef GATEWAY_API_KEY_AUTH_H
#define GATEWAY_API_KEY_AUTH_H

#include "gateway/exchange.h"

// Checks the key of a request whose route is known. False: the request is refused. True: it is
// authenticated, or asking is set.
bool api_key_admit(struct exchange *x, struct str key);

// Sends the question; asking must be set. x may be answered before this returns.
void api_key_ask(struct exchange *x);

// Takes the reply to the question. True: authenticated. False: the request is refused.
bool api_key_answered(struct exchange *x, const struct frame_reply *reply);

#endif
