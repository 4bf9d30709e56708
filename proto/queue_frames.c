// SPDX-License-Identifier: MIT
// Encoders and decoders of the queue's frames, and the rules of topics. Decoders read field by field from a
// bounded cursor and give up at the first that is not as PROTOCOL.md says; what a newer peer added at the end of
// an array is stepped over.
#include "proto/queue_frames.h"

#include "proto/writer.h"

#include <assert.h>
#include <errno.h>

static void begin(struct buf *b, enum queue_frame_type type, uint32_t fields)
{
    writer_array(b, fields + 1);
    writer_uint(b, type);
}

static int read_u32(struct reader *r, uint32_t *ret)
{
    uint64_t v;
    if (reader_uint(r, &v) || v > UINT32_MAX) {
        return -EBADMSG;
    }
    *ret = (uint32_t)v;
    return 0;
}

static int read_limited(struct reader *r, size_t max_bytes, struct str *ret)
{
    struct str s;
    if (reader_str(r, &s) || s.n > max_bytes) {
        return -EBADMSG;
    }
    *ret = s;
    return 0;
}

static int read_bin_or_nil(struct reader *r, struct str *ret)
{
    if (reader_nil(r) == 0) {
        *ret = (struct str){ NULL, 0 };
        return 0;
    }
    return reader_bin(r, ret);
}

// Opens an array of at least known elements; *ret_more is how many the reader has to step over after them.
static int open_array(struct reader *r, uint32_t known, uint32_t *ret_more)
{
    uint32_t count;
    if (reader_array(r, &count) || count < known) {
        return -EBADMSG;
    }
    *ret_more = count - known;
    return 0;
}

// The array that ends a frame, at most max long: *ret_entries stands at its first element.
static int open_entries(struct reader *r, uint32_t max, uint32_t *ret_count,
                        struct reader *ret_entries)
{
    uint32_t count;
    if (reader_array(r, &count) || count > max) {
        return -EBADMSG;
    }
    *ret_count = count;
    *ret_entries = *r;
    return 0;
}

static int skip_values(struct reader *r, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (reader_skip(r)) {
            return -EBADMSG;
        }
    }
    return 0;
}

int queue_frame_open(struct reader *r, enum queue_frame_type *ret_type, uint32_t *ret_fields)
{
    uint32_t count, type;
    if (reader_array(r, &count) || count == 0 || read_u32(r, &type) || type < QUEUE_PUBLISH ||
        type > QUEUE_OPERATIONS) {
        return -EBADMSG;
    }
    *ret_type = (enum queue_frame_type)type;
    *ret_fields = count - 1;
    return 0;
}

// --- Events

void event_encode(struct buf *b, const struct event *e)
{
    writer_array(b, 8);
    writer_str(b, e->id);
    writer_str(b, e->topic);
    writer_str(b, e->key);
    writer_str(b, e->subject);
    writer_str(b, e->source);
    writer_int(b, e->time_ms);
    writer_str(b, e->traceparent);
    if (e->data.p) {
        writer_bin(b, e->data);
    } else {
        writer_nil(b);
    }
}

int event_decode(struct str bytes, struct event *ret_event)
{
    struct reader r = reader_of(bytes);
    struct event e = { 0 };
    uint32_t more;
    if (open_array(&r, 8, &more) || reader_str(&r, &e.id) || reader_str(&r, &e.topic) ||
        read_limited(&r, QUEUE_MAX_KEY, &e.key) || reader_str(&r, &e.subject) ||
        reader_str(&r, &e.source) || reader_int(&r, &e.time_ms) || reader_str(&r, &e.traceparent) ||
        read_bin_or_nil(&r, &e.data) || skip_values(&r, more) || reader_left(&r) != 0) {
        return -EBADMSG;
    }
    *ret_event = e;
    return 0;
}

int event_decode_route(struct str bytes, struct str *ret_topic, struct str *ret_key)
{
    struct reader r = reader_of(bytes);
    struct str id, topic, key;
    uint32_t more;
    if (open_array(&r, 8, &more) || reader_str(&r, &id) || reader_str(&r, &topic) ||
        read_limited(&r, QUEUE_MAX_KEY, &key)) {
        return -EBADMSG;
    }
    *ret_topic = topic;
    *ret_key = key;
    return 0;
}

// --- PUBLISH, PUBLISHED

void queue_publish_begin(struct buf *b, uint64_t request, struct str producer, uint32_t n_entries)
{
    assert(n_entries <= QUEUE_MAX_BATCH && producer.n <= QUEUE_MAX_PRODUCER);
    begin(b, QUEUE_PUBLISH, 3);
    writer_uint(b, request);
    if (producer.p) {
        writer_str(b, producer);
    } else {
        writer_nil(b);
    }
    writer_array(b, n_entries);
}

void queue_publish_entry(struct buf *b, uint64_t producer_seq, struct str event)
{
    writer_array(b, 2);
    writer_uint(b, producer_seq);
    writer_bin(b, event);
}

int queue_publish_decode(struct reader *r, uint32_t fields, struct queue_publish *ret)
{
    uint32_t count;
    ret->n_entries = 0;
    if (fields < 3 || reader_uint(r, &ret->request) || reader_str_or_nil(r, &ret->producer) ||
        reader_array(r, &count) || count > QUEUE_MAX_BATCH) {
        return -EBADMSG;
    }
    if (ret->producer.p && (ret->producer.n == 0 || ret->producer.n > QUEUE_MAX_PRODUCER)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct queue_entry *e = &ret->entries[i];
        uint32_t more;
        if (open_array(r, 2, &more) || reader_uint(r, &e->producer_seq) ||
            reader_bin(r, &e->event) || skip_values(r, more)) {
            return -EBADMSG;
        }
    }
    ret->n_entries = count;
    return 0;
}

void queue_published_encode(struct buf *b, const struct queue_published *f)
{
    begin(b, QUEUE_PUBLISHED, 8);
    writer_uint(b, f->request);
    writer_uint(b, f->first_seq);
    writer_uint(b, f->last_seq);
    writer_uint(b, f->producer_seq);
    writer_uint(b, f->stored);
    writer_uint(b, f->duplicates);
    writer_bool(b, f->durable);
    writer_uint(b, f->took_us);
}

int queue_published_decode(struct reader *r, uint32_t fields, struct queue_published *ret)
{
    struct queue_published f;
    if (fields < 7 || reader_uint(r, &f.request) || reader_uint(r, &f.first_seq) ||
        reader_uint(r, &f.last_seq) || reader_uint(r, &f.producer_seq) || read_u32(r, &f.stored) ||
        read_u32(r, &f.duplicates) || reader_bool(r, &f.durable)) {
        return -EBADMSG;
    }
    f.took_us = 0;
    if (fields > 7 && read_u32(r, &f.took_us)) {
        return -EBADMSG;
    }
    *ret = f;
    return 0;
}

// --- SUBSCRIBE

static const struct str start_names[] = {
    [QUEUE_FROM_START] = STR_INIT("start"), [QUEUE_FROM_END] = STR_INIT("end"),
    [QUEUE_FROM_SEQ] = STR_INIT("seq"),     [QUEUE_FROM_TIME] = STR_INIT("time"),
    [QUEUE_FROM_LAST] = STR_INIT("last"),
};
#define N_STARTS (sizeof start_names / sizeof start_names[0])

void queue_subscribe_encode(struct buf *b, const struct queue_subscribe *f)
{
    assert(f->n_filters <= QUEUE_MAX_FILTERS && f->from < N_STARTS);
    begin(b, QUEUE_SUBSCRIBE, 3);
    writer_uint(b, f->subscription);
    writer_map(b, 6u + (f->key.p != NULL) + (f->where.p != NULL));
    writer_key(b, "filters");
    writer_array(b, (uint32_t)f->n_filters);
    for (size_t i = 0; i < f->n_filters; i++) {
        writer_str(b, f->filters[i]);
    }
    if (f->key.p) {
        writer_key(b, "key");
        writer_str(b, f->key);
    }
    if (f->where.p) {
        writer_key(b, "where");
        writer_str(b, f->where);
    }
    writer_key(b, "from");
    writer_str(b, start_names[f->from]);
    writer_key(b, "value");
    writer_uint(b, f->from_value);
    writer_key(b, "until_seq");
    writer_uint(b, f->until_seq);
    writer_key(b, "until_ms");
    writer_uint(b, f->until_ms);
    writer_key(b, "follow");
    writer_bool(b, f->follow);
    writer_uint(b, f->credit);
}

static int read_filters(struct reader *r, struct queue_subscribe *f)
{
    uint32_t count;
    if (reader_array(r, &count) || count > QUEUE_MAX_FILTERS) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (reader_str(r, &f->filters[i])) {
            return -EBADMSG;
        }
    }
    f->n_filters = count;
    return 0;
}

static int read_start(struct reader *r, struct queue_subscribe *f)
{
    struct str name;
    if (reader_str(r, &name)) {
        return -EBADMSG;
    }
    for (unsigned i = 0; i < N_STARTS; i++) {
        if (str_eq(name, start_names[i])) {
            f->from = (enum queue_start)i;
            return 0;
        }
    }
    return -EBADMSG;
}

// One option of the map. An option that is nil is as good as left out; unknown ones are ignored.
static int read_option(struct reader *r, struct queue_subscribe *f)
{
    struct str name;
    if (reader_str(r, &name)) {
        return -EBADMSG;
    }
    if (reader_nil(r) == 0) {
        return 0;
    } else if (str_eq(name, STR("filters"))) {
        return read_filters(r, f);
    } else if (str_eq(name, STR("key"))) {
        return read_limited(r, QUEUE_MAX_KEY, &f->key);
    } else if (str_eq(name, STR("where"))) {
        return reader_str(r, &f->where); // one that is too long is told so, as any other that is wrong
    } else if (str_eq(name, STR("from"))) {
        return read_start(r, f);
    } else if (str_eq(name, STR("value"))) {
        return reader_uint(r, &f->from_value);
    } else if (str_eq(name, STR("until_seq"))) {
        return reader_uint(r, &f->until_seq);
    } else if (str_eq(name, STR("until_ms"))) {
        return reader_uint(r, &f->until_ms);
    } else if (str_eq(name, STR("follow"))) {
        return reader_bool(r, &f->follow);
    }
    return reader_skip(r);
}

int queue_subscribe_decode(struct reader *r, uint32_t fields, struct queue_subscribe *ret)
{
    struct queue_subscribe f = { 0 };
    uint32_t options;
    if (fields < 3 || reader_uint(r, &f.subscription) || reader_map(r, &options)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < options; i++) {
        if (read_option(r, &f)) {
            return -EBADMSG;
        }
    }
    if (read_u32(r, &f.credit)) {
        return -EBADMSG;
    }
    *ret = f;
    return 0;
}

// --- EVENTS

size_t queue_events_begin(struct buf *b, uint64_t subscription)
{
    begin(b, QUEUE_EVENTS, 2);
    writer_uint(b, subscription);
    return writer_open_array(b);
}

void queue_events_entry(struct buf *b, uint64_t seq, int64_t stored_ms, struct str event)
{
    writer_array(b, 3);
    writer_uint(b, seq);
    writer_int(b, stored_ms);
    writer_bin(b, event);
}

void queue_events_end(struct buf *b, size_t mark, uint32_t n_entries)
{
    assert(n_entries <= QUEUE_MAX_BATCH);
    writer_close(b, mark, n_entries);
}

int queue_events_decode(struct reader *r, uint32_t fields, struct queue_events *ret)
{
    struct queue_events f;
    if (fields < 2 || reader_uint(r, &f.subscription) ||
        open_entries(r, QUEUE_MAX_BATCH, &f.count, &f.entries)) {
        return -EBADMSG;
    }
    f.left = f.count;
    *ret = f;
    return 0;
}

int queue_events_next(struct queue_events *f, struct queue_event_entry *ret)
{
    struct queue_event_entry e;
    uint32_t more;
    if (f->left == 0) {
        return 0;
    }
    if (open_array(&f->entries, 3, &more) || reader_uint(&f->entries, &e.seq) ||
        reader_int(&f->entries, &e.stored_ms) || reader_bin(&f->entries, &e.event) ||
        skip_values(&f->entries, more)) {
        return -EBADMSG;
    }
    f->left--;
    *ret = e;
    return 1;
}

// --- Groups

void queue_join_encode(struct buf *b, uint64_t member, struct str group, uint32_t window)
{
    begin(b, QUEUE_JOIN, 3);
    writer_uint(b, member);
    writer_str(b, group);
    writer_uint(b, window);
}

int queue_join_decode(struct reader *r, uint32_t fields, uint64_t *ret_member,
                      struct str *ret_group, uint32_t *ret_window)
{
    uint64_t member;
    struct str group;
    if (fields < 3 || reader_uint(r, &member) || reader_str(r, &group) || read_u32(r, ret_window)) {
        return -EBADMSG;
    }
    *ret_member = member;
    *ret_group = group;
    return 0;
}

size_t queue_deliver_begin(struct buf *b, uint64_t member)
{
    begin(b, QUEUE_DELIVER, 2);
    writer_uint(b, member);
    return writer_open_array(b);
}

void queue_deliver_entry(struct buf *b, const struct queue_delivery *d)
{
    writer_array(b, 4);
    writer_uint(b, d->seq);
    writer_int(b, d->stored_ms);
    writer_uint(b, d->attempt);
    writer_bin(b, d->event);
}

void queue_deliver_end(struct buf *b, size_t mark, uint32_t n_entries)
{
    assert(n_entries <= QUEUE_MAX_BATCH);
    writer_close(b, mark, n_entries);
}

int queue_deliver_decode(struct reader *r, uint32_t fields, struct queue_deliver *ret)
{
    struct queue_deliver f;
    if (fields < 2 || reader_uint(r, &f.member) ||
        open_entries(r, QUEUE_MAX_BATCH, &f.count, &f.entries)) {
        return -EBADMSG;
    }
    f.left = f.count;
    *ret = f;
    return 0;
}

int queue_deliver_next(struct queue_deliver *f, struct queue_delivery *ret)
{
    struct queue_delivery d;
    uint32_t more;
    if (f->left == 0) {
        return 0;
    }
    if (open_array(&f->entries, 4, &more) || reader_uint(&f->entries, &d.seq) ||
        reader_int(&f->entries, &d.stored_ms) || read_u32(&f->entries, &d.attempt) ||
        reader_bin(&f->entries, &d.event) || skip_values(&f->entries, more)) {
        return -EBADMSG;
    }
    f->left--;
    *ret = d;
    return 1;
}

void queue_settle_encode(struct buf *b, const struct queue_settle *f)
{
    assert(f->n_ranges <= QUEUE_MAX_RANGES && f->error.n <= QUEUE_MAX_ERROR);
    begin(b, QUEUE_SETTLE, 6);
    writer_uint(b, f->member);
    writer_uint(b, f->request);
    writer_uint(b, f->verdict);
    writer_uint(b, f->delay_ms);
    writer_str(b, f->error);
    writer_array(b, (uint32_t)f->n_ranges);
    for (size_t i = 0; i < f->n_ranges; i++) {
        writer_array(b, 4);
        writer_uint(b, f->ranges[i].first_seq);
        writer_uint(b, f->ranges[i].last_seq);
        writer_uint(b, f->ranges[i].attempt);
        writer_uint(b, f->ranges[i].events);
    }
}

static int read_range(struct reader *r, struct queue_range *ret)
{
    struct queue_range v;
    uint32_t more;
    if (open_array(r, 4, &more) || reader_uint(r, &v.first_seq) || reader_uint(r, &v.last_seq) ||
        read_u32(r, &v.attempt) || read_u32(r, &v.events) || skip_values(r, more) ||
        v.first_seq > v.last_seq) {
        return -EBADMSG;
    }
    *ret = v;
    return 0;
}

int queue_settle_decode(struct reader *r, uint32_t fields, struct queue_settle *ret)
{
    uint32_t verdict, count;
    ret->n_ranges = 0;
    if (fields < 6 || reader_uint(r, &ret->member) || reader_uint(r, &ret->request) ||
        read_u32(r, &verdict) || verdict > QUEUE_TERM || reader_uint(r, &ret->delay_ms) ||
        read_limited(r, QUEUE_MAX_ERROR, &ret->error) || reader_array(r, &count) ||
        count > QUEUE_MAX_RANGES) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (read_range(r, &ret->ranges[i])) {
            return -EBADMSG;
        }
    }
    ret->verdict = (enum queue_verdict)verdict;
    ret->n_ranges = count;
    return 0;
}

void queue_settled_encode(struct buf *b, const struct queue_settled *f)
{
    begin(b, QUEUE_SETTLED, 5);
    writer_uint(b, f->member);
    writer_uint(b, f->request);
    writer_uint(b, f->settled);
    writer_uint(b, f->stale);
    writer_bool(b, f->durable);
}

int queue_settled_decode(struct reader *r, uint32_t fields, struct queue_settled *ret)
{
    struct queue_settled f;
    if (fields < 5 || reader_uint(r, &f.member) || reader_uint(r, &f.request) ||
        read_u32(r, &f.settled) || read_u32(r, &f.stale) || reader_bool(r, &f.durable)) {
        return -EBADMSG;
    }
    *ret = f;
    return 0;
}

// --- Calls and operations

void queue_call_encode(struct buf *b, uint64_t request, struct str method, struct str arguments)
{
    assert(method.n <= QUEUE_MAX_METHOD);
    begin(b, QUEUE_CALL, 3);
    writer_uint(b, request);
    writer_str(b, method);
    buf_append_str(b, arguments);
}

int queue_call_decode(struct reader *r, uint32_t fields, uint64_t *ret_request,
                      struct str *ret_method, struct str *ret_arguments)
{
    uint64_t request;
    struct str method, arguments;
    if (fields < 3 || reader_uint(r, &request) || read_limited(r, QUEUE_MAX_METHOD, &method) ||
        reader_peek(r) != READER_MAP || reader_raw(r, &arguments)) {
        return -EBADMSG;
    }
    *ret_request = request;
    *ret_method = method;
    *ret_arguments = arguments;
    return 0;
}

size_t queue_operations_begin(struct buf *b, uint64_t subscription, uint64_t dropped)
{
    begin(b, QUEUE_OPERATIONS, 3);
    writer_uint(b, subscription);
    writer_uint(b, dropped);
    return writer_open_array(b);
}

void queue_operations_entry(struct buf *b, const struct queue_operation *o)
{
    writer_array(b, 9);
    writer_int(b, o->at_ms);
    writer_str(b, o->what);
    writer_str(b, o->group);
    writer_uint(b, o->client);
    writer_uint(b, o->first_seq);
    writer_uint(b, o->last_seq);
    writer_uint(b, o->attempt);
    writer_uint(b, o->events);
    writer_uint(b, o->took_us);
}

void queue_operations_end(struct buf *b, size_t mark, uint32_t n_entries)
{
    assert(n_entries <= QUEUE_MAX_BATCH);
    writer_close(b, mark, n_entries);
}

int queue_operations_decode(struct reader *r, uint32_t fields, struct queue_operations *ret)
{
    struct queue_operations f;
    if (fields < 3 || reader_uint(r, &f.subscription) || reader_uint(r, &f.dropped) ||
        open_entries(r, QUEUE_MAX_BATCH, &f.count, &f.entries)) {
        return -EBADMSG;
    }
    f.left = f.count;
    *ret = f;
    return 0;
}

int queue_operations_next(struct queue_operations *f, struct queue_operation *ret)
{
    struct queue_operation o;
    struct reader *r = &f->entries;
    uint32_t more;
    if (f->left == 0) {
        return 0;
    }
    if (open_array(r, 9, &more) || reader_int(r, &o.at_ms) || reader_str(r, &o.what) ||
        reader_str(r, &o.group) || reader_uint(r, &o.client) || reader_uint(r, &o.first_seq) ||
        reader_uint(r, &o.last_seq) || read_u32(r, &o.attempt) || read_u32(r, &o.events) ||
        reader_uint(r, &o.took_us) || skip_values(r, more)) {
        return -EBADMSG;
    }
    f->left--;
    *ret = o;
    return 1;
}

// --- Small frames

void queue_pair_encode(struct buf *b, enum queue_frame_type type, uint64_t first, uint64_t second)
{
    begin(b, type, 2);
    writer_uint(b, first);
    writer_uint(b, second);
}

int queue_pair_decode(struct reader *r, uint32_t fields, uint64_t *ret_first, uint64_t *ret_second)
{
    uint64_t first, second;
    if (fields < 2 || reader_uint(r, &first) || reader_uint(r, &second)) {
        return -EBADMSG;
    }
    *ret_first = first;
    *ret_second = second;
    return 0;
}

void queue_word_encode(struct buf *b, enum queue_frame_type type, uint64_t first, uint64_t second,
                       struct str reason, struct str detail)
{
    begin(b, type, 4);
    writer_uint(b, first);
    writer_uint(b, second);
    writer_str(b, reason);
    writer_str(b, detail);
}

int queue_word_decode(struct reader *r, uint32_t fields, uint64_t *ret_first, uint64_t *ret_second,
                      struct str *ret_reason, struct str *ret_detail)
{
    uint64_t first, second;
    struct str reason, detail;
    if (fields < 4 || reader_uint(r, &first) || reader_uint(r, &second) || reader_str(r, &reason) ||
        reader_str(r, &detail)) {
        return -EBADMSG;
    }
    *ret_first = first;
    *ret_second = second;
    *ret_reason = reason;
    *ret_detail = detail;
    return 0;
}

void queue_lost_encode(struct buf *b, uint64_t subscription, uint64_t first_seq, uint64_t last_seq)
{
    begin(b, QUEUE_LOST, 3);
    writer_uint(b, subscription);
    writer_uint(b, first_seq);
    writer_uint(b, last_seq);
}

int queue_lost_decode(struct reader *r, uint32_t fields, uint64_t *ret_subscription,
                      uint64_t *ret_first_seq, uint64_t *ret_last_seq)
{
    uint64_t subscription, first, last;
    if (fields < 3 || reader_uint(r, &subscription) || reader_uint(r, &first) ||
        reader_uint(r, &last) || last < first) {
        return -EBADMSG;
    }
    *ret_subscription = subscription;
    *ret_first_seq = first;
    *ret_last_seq = last;
    return 0;
}

static void encode_map(struct buf *b, enum queue_frame_type type, uint64_t request, struct str map)
{
    begin(b, type, 2);
    writer_uint(b, request);
    buf_append_str(b, map);
}

void queue_info_encode(struct buf *b, uint64_t request, struct str map)
{
    encode_map(b, QUEUE_INFO_REPLY, request, map);
}

void queue_result_encode(struct buf *b, uint64_t request, struct str map)
{
    encode_map(b, QUEUE_RESULT, request, map);
}

int queue_info_decode(struct reader *r, uint32_t fields, uint64_t *ret_request, struct str *ret_map)
{
    uint64_t request;
    struct str map;
    if (fields < 2 || reader_uint(r, &request) || reader_peek(r) != READER_MAP ||
        reader_raw(r, &map)) {
        return -EBADMSG;
    }
    *ret_request = request;
    *ret_map = map;
    return 0;
}

// --- Topics

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

// The token at *at, up to the next dot or the end; *at moves behind its dot, or to s.n + 1 after the last.
static struct str next_token(struct str s, size_t *at)
{
    const char *start = s.p + *at;
    const char *dot = memchr(start, '.', s.n - *at);
    size_t n = dot ? (size_t)(dot - start) : s.n - *at;
    *at += n + 1;
    return (struct str){ start, n };
}

static bool is_word(struct str token)
{
    for (size_t i = 0; i < token.n; i++) {
        if (!is_token_char(token.p[i])) {
            return false;
        }
    }
    return token.n > 0;
}

static bool tokens_valid(struct str s, bool wildcards)
{
    if (s.n == 0 || s.n > QUEUE_MAX_TOPIC) {
        return false;
    }
    for (size_t at = wildcards && topic_is_own(s); at <= s.n;) {
        struct str token = next_token(s, &at);
        bool wild = wildcards && token.n == 1 &&
                    (token.p[0] == '*' || (token.p[0] == '>' && at == s.n + 1));
        if (!wild && !is_word(token)) {
            return false;
        }
    }
    return true;
}

bool topic_valid(struct str topic)
{
    return tokens_valid(topic, false);
}

bool topic_filter_valid(struct str filter)
{
    return tokens_valid(filter, true);
}

bool queue_group_valid(struct str name)
{
    return name.n <= QUEUE_MAX_GROUP && topic_valid(name);
}

bool topic_matches(struct str filter, struct str topic)
{
    size_t f = topic_is_own(filter), t = f;
    if (topic_is_own(topic) != topic_is_own(filter)) {
        return false; // no wildcard reaches into the queue's own topics
    }
    while (f <= filter.n && t <= topic.n) {
        struct str wanted = next_token(filter, &f);
        struct str token = next_token(topic, &t);
        if (str_eq(wanted, STR(">"))) {
            return true;
        }
        if (!str_eq(wanted, STR("*")) && !str_eq(wanted, token)) {
            return false;
        }
    }
    return f > filter.n && t > topic.n;
}
