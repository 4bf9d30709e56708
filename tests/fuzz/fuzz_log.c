// SPDX-License-Identifier: MIT
// The parsers of the event log: a byte of modes, the salt, then the bytes of a segment from a header, frames or a
// trailer on. Random bytes never pass a checksum, so two of the modes write right ones, and right chains, into
// whatever looks like a frame: what is behind the checksums is then fuzzed as well.
#include "tests/fuzz/fuzz.h"

#include <endian.h>

#include "proto/writer.h"
#include "services/queue/crc32c.h"
#include "services/queue/dead_letter.h"
#include "services/queue/format.h"
#include "services/queue/group_config.h"

enum {
    MODE_STAMP = 1,   // right checksums
    MODE_CHAIN = 2,   // and right chains
    MODE_CHAINED = 4, // the scan knows the chain of the frame before
    MODE_HEADER = 8,  // the bytes begin with a header of a segment
};

// Offsets in a header and in a frame, of FORMAT.md sections 2 and 3.
enum {
    HEADER_CRC = 60,
    FRAME_HEAD_CRC = 4,
    FRAME_BODY_CRC = 8,
    FRAME_CHAIN = 12,
    FRAME_LENGTH = 16
};

#define MAX_BYTES (1024 * 1024)

static uint32_t get32(const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return le32toh(v);
}

static void put32(uint8_t *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof v);
}

static uint32_t salted(uint32_t salt, const uint8_t *bytes, size_t n)
{
    uint8_t prefix[4];
    put32(prefix, salt);
    return crc32c(crc32c(0, prefix, sizeof prefix), bytes, n);
}

// --- Right checksums

static bool looks_like_a_frame(const uint8_t *p, size_t left)
{
    return left >= FORMAT_FRAME_BYTES && memcmp(p, "SQF1", 4) == 0 &&
           get32(p + FRAME_LENGTH) >= FORMAT_FRAME_BYTES && get32(p + FRAME_LENGTH) <= left;
}

static void stamp(uint8_t *p, uint32_t salt)
{
    put32(p + FRAME_BODY_CRC, salted(salt, p + FRAME_CHAIN, get32(p + FRAME_LENGTH) - FRAME_CHAIN));
    put32(p + FRAME_HEAD_CRC,
          salted(salt, p + FRAME_BODY_CRC, FORMAT_FRAME_BYTES - FRAME_BODY_CRC));
}

// From the end on, because a frame may be inside another.
static void stamp_all(uint8_t *data, size_t n, uint32_t salt)
{
    for (size_t at = n & ~(size_t)7; at > 0;) {
        at -= 8;
        if (looks_like_a_frame(data + at, n - at)) {
            stamp(data + at, salt);
        }
    }
}

static void chain_all(uint8_t *data, size_t n, uint32_t salt, uint32_t chain)
{
    for (size_t at = 0; at < n && looks_like_a_frame(data + at, n - at);) {
        put32(data + at + FRAME_CHAIN, chain);
        stamp(data + at, salt);
        chain = get32(data + at + FRAME_BODY_CRC);
        at += (get32(data + at + FRAME_LENGTH) + 7) & ~7u;
    }
}

// --- Records

// A dead letter that can be read is written as one that says the same.
static void check_dead_letter(struct str event)
{
    struct dead_letter d, again;
    struct buf b;
    if (dead_letter_decode(event, &d) || d.group.n > QUEUE_MAX_GROUP) {
        return;
    }
    buf_init(&b, MAX_BYTES * 2);
    dead_letter_encode(&b, &d, d.stored_ms);
    REQUIRE(buf_ok(&b) && dead_letter_decode(buf_str(&b), &again) == 0);
    REQUIRE(str_eq(d.group, again.group) && str_eq(d.error, again.error) && d.seq == again.seq);
    REQUIRE(str_eq(d.event.topic, again.event.topic) && str_eq(d.event.data, again.event.data));
    buf_fini(&b);
}

// What a group is, as the log has it: what can be read is written, and read as the same.
static void check_group(struct str map)
{
    struct group_config c, again;
    struct group_start start = { .value = 0 };
    char error[GROUP_ERROR_SIZE];
    struct buf b;
    group_config_init(&c);
    group_config_init(&again);
    if (group_config_read(map, true, &c, &start, error)) {
        return;
    }
    buf_init(&b, MAX_BYTES);
    writer_map(&b, GROUP_CONFIG_MEMBERS);
    group_config_write(&c, &b);
    REQUIRE(buf_ok(&b) && group_config_read(buf_str(&b), true, &again, &start, error) == 0);
    REQUIRE(group_config_equal(&c, &again));
    buf_fini(&b);
}

// The same of the records of groups.
static bool group_record_around(const struct record *r, struct buf *b)
{
    struct record_group group;
    struct record_settled settled;
    struct record_failed failed;
    struct record_dead dead;
    struct record_revived revived;
    uint64_t first, last;
    int status;
    switch (r->type) {
    case RECORD_GROUP:
        status = record_group_decode(r->body, &group);
        if (status == 0) {
            check_group(group.map);
            record_group(b, &group);
        }
        return status == 0;
    case RECORD_SETTLED:
        if (record_settled_decode(r->body, &settled)) {
            return false;
        }
        size_t mark = record_settled_begin(b, &settled);
        while ((status = record_settled_next(&settled, &first, &last)) == 1) {
            REQUIRE(first <= last);
            record_settled_range(b, first, last);
        }
        record_settled_end(b, mark);
        return status == 0;
    case RECORD_FAILED:
        status = record_failed_decode(r->body, &failed);
        if (status == 0) {
            record_failed(b, &failed);
        }
        return status == 0;
    case RECORD_DEAD:
        status = record_dead_decode(r->body, &dead);
        if (status == 0) {
            record_dead(b, &dead);
        }
        return status == 0;
    case RECORD_REVIVED:
        status = record_revived_decode(r->body, &revived);
        if (status == 0) {
            record_revived(b, &revived);
        }
        return status == 0;
    default:
        return false;
    }
}

// Decodes a record and encodes what it said; false when its body is not right. INDEX and TOTAL have bytes that mean
// nothing, so what comes out may differ, but not when it goes around again.
static bool record_around(const struct record *r, struct buf *b)
{
    struct record_producer producer;
    struct record_total total;
    struct record_index block;
    struct record_topic topic;
    struct record_lost lost;
    struct record_removed gone;
    switch (r->type) {
    case RECORD_EVENT:
        check_dead_letter(r->body);
        record_event(b, r->body);
        return true;
    case RECORD_PRODUCER:
        if (record_producer_decode(r->body, &producer)) {
            return false;
        }
        record_producer(b, &producer);
        return true;
    case RECORD_TOTAL:
        if (record_total_decode(r->body, &total)) {
            return false;
        }
        record_total(b, &total);
        return true;
    case RECORD_INDEX:
        if (r->body.n % FORMAT_INDEX_BYTES) {
            REQUIRE(record_index_decode(r->body, 0, &block) < 0);
            return false;
        }
        record_index_begin(b, r->body.n / FORMAT_INDEX_BYTES);
        for (size_t i = 0; i < r->body.n / FORMAT_INDEX_BYTES; i++) {
            REQUIRE(record_index_decode(r->body, i, &block) == 0);
            record_index_block(b, &block);
        }
        return true;
    case RECORD_TOPIC:
        if (record_topic_decode(r->body, FORMAT_VERSION, &topic)) {
            return false;
        }
        record_topic(b, FORMAT_VERSION, &topic);
        return true;
    case RECORD_LOST:
        if (record_lost_decode(r->body, &lost)) {
            return false;
        }
        REQUIRE(lost.first_seq <= lost.last_seq);
        record_lost(b, &lost);
        return true;
    case RECORD_REMOVED:
        if (record_removed_decode(r->body, &gone)) {
            return false;
        }
        record_removed(b, &gone);
        return true;
    default:
        return group_record_around(r, b); // false: of a later version
    }
}

static void check_record(const struct record *r)
{
    struct buf once, twice;
    struct record again;
    buf_init(&once, MAX_BYTES);
    buf_init(&twice, MAX_BYTES);
    if (record_around(r, &once)) {
        struct str rest = buf_str(&once);
        REQUIRE(buf_ok(&once));
        REQUIRE(record_next(&rest, &again) == 1 && rest.n == 0);
        REQUIRE(again.type == r->type && again.body.n == r->body.n);
        REQUIRE(record_around(&again, &twice));
        REQUIRE(str_eq(buf_str(&once), buf_str(&twice)));
    }
    buf_fini(&once);
    buf_fini(&twice);
}

// --- Frames

// The same payload in a new frame is the same frame, but for bytes that mean nothing.
static void check_frame(const struct frame *f, uint32_t salt)
{
    struct buf b;
    struct frame g;
    buf_init(&b, MAX_BYTES);
    frame_begin(&b);
    buf_append_str(&b, f->payload);
    frame_end(&b, f->kind, f->first_seq, f->count, f->stored_ms);
    REQUIRE(buf_ok(&b) && b.len == f->bytes);
    uint32_t crc = frame_stamp(&b, salt, f->chain);
    REQUIRE(frame_decode((const uint8_t *)b.data, b.len, salt, &g) == 0);
    REQUIRE(g.kind == f->kind && g.first_seq == f->first_seq && g.count == f->count);
    REQUIRE(g.stored_ms == f->stored_ms && g.chain == f->chain && g.crc == crc);
    REQUIRE(str_eq(g.payload, f->payload));
    buf_fini(&b);
    uint32_t events = 0;
    struct str payload = f->payload;
    struct record r;
    while (record_next(&payload, &r) == 1) {
        REQUIRE(r.body.p >= f->payload.p && r.body.p + r.body.n <= f->payload.p + f->payload.n);
        events += r.type == RECORD_EVENT;
        check_record(&r);
    }
    REQUIRE(payload.n == 0 && events == f->count);
}

static void check_scan(struct scan s)
{
    struct frame f;
    struct damage d;
    enum scan_result found;
    size_t at = s.at;
    uint64_t next_seq = s.next_seq;
    bool damaged = false;
    while ((found = scan_next(&s, &f, &d)) != SCAN_END) {
        REQUIRE(s.at > at && s.at <= s.n && s.at % 8 == 0);
        if (found == SCAN_FRAME) {
            REQUIRE(f.bytes == s.at - at);
            REQUIRE(f.payload.p == (const char *)s.data + at + FORMAT_FRAME_BYTES);
            REQUIRE(f.payload.n <= f.bytes - FORMAT_FRAME_BYTES);
            REQUIRE(f.first_seq >= next_seq && s.next_seq >= f.first_seq);
            REQUIRE(s.next_seq - f.first_seq == f.count);
            next_seq = s.next_seq;
            damaged = false;
            check_frame(&f, s.salt);
        } else {
            REQUIRE(!damaged); // behind damage stands a frame
            REQUIRE(d.offset == at && d.bytes == s.at - at && d.first_seq == next_seq);
            REQUIRE(d.last_seq >= d.first_seq || d.last_seq == d.first_seq - 1);
            damaged = true;
        }
        at = s.at;
    }
    REQUIRE(!damaged && s.at == at);
    (void)scan_rest_is_zero(&s); // reads to the end
}

// --- Headers and trailers

static void check_header(const uint8_t *data)
{
    struct segment_header h;
    uint32_t crc;
    uint8_t again[FORMAT_HEADER_BYTES];
    if (segment_header_decode(data, &h, &crc) == 0 && h.version == FORMAT_VERSION) {
        REQUIRE(segment_header_encode(&h, again) == crc);
        REQUIRE(memcmp(again, data, sizeof again) == 0);
    }
}

static void check_trailer(uint8_t *data, uint32_t salt, bool right)
{
    uint64_t offset;
    uint8_t again[FORMAT_TRAILER_BYTES];
    if (right) {
        put32(data + 12, salted(salt, data, 12));
    }
    if (trailer_decode(data, salt, &offset) == 0) {
        trailer_encode(offset, salt, again);
        REQUIRE(memcmp(again, data, sizeof again) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = { (const char *)data, size };
    uint8_t mode = take_byte(&rest), salt_bytes[4];
    for (int i = 0; i < 4; i++) {
        salt_bytes[i] = take_byte(&rest);
    }
    uint32_t salt = get32(salt_bytes), chain = salt + 1;
    if (rest.n > MAX_BYTES / 2) {
        return 0;
    }
    struct str copy = exact(rest);
    uint8_t *p = (uint8_t *)copy.p;
    size_t n = copy.n;
    if (mode & MODE_HEADER && n >= FORMAT_HEADER_BYTES) {
        if (mode & MODE_STAMP) {
            put32(p + HEADER_CRC, crc32c(0, p, HEADER_CRC));
        }
        check_header(p);
        p += FORMAT_HEADER_BYTES;
        n -= FORMAT_HEADER_BYTES;
    }
    if (mode & MODE_STAMP) {
        stamp_all(p, n, salt);
    }
    if (mode & MODE_CHAIN) {
        chain_all(p, n, salt, chain);
    }
    check_scan((struct scan){ .data = p,
                              .n = n,
                              .salt = salt,
                              .chain = chain,
                              .chained = (mode & MODE_CHAINED) != 0,
                              .next_seq = 1 });
    if (n >= FORMAT_TRAILER_BYTES) {
        check_trailer(p + n - FORMAT_TRAILER_BYTES, salt, mode & MODE_STAMP);
    }
    drop(copy);
    return 0;
}
