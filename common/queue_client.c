// SPDX-License-Identifier: MIT
// One DEALER to the queue. The client is up from the first frame that it hears on a connection;
// then it sends what waits, in the order in which it was given, and subscribes and joins again.
#include "common/queue_client.h"

#include "common/clock.h"
#include "common/queue_client_impl.h"
#include "common/zsocket.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define TICK_MS 250
#define DEAD_MS (3 * QUEUE_CLIENT_PING_MS) // silence after which the connection is made anew
#define LINGER_MS                                                                                  \
    100 // for UNSUBSCRIBE, SETTLE and LEAVE at the end; publishes wait for their answers instead

struct queue_subscription {
    struct queue_client *client;
    struct queue_subscribe options; // its strings point into text
    struct buf text;
    struct queue_subscription_callbacks callbacks;
    uint64_t next_seq; // behind the last event handed out; 0: none was
    uint32_t credit;   // granted and not used
    bool active;       // subscribed on this connection
    bool closed;       // by the subscriber, in the middle of its own callback
};

// --- Sending

int queue_client_send_out(struct queue_client *c)
{
    int rc = buf_error(&c->out);
    return rc ? rc : zsocket_send(c->socket, 0, buf_str(&c->out));
}

void queue_client_send_pair(struct queue_client *c, enum queue_frame_type type, uint64_t first,
                            uint64_t second)
{
    buf_reset(&c->out);
    queue_pair_encode(&c->out, type, first, second);
    int rc = queue_client_send_out(c);
    (void)rc; // a lost connection is reported by itself, and what it meant is said again
}

static void send_subscription(struct queue_client *c, struct queue_subscription *s)
{
    struct queue_subscribe options = s->options;
    if (s->next_seq) {
        options.from = QUEUE_FROM_SEQ;
        options.from_value = s->next_seq;
    }
    options.credit = s->credit;
    buf_reset(&c->out);
    queue_subscribe_encode(&c->out, &options);
    s->active = queue_client_send_out(c) == 0;
}

static void send_waiting(struct queue_client *c)
{
    if (c->up) {
        queue_producer_flush(c);
        queue_producer_send(c);
        queue_members_send(c);
        queue_members_flush(c);
    }
    for (size_t i = 0; c->up && i < QUEUE_CLIENT_MAX_SUBSCRIPTIONS; i++) {
        if (c->subscriptions[i] && !c->subscriptions[i]->active) {
            send_subscription(c, c->subscriptions[i]);
        }
    }
    if (c->up && c->watch && !c->watching) {
        c->watching = true;
        queue_client_send_pair(c, QUEUE_WATCH, c->watch, 0);
    }
}

// --- Up and down

static void go_down(struct queue_client *c)
{
    bool was_up = c->up;
    c->connected = c->up = c->watching = false;
    queue_producer_down(c);
    queue_members_down(c);
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_SUBSCRIPTIONS; i++) {
        if (c->subscriptions[i]) {
            c->subscriptions[i]->active = false;
        }
    }
    if (was_up && c->callbacks.on_down) {
        c->callbacks.on_down(c, c->callbacks.data);
    }
}

static void go_up(struct queue_client *c)
{
    c->up = true;
    send_waiting(c);
    if (c->callbacks.on_up) {
        c->callbacks.on_up(c, c->callbacks.data);
    }
}

// --- Hearing: publishing and groups

static void on_published(struct queue_client *c, struct reader *r, uint32_t fields)
{
    struct queue_published answer;
    if (queue_published_decode(r, fields, &answer) == 0) {
        queue_producer_take_published(c, &answer);
    }
}

static void on_joined(struct queue_client *c, struct reader *r, uint32_t fields)
{
    uint64_t member, zero;
    if (queue_pair_decode(r, fields, &member, &zero) == 0) {
        queue_members_take_joined(c, member);
    }
}

static void on_deliver(struct queue_client *c, struct reader *r, uint32_t fields)
{
    struct queue_deliver f;
    if (queue_deliver_decode(r, fields, &f) == 0) {
        queue_members_take_deliver(c, &f);
    }
}

static void on_settled(struct queue_client *c, struct reader *r, uint32_t fields)
{
    struct queue_settled f;
    if (queue_settled_decode(r, fields, &f) == 0) {
        queue_members_take_settled(c, &f);
    }
}

// --- Hearing: reading

static struct queue_subscription *find_subscription(struct queue_client *c, uint64_t id)
{
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_SUBSCRIPTIONS; i++) {
        if (c->subscriptions[i] && c->subscriptions[i]->options.subscription == id) {
            return c->subscriptions[i];
        }
    }
    return NULL;
}

static void free_subscription(struct queue_subscription *s)
{
    struct queue_client *c = s->client;
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_SUBSCRIPTIONS; i++) {
        if (c->subscriptions[i] == s) {
            c->subscriptions[i] = NULL;
        }
    }
    buf_fini(&s->text);
    free(s);
}

// The subscriber may close its subscription, or the client, in any of its callbacks: what they use
// is freed only when the callback has returned.
static void begin_callback(struct queue_subscription *s)
{
    s->client->delivering = s;
}

static void end_callback(struct queue_subscription *s)
{
    s->client->delivering = NULL;
    if (s->closed) {
        free_subscription(s);
    }
}

static void on_events(struct queue_client *c, struct reader *r, uint32_t fields)
{
    struct queue_events f;
    struct queue_event_entry e;
    if (queue_events_decode(r, fields, &f)) {
        return;
    }
    struct queue_subscription *s = find_subscription(c, f.subscription);
    if (!s || !s->active) {
        return; // it was closed meanwhile
    }
    begin_callback(s);
    while (!s->closed && queue_events_next(&f, &e) == 1) {
        s->next_seq = e.seq + 1;
        s->credit -= s->credit > 0;
        s->callbacks.on_event(s, e.seq, e.stored_ms, e.event, s->callbacks.data);
    }
    if (!s->closed && s->callbacks.on_batch_end) {
        s->callbacks.on_batch_end(s, s->callbacks.data);
    }
    end_callback(s);
}

static void on_caught_up(struct queue_client *c, struct reader *r, uint32_t fields)
{
    uint64_t id, next_seq;
    if (queue_pair_decode(r, fields, &id, &next_seq)) {
        return;
    }
    struct queue_subscription *s = find_subscription(c, id);
    if (s && s->active) {
        s->next_seq = next_seq > s->next_seq ? next_seq : s->next_seq;
        if (s->callbacks.on_caught_up) {
            begin_callback(s);
            s->callbacks.on_caught_up(s, next_seq, s->callbacks.data);
            end_callback(s);
        }
    }
}

static void on_lost(struct queue_client *c, struct reader *r, uint32_t fields)
{
    uint64_t id, first, last;
    if (queue_lost_decode(r, fields, &id, &first, &last) ||
        queue_members_take_lost(c, id, first, last)) {
        return;
    }
    struct queue_subscription *s = find_subscription(c, id);
    if (s && s->active) {
        s->next_seq = last >= s->next_seq ? last + 1 : s->next_seq;
    }
    if (s && s->active && s->callbacks.on_lost) {
        begin_callback(s);
        s->callbacks.on_lost(s, first, last, s->callbacks.data);
        end_callback(s);
    }
}

static void end_subscription(struct queue_subscription *s, struct str reason, struct str detail,
                             uint64_t next_seq)
{
    begin_callback(s);
    s->active = false;
    s->callbacks.on_ended(s, reason, detail, next_seq, s->callbacks.data);
    s->closed = true;
    end_callback(s);
}

static void on_ended(struct queue_client *c, struct reader *r, uint32_t fields)
{
    uint64_t id, next_seq;
    struct str reason, detail;
    if (queue_word_decode(r, fields, &id, &next_seq, &reason, &detail) ||
        queue_members_take_ended(c, id, reason, detail)) {
        return;
    }
    struct queue_subscription *s = find_subscription(c, id);
    if (s && str_eq(reason, STR("stopping"))) {
        s->active = false; // subscribes again at the next connection
    } else if (s) {
        end_subscription(s, reason, detail, next_seq);
    }
}

// --- Hearing: the rest

static struct info *find_info(struct queue_client *c, uint64_t request)
{
    for (size_t i = 0; request && i < QUEUE_CLIENT_MAX_INFOS; i++) {
        if (c->infos[i].request == request) {
            return &c->infos[i];
        }
    }
    return NULL;
}

static void end_info(struct info *i, int status, struct str map)
{
    struct info copy = *i;
    i->request = 0;
    copy.on_info(status, map, copy.data);
}

static void on_info_reply(struct queue_client *c, struct reader *r, uint32_t fields)
{
    uint64_t request;
    struct str map;
    if (queue_info_decode(r, fields, &request, &map) || queue_members_take_result(c, request)) {
        return;
    }
    struct info *i = find_info(c, request);
    if (i) {
        end_info(i, 0, map);
    }
}

static void on_operations(struct queue_client *c, struct reader *r, uint32_t fields)
{
    struct queue_operations f;
    if (queue_operations_decode(r, fields, &f) == 0 && c->watch && f.subscription == c->watch) {
        c->on_operations(&f, c->watch_data);
    }
}

static void on_refused(struct queue_client *c, struct reader *r, uint32_t fields)
{
    uint64_t id, zero;
    struct str reason, detail;
    if (queue_word_decode(r, fields, &id, &zero, &reason, &detail) ||
        str_eq(reason, STR("stopping"))) {
        return; // a queue that stops is asked again after the reconnect
    }
    if (queue_producer_take_refused(c, id, str_eq(reason, STR("disk-full")) ? -ENOSPC : -EBADMSG,
                                    detail) ||
        queue_members_take_ended(c, id, reason, detail)) {
        return;
    }
    struct queue_subscription *s = find_subscription(c, id);
    struct info *i = s ? NULL : find_info(c, id);
    if (s) {
        end_subscription(s, reason, detail, s->next_seq);
    } else if (i) {
        end_info(i, -EBADMSG, detail);
    }
}

static void on_message(struct zsocket *socket, uint32_t peer, int fd, struct str message,
                       void *data)
{
    struct queue_client *c = data;
    struct reader r = reader_of(message);
    enum queue_frame_type type;
    uint32_t fields;
    uint64_t token, zero;
    (void)socket, (void)peer, (void)fd;
    c->heard_ms = clock_mono_ms();
    if (queue_frame_open(&r, &type, &fields)) {
        return;
    }
    if (!c->up && c->connected) {
        go_up(c);
    }
    if (c->closed) {
        return; // by on_up
    }
    switch (type) {
    case QUEUE_PUBLISHED:
        on_published(c, &r, fields);
        break;
    case QUEUE_EVENTS:
        on_events(c, &r, fields);
        break;
    case QUEUE_JOINED:
        on_joined(c, &r, fields);
        break;
    case QUEUE_DELIVER:
        on_deliver(c, &r, fields);
        break;
    case QUEUE_SETTLED:
        on_settled(c, &r, fields);
        break;
    case QUEUE_CAUGHT_UP:
        on_caught_up(c, &r, fields);
        break;
    case QUEUE_LOST:
        on_lost(c, &r, fields);
        break;
    case QUEUE_ENDED:
        on_ended(c, &r, fields);
        break;
    case QUEUE_OPERATIONS:
        on_operations(c, &r, fields);
        break;
    case QUEUE_INFO_REPLY:
    case QUEUE_RESULT: // the same form
        on_info_reply(c, &r, fields);
        break;
    case QUEUE_REFUSED:
        on_refused(c, &r, fields);
        break;
    case QUEUE_PING:
        if (queue_pair_decode(&r, fields, &token, &zero) == 0) {
            queue_client_send_pair(c, QUEUE_PONG, token, 0);
        }
        break;
    default: // PONG has done its work by being heard; a client's own frames have no meaning here
        break;
    }
}

static void on_connect(struct zsocket *socket, void *data)
{
    struct queue_client *c = data;
    (void)socket;
    if (c->connected) {
        // A connection may be replaced without a word, and what was left to be read of the one before
        // looked like this one's: what was sent meanwhile went nowhere.
        go_down(c);
    }
    c->connected = true;
    c->heard_ms = c->pinged_ms = clock_mono_ms();
    queue_client_send_pair(c, QUEUE_PING, 1, 0); // its answer says that somebody serves
}

static void on_disconnect(struct zsocket *socket, int fd, void *data)
{
    (void)socket, (void)fd;
    go_down(data);
}

// --- Life

static int open_socket(struct queue_client *c)
{
    struct zsocket_options options = { .type = ZSOCKET_DEALER,
                                       .max_message_bytes = QUEUE_MAX_FRAME_BYTES,
                                       .curve = c->curve,
                                       .server_name = "queue" };
    struct zsocket_callbacks callbacks = { on_message, on_connect, on_disconnect, c };
    int rc = zsocket_open(c->loop, &options, &callbacks, &c->socket);
    rc = rc ? rc : zsocket_connect(c->socket, c->endpoint);
    if (rc) {
        zsocket_close(&c->socket, 0);
    }
    return rc;
}

static void check_liveness(struct queue_client *c, int64_t now)
{
    if (!c->socket) {
        int rc = open_socket(c); // failed at an earlier tick
        (void)rc;                // and is tried at the next
    } else if (c->connected && now - c->heard_ms > DEAD_MS) {
        zsocket_close(&c->socket, 0);
        go_down(c);
    } else if (c->connected && now - c->heard_ms >= QUEUE_CLIENT_PING_MS &&
               now - c->pinged_ms >= QUEUE_CLIENT_PING_MS) {
        c->pinged_ms = now;
        queue_client_send_pair(c, QUEUE_PING, 1, 0);
    }
}

// An idle handle runs before the socket's prepare handle looks for what sending may have woken, and
// keeps the loop from sleeping until it has run.
static void on_turn(uv_idle_t *handle)
{
    struct queue_client *c = handle->data;
    (void)uv_idle_stop(handle); // cannot fail
    if (c->up) {
        queue_producer_flush(c);
        queue_members_flush(c);
    }
}

void queue_client_gather(struct queue_client *c)
{
    (void)uv_idle_start(&c->turn, on_turn); // fails only without a callback; may be active already
}

static void on_tick(uv_timer_t *handle)
{
    struct queue_client *c = handle->data;
    int64_t now = clock_mono_ms();
    check_liveness(c, now);
    if (c->up) {
        send_waiting(c);
    }
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_INFOS && !c->closed; i++) {
        if (c->infos[i].request && now >= c->infos[i].until_ms) {
            end_info(&c->infos[i], -ETIMEDOUT, STR(""));
        }
    }
}

int queue_client_open(uv_loop_t *loop, const char *endpoint, struct curve *curve,
                      const struct queue_client_callbacks *callbacks,
                      struct queue_client **ret_client)
{
    struct queue_client *c = calloc(1, sizeof *c);
    if (!c) {
        return -ENOMEM;
    }
    c->loop = loop;
    c->curve = curve;
    c->callbacks = *callbacks;
    queue_producer_init(&c->producer);
    c->endpoint = strdup(endpoint);
    buf_init(&c->out, QUEUE_MAX_FRAME_BYTES);
    int rc = c->endpoint ? open_socket(c) : -ENOMEM;
    if (rc) {
        free(c->endpoint);
        free(c);
        return rc;
    }
    (void)uv_timer_init(loop, &c->timer); // these cannot fail
    (void)uv_idle_init(loop, &c->turn);
    c->handles_open = 2;
    c->timer.data = c->turn.data = c;
    (void)uv_timer_start(&c->timer, on_tick, TICK_MS, TICK_MS);
    *ret_client = c;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct queue_client *c = handle->data;
    if (--c->handles_open == 0) {
        queue_producer_fini(&c->producer);
        buf_fini(&c->out);
        free(c->endpoint);
        free(c);
    }
}

void queue_client_close(struct queue_client **client)
{
    struct queue_client *c = *client;
    *client = NULL;
    if (!c) {
        return;
    }
    queue_members_cancel(c); // they say that they leave
    c->closed = true;
    c->up = c->connected = false;
    zsocket_close(&c->socket, LINGER_MS);
    queue_producer_cancel(c);
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_INFOS; i++) {
        if (c->infos[i].request) {
            end_info(&c->infos[i], -ECANCELED, STR(""));
        }
    }
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_SUBSCRIPTIONS; i++) {
        if (c->subscriptions[i] && c->subscriptions[i] == c->delivering) {
            c->delivering->closed = true; // freed when its callback has returned
        } else if (c->subscriptions[i]) {
            free_subscription(c->subscriptions[i]);
        }
    }
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->turn, on_handle_closed);
}

bool queue_client_is_up(const struct queue_client *c)
{
    return c && c->up;
}

uint64_t queue_client_next_request(struct queue_client *c)
{
    return ++c->last_request;
}

// The options' strings, copied into the subscription.
static int copy_options(struct queue_subscription *s, const struct queue_subscribe *options)
{
    s->options = *options;
    buf_init(&s->text, QUEUE_MAX_FILTERS * QUEUE_MAX_TOPIC + QUEUE_MAX_KEY + QUEUE_MAX_WHERE);
    for (size_t i = 0; i < options->n_filters; i++) {
        buf_append_str(&s->text, options->filters[i]);
    }
    buf_append_str(&s->text, options->key);
    buf_append_str(&s->text, options->where);
    if (!buf_ok(&s->text)) {
        return buf_error(&s->text);
    }
    const char *p = s->text.data;
    for (size_t i = 0; i < options->n_filters; i++) {
        s->options.filters[i].p = p;
        p += options->filters[i].n;
    }
    s->options.key.p = options->key.p ? p : NULL;
    s->options.where.p = options->where.p ? p + options->key.n : NULL;
    return 0;
}

int queue_client_subscribe(struct queue_client *c, const struct queue_subscribe *options,
                           const struct queue_subscription_callbacks *callbacks,
                           struct queue_subscription **ret_subscription)
{
    size_t i = 0;
    assert(callbacks->on_event && callbacks->on_ended && options->n_filters <= QUEUE_MAX_FILTERS);
    while (i < QUEUE_CLIENT_MAX_SUBSCRIPTIONS && c->subscriptions[i]) {
        i++;
    }
    if (i == QUEUE_CLIENT_MAX_SUBSCRIPTIONS) {
        return -ENOSPC;
    }
    struct queue_subscription *s = calloc(1, sizeof *s);
    int rc = s ? copy_options(s, options) : -ENOMEM;
    if (rc) {
        if (s) {
            buf_fini(&s->text);
        }
        free(s);
        return rc;
    }
    s->client = c;
    s->callbacks = *callbacks;
    s->credit = options->credit;
    s->options.subscription = queue_client_next_request(c);
    c->subscriptions[i] = s;
    *ret_subscription = s;
    if (c->up) {
        send_subscription(c, s);
    }
    return 0;
}

void queue_subscription_grant(struct queue_subscription *s, uint32_t more)
{
    s->credit += more;
    if (s->active && more) {
        queue_client_send_pair(s->client, QUEUE_GRANT, s->options.subscription, more);
    }
}

void queue_subscription_close(struct queue_subscription **subscription)
{
    struct queue_subscription *s = *subscription;
    *subscription = NULL;
    if (!s) {
        return;
    }
    if (s->active) {
        queue_client_send_pair(s->client, QUEUE_UNSUBSCRIBE, s->options.subscription, 0);
    }
    s->active = false;
    if (s->client->delivering == s) {
        s->closed = true; // freed when its callback has returned
    } else {
        free_subscription(s);
    }
}

// A place for the answer of a request, or the reason why it cannot be asked now.
static int add_info(struct queue_client *c, int timeout_ms,
                    void (*on_info)(int status, struct str map, void *data), void *data,
                    uint64_t *ret_request)
{
    size_t i = 0;
    while (i < QUEUE_CLIENT_MAX_INFOS && c->infos[i].request) {
        i++;
    }
    if (c->closed || i == QUEUE_CLIENT_MAX_INFOS) {
        return -EAGAIN;
    }
    if (!c->up) {
        return -ENOTCONN;
    }
    *ret_request = queue_client_next_request(c);
    c->infos[i] = (struct info){ *ret_request, clock_mono_ms() + timeout_ms, on_info, data };
    return 0;
}

int queue_client_info(struct queue_client *c, int timeout_ms,
                      void (*on_info)(int status, struct str map, void *data), void *data)
{
    uint64_t request;
    int rc = add_info(c, timeout_ms, on_info, data, &request);
    if (rc == 0) {
        queue_client_send_pair(c, QUEUE_INFO, request, 0);
    }
    return rc;
}

int queue_client_call(struct queue_client *c, struct str method, struct str arguments,
                      int timeout_ms, void (*on_result)(int status, struct str result, void *data),
                      void *data)
{
    uint64_t request;
    int rc = add_info(c, timeout_ms, on_result, data, &request);
    if (rc) {
        return rc;
    }
    buf_reset(&c->out);
    queue_call_encode(&c->out, request, method, arguments);
    rc = queue_client_send_out(c);
    if (rc) {
        find_info(c, request)->request = 0;
    }
    return rc;
}

int queue_client_watch(struct queue_client *c,
                       void (*on_ops)(struct queue_operations *f, void *data), void *data)
{
    if (c->watch) {
        return -EALREADY;
    }
    c->watch = queue_client_next_request(c);
    c->on_operations = on_ops;
    c->watch_data = data;
    if (c->up) {
        send_waiting(c);
    }
    return 0;
}
