// SPDX-License-Identifier: MIT
// Encoding is byte by byte in little-endian order, never by the layout of a struct. Decoding trusts nothing: each
// length is compared with what is there before it is used, also behind a checksum that was right.
#include "services/queue/format.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>

#include "services/queue/crc32c.h"

#define SEGMENT_MAGIC "SLUICEQ1"
#define FRAME_MAGIC 0x31465153u   // "SQF1"
#define TRAILER_MAGIC 0x4C414553u // "SEAL"

static void put32(void *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof v);
}

static void put64(void *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof v);
}

static uint32_t get32(const void *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return le32toh(v);
}

static uint64_t get64(const void *from)
{
    uint64_t v;
    memcpy(&v, from, sizeof v);
    return le64toh(v);
}

static uint32_t salted_crc(uint32_t salt, const void *bytes, size_t n)
{
    uint8_t prefix[4];
    put32(prefix, salt);
    return crc32c(crc32c(0, prefix, sizeof prefix), bytes, n);
}

// --- Segment header

enum {
    HEADER_VERSION = 8,
    HEADER_FRAMES = 12,
    HEADER_UUID = 16,
    HEADER_FIRST_SEQ = 32,
    HEADER_MADE_MS = 40,
    HEADER_CHAIN = 48,
    HEADER_SALT = 52,
    HEADER_ZERO = 56,
    HEADER_CRC = 60
};

uint32_t segment_header_encode(const struct segment_header *h, uint8_t out[FORMAT_HEADER_BYTES])
{
    memcpy(out, SEGMENT_MAGIC, 8);
    put32(out + HEADER_VERSION, FORMAT_VERSION);
    put32(out + HEADER_FRAMES, FORMAT_FRAMES);
    memcpy(out + HEADER_UUID, h->uuid, sizeof h->uuid);
    put64(out + HEADER_FIRST_SEQ, h->first_seq);
    put64(out + HEADER_MADE_MS, (uint64_t)h->made_ms);
    put32(out + HEADER_CHAIN, h->chain);
    put32(out + HEADER_SALT, h->salt);
    put32(out + HEADER_ZERO, 0);
    uint32_t crc = crc32c(0, out, HEADER_CRC);
    put32(out + HEADER_CRC, crc);
    return crc;
}

int segment_header_decode(const uint8_t bytes[FORMAT_HEADER_BYTES],
                          struct segment_header *ret_header, uint32_t *ret_crc)
{
    uint32_t crc = crc32c(0, bytes, HEADER_CRC);
    if (memcmp(bytes, SEGMENT_MAGIC, 8) != 0 || get32(bytes + HEADER_CRC) != crc) {
        return -EBADMSG;
    }
    uint32_t version = get32(bytes + HEADER_VERSION);
    if (version < FORMAT_VERSION_MIN || version > FORMAT_VERSION) {
        return -EPROTONOSUPPORT;
    }
    if (get32(bytes + HEADER_FRAMES) != FORMAT_FRAMES || get32(bytes + HEADER_ZERO) != 0) {
        return -EBADMSG;
    }
    memcpy(ret_header->uuid, bytes + HEADER_UUID, sizeof ret_header->uuid);
    ret_header->first_seq = get64(bytes + HEADER_FIRST_SEQ);
    ret_header->made_ms = (int64_t)get64(bytes + HEADER_MADE_MS);
    ret_header->chain = get32(bytes + HEADER_CHAIN);
    ret_header->salt = get32(bytes + HEADER_SALT);
    ret_header->version = version;
    *ret_crc = crc;
    return 0;
}

// --- Frames

enum {
    FRAME_HEAD_CRC = 4,
    FRAME_BODY_CRC = 8,
    FRAME_CHAIN = 12,
    FRAME_LENGTH = 16,
    FRAME_PAYLOAD = 20,
    FRAME_FIRST_SEQ = 24,
    FRAME_STORED = 32,
    FRAME_COUNT = 40,
    FRAME_KIND = 44 // and three bytes 0
};

void frame_begin(struct buf *b)
{
    static const uint8_t header[FORMAT_FRAME_BYTES];
    assert(b->len == 0);
    buf_append(b, header, sizeof header);
}

size_t frame_bytes(size_t payload)
{
    return (FORMAT_FRAME_BYTES + payload + 7) & ~(size_t)7;
}

void frame_end(struct buf *b, enum frame_kind kind, uint64_t first_seq, uint32_t count,
               int64_t stored_ms)
{
    static const char padding[8];
    size_t payload = b->len - FORMAT_FRAME_BYTES, bytes = frame_bytes(payload);
    buf_append(b, padding, bytes - b->len);
    if (!buf_ok(b)) {
        return;
    }
    assert(bytes <= UINT32_MAX);
    uint8_t *p = (uint8_t *)b->data;
    put32(p, FRAME_MAGIC);
    put32(p + FRAME_LENGTH, (uint32_t)bytes);
    put32(p + FRAME_PAYLOAD, (uint32_t)payload);
    put64(p + FRAME_FIRST_SEQ, first_seq);
    put64(p + FRAME_STORED, (uint64_t)stored_ms);
    put32(p + FRAME_COUNT, count);
    put32(p + FRAME_KIND, kind);
}

uint32_t frame_stamp(struct buf *b, uint32_t salt, uint32_t chain)
{
    uint8_t *p = (uint8_t *)b->data;
    assert(buf_ok(b) && b->len == get32(p + FRAME_LENGTH));
    put32(p + FRAME_CHAIN, chain);
    uint32_t crc = salted_crc(salt, p + FRAME_CHAIN, b->len - FRAME_CHAIN);
    put32(p + FRAME_BODY_CRC, crc);
    put32(p + FRAME_HEAD_CRC,
          salted_crc(salt, p + FRAME_BODY_CRC, FORMAT_FRAME_BYTES - FRAME_BODY_CRC));
    return crc;
}

struct frame frame_view(const uint8_t *data)
{
    return (struct frame){
        .kind = (enum frame_kind)data[FRAME_KIND],
        .first_seq = get64(data + FRAME_FIRST_SEQ),
        .count = get32(data + FRAME_COUNT),
        .stored_ms = (int64_t)get64(data + FRAME_STORED),
        .chain = get32(data + FRAME_CHAIN),
        .crc = get32(data + FRAME_BODY_CRC),
        .bytes = get32(data + FRAME_LENGTH),
        .payload = { (const char *)data + FORMAT_FRAME_BYTES, get32(data + FRAME_PAYLOAD) },
    };
}

static bool head_valid(const uint8_t *data, size_t n, uint32_t salt)
{
    if (n < FORMAT_FRAME_BYTES || get32(data) != FRAME_MAGIC ||
        get32(data + FRAME_HEAD_CRC) !=
            salted_crc(salt, data + FRAME_BODY_CRC, FORMAT_FRAME_BYTES - FRAME_BODY_CRC)) {
        return false;
    }
    uint32_t kind = get32(data + FRAME_KIND);
    size_t bytes = get32(data + FRAME_LENGTH);
    return kind >= FRAME_EVENTS && kind <= FRAME_SEAL && bytes <= n &&
           bytes == frame_bytes(get32(data + FRAME_PAYLOAD));
}

static bool records_valid(const struct frame *f)
{
    struct str payload = f->payload;
    struct record r;
    uint32_t events = 0;
    int status;
    while ((status = record_next(&payload, &r)) == 1) {
        events += r.type == RECORD_EVENT;
    }
    return status == 0 && events == f->count && f->first_seq <= UINT64_MAX - f->count;
}

int frame_decode(const uint8_t *data, size_t n, uint32_t salt, struct frame *ret_frame)
{
    if (!head_valid(data, n, salt)) {
        return -EBADMSG;
    }
    struct frame f = frame_view(data);
    if (f.crc != salted_crc(salt, data + FRAME_CHAIN, f.bytes - FRAME_CHAIN) ||
        !records_valid(&f)) {
        return -EBADMSG;
    }
    *ret_frame = f;
    return 0;
}

// --- Records

static bool is_record_type(uint32_t type)
{
    return (type >= RECORD_EVENT && type <= RECORD_REVIVED) || type == RECORD_REMOVED;
}

int record_next(struct str *payload, struct record *ret_record)
{
    if (payload->n == 0) {
        return 0;
    }
    if (payload->n < FORMAT_RECORD_BYTES) {
        return -EBADMSG;
    }
    uint32_t head = get32(payload->p);
    size_t n = head & FORMAT_MAX_RECORD_BYTES;
    uint32_t type = head >> 24;
    if (n > payload->n - FORMAT_RECORD_BYTES || !is_record_type(type)) {
        return -EBADMSG;
    }
    ret_record->type = (enum record_type)type;
    ret_record->body = (struct str){ payload->p + FORMAT_RECORD_BYTES, n };
    payload->p += FORMAT_RECORD_BYTES + n;
    payload->n -= FORMAT_RECORD_BYTES + n;
    return 1;
}

// Makes room for a record and writes its header; NULL when the buf failed. The caller fills n bytes.
static uint8_t *record_open(struct buf *b, enum record_type type, size_t n)
{
    assert(n <= FORMAT_MAX_RECORD_BYTES);
    char *p = buf_reserve(b, FORMAT_RECORD_BYTES + n);
    if (!p) {
        return NULL;
    }
    put32(p, (uint32_t)n | (uint32_t)type << 24);
    b->len += FORMAT_RECORD_BYTES + n;
    return (uint8_t *)p + FORMAT_RECORD_BYTES;
}

void record_event(struct buf *b, struct str event)
{
    uint8_t *p = record_open(b, RECORD_EVENT, event.n);
    if (p && event.n) {
        memcpy(p, event.p, event.n);
    }
}

void record_producer(struct buf *b, const struct record_producer *r)
{
    uint8_t *p = record_open(b, RECORD_PRODUCER, FORMAT_PRODUCER_BYTES + r->name.n);
    if (p) {
        put64(p, r->producer_seq);
        put64(p + 8, (uint64_t)r->last_ms);
        memcpy(p + FORMAT_PRODUCER_BYTES, r->name.p, r->name.n);
    }
}

int record_producer_decode(struct str body, struct record_producer *ret)
{
    if (body.n <= FORMAT_PRODUCER_BYTES) {
        return -EBADMSG;
    }
    ret->producer_seq = get64(body.p);
    ret->last_ms = (int64_t)get64(body.p + 8);
    ret->name = (struct str){ body.p + FORMAT_PRODUCER_BYTES, body.n - FORMAT_PRODUCER_BYTES };
    return 0;
}

void record_total(struct buf *b, const struct record_total *r)
{
    uint8_t *p = record_open(b, RECORD_TOTAL, FORMAT_TOTAL_BYTES);
    if (p) {
        put64(p, r->first_seq);
        put64(p + 8, r->next_seq);
        put64(p + 16, r->events);
        put64(p + 24, (uint64_t)r->first_ms);
        put64(p + 32, (uint64_t)r->last_ms);
        put32(p + 40, r->end);
        put32(p + 44, 0);
    }
}

int record_total_decode(struct str body, struct record_total *ret)
{
    if (body.n != FORMAT_TOTAL_BYTES) {
        return -EBADMSG;
    }
    ret->first_seq = get64(body.p);
    ret->next_seq = get64(body.p + 8);
    ret->events = get64(body.p + 16);
    ret->first_ms = (int64_t)get64(body.p + 24);
    ret->last_ms = (int64_t)get64(body.p + 32);
    ret->end = get32(body.p + 40);
    return 0;
}

void record_index_begin(struct buf *b, size_t n_blocks)
{
    uint8_t *p = record_open(b, RECORD_INDEX, n_blocks * FORMAT_INDEX_BYTES);
    if (p) {
        b->len -= n_blocks * FORMAT_INDEX_BYTES; // they come by record_index_block()
    }
}

void record_index_block(struct buf *b, const struct record_index *r)
{
    uint8_t p[FORMAT_INDEX_BYTES];
    put32(p, r->offset);
    put32(p + 4, 0);
    put64(p + 8, r->first_seq);
    put64(p + 16, (uint64_t)r->first_ms);
    put64(p + 24, r->topics);
    buf_append(b, p, sizeof p);
}

int record_index_decode(struct str body, size_t i, struct record_index *ret)
{
    if (body.n % FORMAT_INDEX_BYTES != 0 || i >= body.n / FORMAT_INDEX_BYTES) {
        return -EBADMSG;
    }
    const char *p = body.p + i * FORMAT_INDEX_BYTES;
    ret->offset = get32(p);
    ret->first_seq = get64(p + 8);
    ret->first_ms = (int64_t)get64(p + 16);
    ret->topics = get64(p + 24);
    return 0;
}

static size_t topic_bytes(uint32_t version)
{
    return version == 1 ? FORMAT_TOPIC_BYTES_1 : FORMAT_TOPIC_BYTES;
}

void record_topic(struct buf *b, uint32_t version, const struct record_topic *r)
{
    size_t fields = topic_bytes(version);
    uint8_t *p = record_open(b, RECORD_TOPIC, fields + r->topic.n);
    if (p) {
        put64(p, r->events);
        put64(p + 8, r->last_seq);
        put64(p + 16, (uint64_t)r->last_ms);
        if (version > 1) {
            put64(p + 24, r->bytes);
        }
        memcpy(p + fields, r->topic.p, r->topic.n);
    }
}

int record_topic_decode(struct str body, uint32_t version, struct record_topic *ret)
{
    size_t fields = topic_bytes(version);
    if (body.n <= fields) {
        return -EBADMSG;
    }
    ret->events = get64(body.p);
    ret->last_seq = get64(body.p + 8);
    ret->last_ms = (int64_t)get64(body.p + 16);
    ret->bytes = version == 1 ? ret->events : get64(body.p + 24);
    ret->topic = (struct str){ body.p + fields, body.n - fields };
    return 0;
}

// LOST and REMOVED: a range of sequences.
static void put_range(struct buf *b, enum record_type type, uint64_t first_seq, uint64_t last_seq)
{
    uint8_t *p = record_open(b, type, FORMAT_LOST_BYTES);
    if (p) {
        put64(p, first_seq);
        put64(p + 8, last_seq);
    }
}

void record_lost(struct buf *b, const struct record_lost *r)
{
    put_range(b, RECORD_LOST, r->first_seq, r->last_seq);
}

int record_lost_decode(struct str body, struct record_lost *ret)
{
    if (body.n != FORMAT_LOST_BYTES) {
        return -EBADMSG;
    }
    ret->first_seq = get64(body.p);
    ret->last_seq = get64(body.p + 8);
    return ret->first_seq <= ret->last_seq ? 0 : -EBADMSG;
}

// --- Records of groups

#define SETTLED_RESET 1u
#define FAILED_ADDED 1u
#define FAILED_TERMINATED 2u

void record_group(struct buf *b, const struct record_group *r)
{
    uint8_t *p = record_open(b, RECORD_GROUP, 4 + r->map.n);
    if (p) {
        put32(p, r->number);
        memcpy(p + 4, r->map.p, r->map.n);
    }
}

void record_group_end(struct buf *b, uint32_t number)
{
    uint8_t *p = record_open(b, RECORD_GROUP_END, 4);
    if (p) {
        put32(p, number);
    }
}

int record_group_decode(struct str body, struct record_group *ret)
{
    if (body.n < 4) {
        return -EBADMSG;
    }
    ret->number = get32(body.p);
    ret->map = (struct str){ body.p + 4, body.n - 4 };
    return 0;
}

size_t record_settled_begin(struct buf *b, const struct record_settled *r)
{
    size_t mark = b->len;
    uint8_t *p = record_open(b, RECORD_SETTLED, FORMAT_SETTLED_BYTES);
    if (p) {
        put32(p, r->number);
        put32(p + 4, r->reset ? SETTLED_RESET : 0);
        put64(p + 8, r->floor);
    }
    return mark;
}

void record_settled_range(struct buf *b, uint64_t first_seq, uint64_t last_seq)
{
    uint8_t p[FORMAT_RANGE_BYTES];
    put64(p, first_seq);
    put64(p + 8, last_seq);
    buf_append(b, p, sizeof p);
}

void record_settled_end(struct buf *b, size_t mark)
{
    if (buf_ok(b)) {
        size_t n = b->len - mark - FORMAT_RECORD_BYTES;
        assert(n <= FORMAT_MAX_RECORD_BYTES); // PENDING_MAX ranges are 1 MiB
        put32(b->data + mark, (uint32_t)n | (uint32_t)RECORD_SETTLED << 24);
    }
}

int record_settled_decode(struct str body, struct record_settled *ret)
{
    if (body.n < FORMAT_SETTLED_BYTES || (body.n - FORMAT_SETTLED_BYTES) % FORMAT_RANGE_BYTES) {
        return -EBADMSG;
    }
    ret->number = get32(body.p);
    ret->reset = get32(body.p + 4) & SETTLED_RESET;
    ret->floor = get64(body.p + 8);
    ret->ranges = (struct str){ body.p + FORMAT_SETTLED_BYTES, body.n - FORMAT_SETTLED_BYTES };
    return 0;
}

int record_settled_next(struct record_settled *r, uint64_t *ret_first_seq, uint64_t *ret_last_seq)
{
    if (r->ranges.n == 0) {
        return 0;
    }
    uint64_t first = get64(r->ranges.p), last = get64(r->ranges.p + 8);
    if (first > last || last == UINT64_MAX) {
        return -EBADMSG;
    }
    r->ranges.p += FORMAT_RANGE_BYTES;
    r->ranges.n -= FORMAT_RANGE_BYTES;
    *ret_first_seq = first;
    *ret_last_seq = last;
    return 1;
}

void record_failed(struct buf *b, const struct record_failed *r)
{
    uint8_t *p = record_open(b, RECORD_FAILED, FORMAT_FAILED_BYTES + r->error.n);
    if (p) {
        put32(p, r->number);
        put32(p + 4, r->attempt);
        put32(p + 8, r->failures);
        put32(p + 12, (r->added ? FAILED_ADDED : 0) | (r->terminated ? FAILED_TERMINATED : 0));
        put64(p + 16, r->seq);
        put64(p + 24, r->key);
        put64(p + 32, (uint64_t)r->due_ms);
        if (r->error.n) {
            memcpy(p + FORMAT_FAILED_BYTES, r->error.p, r->error.n);
        }
    }
}

int record_failed_decode(struct str body, struct record_failed *ret)
{
    if (body.n < FORMAT_FAILED_BYTES) {
        return -EBADMSG;
    }
    ret->number = get32(body.p);
    ret->attempt = get32(body.p + 4);
    ret->failures = get32(body.p + 8);
    ret->added = get32(body.p + 12) & FAILED_ADDED;
    ret->terminated = get32(body.p + 12) & FAILED_TERMINATED;
    ret->seq = get64(body.p + 16);
    ret->key = get64(body.p + 24);
    ret->due_ms = (int64_t)get64(body.p + 32);
    ret->error = (struct str){ body.p + FORMAT_FAILED_BYTES, body.n - FORMAT_FAILED_BYTES };
    return 0;
}

void record_dead(struct buf *b, const struct record_dead *r)
{
    uint8_t *p = record_open(b, RECORD_DEAD, FORMAT_DEAD_BYTES);
    if (p) {
        put32(p, r->number);
        put32(p + 4, r->attempts);
        put64(p + 8, r->seq);
        put64(p + 16, r->origin_seq);
        put64(p + 24, r->dead);
        put64(p + 32, (uint64_t)r->died_ms);
    }
}

int record_dead_decode(struct str body, struct record_dead *ret)
{
    if (body.n != FORMAT_DEAD_BYTES) {
        return -EBADMSG;
    }
    ret->number = get32(body.p);
    ret->attempts = get32(body.p + 4);
    ret->seq = get64(body.p + 8);
    ret->origin_seq = get64(body.p + 16);
    ret->dead = get64(body.p + 24);
    ret->died_ms = (int64_t)get64(body.p + 32);
    return 0;
}

void record_revived(struct buf *b, const struct record_revived *r)
{
    uint8_t *p = record_open(b, RECORD_REVIVED, FORMAT_REVIVED_BYTES);
    if (p) {
        put32(p, r->number);
        put32(p + 4, 0);
        put64(p + 8, r->dead_seq);
    }
}

int record_revived_decode(struct str body, struct record_revived *ret)
{
    if (body.n != FORMAT_REVIVED_BYTES) {
        return -EBADMSG;
    }
    ret->number = get32(body.p);
    ret->dead_seq = get64(body.p + 8);
    return 0;
}

void record_removed(struct buf *b, const struct record_removed *r)
{
    static_assert(FORMAT_REMOVED_BYTES == FORMAT_LOST_BYTES, "both are two sequences");
    put_range(b, RECORD_REMOVED, r->first_seq, r->last_seq);
}

int record_removed_decode(struct str body, struct record_removed *ret)
{
    struct record_lost range;
    int status = record_lost_decode(body, &range);
    if (status == 0) {
        *ret = (struct record_removed){ range.first_seq, range.last_seq };
    }
    return status;
}

void trailer_encode(uint64_t seal_offset, uint32_t salt, uint8_t out[FORMAT_TRAILER_BYTES])
{
    put64(out, seal_offset);
    put32(out + 8, TRAILER_MAGIC);
    put32(out + 12, salted_crc(salt, out, 12));
}

int trailer_decode(const uint8_t bytes[FORMAT_TRAILER_BYTES], uint32_t salt,
                   uint64_t *ret_seal_offset)
{
    if (get32(bytes + 8) != TRAILER_MAGIC || get32(bytes + 12) != salted_crc(salt, bytes, 12)) {
        return -EBADMSG;
    }
    *ret_seal_offset = get64(bytes);
    return 0;
}

uint64_t topic_bit(struct str topic)
{
    return UINT64_C(1) << (crc32c(0, topic.p, topic.n) % 64);
}

// --- Reading bytes that may be damaged

static int decode_at(const struct scan *s, size_t at, bool chained, struct frame *ret_frame)
{
    struct frame f;
    if (frame_decode(s->data + at, s->n - at, s->salt, &f)) {
        return -EBADMSG;
    }
    bool follows =
        chained ? f.chain == s->chain && f.first_seq == s->next_seq : f.first_seq >= s->next_seq;
    if (!follows) {
        return -EBADMSG;
    }
    *ret_frame = f;
    return 0;
}

enum scan_result scan_next(struct scan *s, struct frame *ret_frame, struct damage *ret_damage)
{
    assert(s->at % 8 == 0 && s->at <= s->n);
    if (decode_at(s, s->at, s->chained, ret_frame) == 0) {
        s->at += ret_frame->bytes;
        s->chain = ret_frame->crc;
        s->chained = true;
        s->next_seq = ret_frame->first_seq + ret_frame->count;
        return SCAN_FRAME;
    }
    for (size_t at = s->at + 8; at + FORMAT_FRAME_BYTES <= s->n; at += 8) {
        struct frame f;
        if (get32(s->data + at) == FRAME_MAGIC && decode_at(s, at, false, &f) == 0) {
            *ret_damage = (struct damage){ s->at, at - s->at, s->next_seq, f.first_seq - 1 };
            s->at = at;
            s->chained = false;
            return SCAN_DAMAGE;
        }
    }
    return SCAN_END;
}

bool scan_rest_is_zero(const struct scan *s)
{
    const uint8_t *p = s->data + s->at;
    size_t n = s->n - s->at;
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0); // each byte equals the one before
}
