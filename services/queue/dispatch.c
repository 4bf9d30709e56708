// SPDX-License-Identifier: MIT
#include "services/queue/dispatch.h"

#include <errno.h>
#include <stdio.h>

#include "services/queue/permissions.h"
#include "services/queue/refusal.h"

void dispatch_init(struct dispatch *d)
{
    buf_init(&d->scratch, QUEUE_MAX_FRAME_BYTES);
}

void dispatch_fini(struct dispatch *d)
{
    buf_fini(&d->scratch);
}

static void send_scratch(struct dispatch *d, uint32_t peer)
{
    if (buf_ok(&d->scratch)) {
        int status = zsocket_send(d->socket, peer, buf_str(&d->scratch));
        (void)status; // who is gone, or reads nothing, misses it
    }
}

static void refuse(struct dispatch *d, uint32_t peer, uint64_t number, enum refusal reason,
                   const char *detail)
{
    refusal_send(d->socket, &d->scratch, peer, number, reason, detail);
}

static void send_info(struct dispatch *d, uint32_t peer, int fd, uint64_t request)
{
    struct buf map;
    buf_init(&map, QUEUE_MAX_FRAME_BYTES - 64);
    info_write(d->info, &map);
    buf_reset(&d->scratch);
    queue_info_encode(&d->scratch, request, buf_str(&map));
    if (buf_ok(&map) && buf_ok(&d->scratch)) {
        clients_answer(d->clients, peer, fd, buf_str(&d->scratch));
    }
    buf_fini(&map);
}

// Refuses what the identity of the sender may not do. Returns 0: the frame was answered.
static int forbid(struct dispatch *d, uint32_t peer, uint64_t number, const char *what)
{
    char detail[160];
    (void)snprintf(detail, sizeof detail, "\"%s\" cannot %s (PROTOCOL.md 3.11)",
                   zsocket_identity(d->socket), what);
    refuse(d, peer, number, REFUSED_IDENTITY, detail);
    return 0;
}

static int on_publish(struct dispatch *d, uint32_t peer, struct reader *r, uint32_t fields)
{
    if (queue_publish_decode(r, fields, &d->publish)) {
        return -EBADMSG;
    }
    publisher_publish(d->publisher, peer, zsocket_identity(d->socket), &d->publish);
    zsocket_pause(d->socket, publisher_is_congested(d->publisher));
    d->on_ready(d->data);
    return 0;
}

static int on_subscribe(struct dispatch *d, uint32_t peer, int fd, struct reader *r,
                        uint32_t fields)
{
    struct queue_subscribe f;
    if (queue_subscribe_decode(r, fields, &f)) {
        return -EBADMSG;
    }
    if (!permissions_read(zsocket_identity(d->socket), &f)) {
        return forbid(d, peer, f.subscription, "read these topics");
    }
    readers_subscribe(d->readers, peer, fd, &f);
    return 0;
}

static int on_join(struct dispatch *d, uint32_t peer, int fd, struct reader *r, uint32_t fields)
{
    uint64_t member;
    struct str group;
    uint32_t window;
    if (queue_join_decode(r, fields, &member, &group, &window)) {
        return -EBADMSG;
    }
    if (!permissions_group(zsocket_identity(d->socket), group)) {
        return forbid(d, peer, member, "work for a group whose name does not begin with its own");
    }
    groups_join(d->groups, peer, fd, member, group, window);
    return 0;
}

static int on_settle(struct dispatch *d, uint32_t peer, struct reader *r, uint32_t fields)
{
    if (queue_settle_decode(r, fields, &d->settle)) {
        return -EBADMSG;
    }
    groups_settle(d->groups, peer, &d->settle);
    d->on_ready(d->data);
    return 0;
}

static int on_call(struct dispatch *d, uint32_t peer, int fd, struct reader *r, uint32_t fields)
{
    uint64_t request;
    struct str method, arguments;
    if (queue_call_decode(r, fields, &request, &method, &arguments)) {
        return -EBADMSG;
    }
    const char *identity = zsocket_identity(d->socket);
    if (!permissions_admin(identity) &&
        !permissions_group(identity, permissions_group_of(arguments))) {
        return forbid(d, peer, request,
                      "call this for a group whose name does not begin with its own");
    }
    calls_take(d->calls, peer, fd, request, method, arguments);
    d->on_ready(d->data);
    return 0;
}

static void on_watch(struct dispatch *d, uint32_t peer, int fd, uint64_t subscription)
{
    struct client *c = clients_add(d->clients, peer, fd);
    if (!c || operations_watch(d->operations, c, subscription)) {
        refuse(d, peer, subscription, REFUSED_TOO_MANY_SUBSCRIPTIONS, "too many watch already");
    }
}

static void on_unsubscribe(struct dispatch *d, uint32_t peer, uint64_t subscription)
{
    const struct client *c = clients_find(d->clients, peer);
    if (c && !operations_unwatch(d->operations, c, subscription)) {
        readers_unsubscribe(d->readers, peer, subscription);
    }
}

static void on_pong(struct dispatch *d, uint32_t peer, uint64_t token)
{
    struct client *c = clients_find(d->clients, peer);
    if (c) {
        clients_pong(d->clients, c, token);
        readers_unblock(d->readers, c);
        if (c->members) {
            groups_wake(d->groups);
        }
    }
}

static int on_pair(struct dispatch *d, uint32_t peer, int fd, enum queue_frame_type type,
                   struct reader *r, uint32_t fields)
{
    uint64_t first, second;
    if (queue_pair_decode(r, fields, &first, &second)) {
        return -EBADMSG;
    }
    switch (type) {
    case QUEUE_GRANT:
        readers_grant(d->readers, peer, first, second);
        return 0;
    case QUEUE_UNSUBSCRIBE:
        on_unsubscribe(d, peer, first);
        return 0;
    case QUEUE_LEAVE:
        groups_leave(d->groups, peer, first);
        return 0;
    case QUEUE_WATCH:
        if (!permissions_admin(zsocket_identity(d->socket))) {
            return forbid(d, peer, first, "watch what others do");
        }
        on_watch(d, peer, fd, first);
        return 0;
    case QUEUE_INFO:
        send_info(d, peer, fd, first);
        return 0;
    case QUEUE_PING:
        buf_reset(&d->scratch);
        queue_pair_encode(&d->scratch, QUEUE_PONG, first, 0);
        send_scratch(d, peer);
        return 0;
    case QUEUE_PONG:
        on_pong(d, peer, first);
        return 0;
    default:
        return -EBADMSG; // a frame that only the queue sends
    }
}

// The number that a frame that cannot be decoded begins with, to refuse it by; 0 when even that is missing.
static uint64_t first_number(struct str message)
{
    struct reader r = reader_of(message);
    uint32_t count;
    uint64_t type, number;
    if (reader_array(&r, &count) || reader_uint(&r, &type) || reader_uint(&r, &number)) {
        return 0;
    }
    return number;
}

static int take(struct dispatch *d, uint32_t peer, int fd, struct str message)
{
    struct reader r = reader_of(message);
    enum queue_frame_type type;
    uint32_t fields;
    int status = queue_frame_open(&r, &type, &fields);
    if (status) {
        return status;
    }
    switch (type) {
    case QUEUE_PUBLISH:
        return on_publish(d, peer, &r, fields);
    case QUEUE_SUBSCRIBE:
        return on_subscribe(d, peer, fd, &r, fields);
    case QUEUE_JOIN:
        return on_join(d, peer, fd, &r, fields);
    case QUEUE_SETTLE:
        return on_settle(d, peer, &r, fields);
    case QUEUE_CALL:
        return on_call(d, peer, fd, &r, fields);
    default:
        return on_pair(d, peer, fd, type, &r, fields);
    }
}

void dispatch_message(struct dispatch *d, uint32_t peer, int fd, struct str message)
{
    if (peer == 0) {
        refuse(d, peer, first_number(message), REFUSED_ROUTING_ID, "do not set ZMQ_ROUTING_ID");
    } else if (take(d, peer, fd, message)) {
        refuse(d, peer, first_number(message), REFUSED_MALFORMED,
               "not a frame of a queue client as PROTOCOL.md section 3 describes it");
    }
}

void dispatch_disconnect(struct dispatch *d, int fd)
{
    struct client *next;
    for (struct client *c = clients_next(d->clients, NULL); c; c = next) {
        next = clients_next(d->clients, c);
        if (c->fd == fd) {
            readers_forget(d->readers, c);
            groups_forget(d->groups, c);
            operations_forget(d->operations, c);
            clients_remove(d->clients, c);
        }
    }
}
