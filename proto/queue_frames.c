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
        type > QUEUE_LOST) {
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
    begin(b, QUEUE_PUBLISHED, 7);
    writer_uint(b, f->request);
    writer_uint(b, f->first_seq);
    writer_uint(b, f->last_seq);
    writer_uint(b, f->producer_seq);
    writer_uint(b, f->stored);
    writer_uint(b, f->duplicates);
    writer_bool(b, f->durable);
}

int queue_published_decode(struct reader *r, uint32_t fields, struct queue_published *ret)
{
    struct queue_published f;
    if (fields < 7 || reader_uint(r, &f.request) || reader_uint(r, &f.first_seq) ||
        reader_uint(r, &f.last_seq) || reader_uint(r, &f.producer_seq) || read_u32(r, &f.stored) ||
        read_u32(r, &f.duplicates) || reader_bool(r, &f.durable)) {
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
    if (fields < 2 || reader_uint(r, &f.subscription) || reader_array(r, &f.count) ||
        f.count > QUEUE_MAX_BATCH) {
        return -EBADMSG;
    }
    f.left = f.count;
    f.entries = *r;
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

void queue_info_encode(struct buf *b, uint64_t request, struct str map)
{
    begin(b, QUEUE_INFO_REPLY, 2);
    writer_uint(b, request);
    buf_append_str(b, map);
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
    for (size_t at = 0; at <= s.n;) {
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

bool topic_matches(struct str filter, struct str topic)
{
    size_t f = 0, t = 0;
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
