// SPDX-License-Identifier: MIT
// What kinds of events a service publishes: one X-macro list for each service, beside the tables of
// its messages. Publishers and listeners take topic and message from it, and a worker announces it,
// so that the AsyncAPI document cannot drift from what is published.
//
//     #define USERS_EVENTS(E)
//         E(USER_CREATED, "users.user.created", user, "id of the user", "An account was made")
//     enum users_event { USERS_EVENTS(EVENT_KIND_NUMBER) USERS_EVENT_COUNT };          // in the header
//     extern const struct event_kind users_events[USERS_EVENT_COUNT];
//     const struct event_kind users_events[] = { USERS_EVENTS(EVENT_KIND_ROW) };       // in one .c file
//
// To add an event: add its line. To change one: its message may get OPTIONAL fields; anything else
// is an event of another topic, because the log keeps the old ones.
#ifndef PROTO_EVENT_KIND_H
#define PROTO_EVENT_KIND_H

#include "proto/message.h"

struct event_kind {
    const char *topic;             // "users.user.created"
    const struct message *message; // of its data
    const char *key;               // what its key and its subject are, in words
    const char *summary;           // what happened, in words
};

// EVENT_USER_CREATED: its number in the table.
#define EVENT_KIND_NUMBER(name, ...) EVENT_##name,

#define EVENT_KIND_ROW(name_, topic_, message_, key_, summary_)                                       \
    [EVENT_##name_] = { .topic = topic_, .message = &message_##_message, .key = key_, .summary = summary_ },

#endif
