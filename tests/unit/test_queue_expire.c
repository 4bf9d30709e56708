// SPDX-License-Identifier: MIT
// Retention on a real log: what goes, what stays, in which order, what is said of it; that what was removed out of
// the middle never passes for damage, wherever the process died; and that damage beside it is still found.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/block.h"
#include "services/queue/crc32c.h"
#include "services/queue/journal.h"
#include "tests/unit/temp_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES 65536
#define BLOCK_BYTES 512
#define NOW INT64_C(4102444800000) // ahead of the clock, which journal_open() looks at
#define HOUR INT64_C(3600000)

static struct journal *j;
static char error[JOURNAL_ERROR_SIZE];
static int damages; // told while opening
static struct retention retention;
static struct removal removal;
static uint64_t hold;

static void on_note(enum journal_note note, const char *text, void *data)
{
    (void)text, (void)data;
    damages += note == JOURNAL_DAMAGE;
}

static void open_journal(void)
{
    const struct journal_options options = {
        .dir = ".", .segment_bytes = SEGMENT_BYTES, .block_bytes = BLOCK_BYTES, .on_note = on_note
    };
    damages = 0;
    if (journal_open(&options, &j, error)) {
        fail_msg("journal_open: %s", error);
    }
}

static void reopen(void)
{
    journal_close(&j);
    open_journal();
}

static void set_rules(int64_t age_ms, uint64_t count, uint64_t bytes, const char *text)
{
    const struct retention_limits general = { age_ms, count, bytes };
    char why[RETENTION_ERROR_SIZE];
    retention_fini(&retention);
    assert_int_equal(retention_init(&retention, &general, text, why), 0);
    hold = UINT64_MAX;
}

static int write_frame(struct buf *frame, uint32_t count, int64_t now_ms)
{
    struct append a;
    enum frame_kind kind = count ? FRAME_EVENTS : FRAME_CHECKPOINT;
    int status = journal_append_prepare(j, &a, frame, kind, count, now_ms);
    return status ? status : journal_append_finish(j, &a, journal_append_write(&a));
}

static void append(const char *topic, uint32_t count, int64_t now_ms)
{
    struct buf frame;
    buf_init(&frame, 1000000);
    frame_begin(&frame);
    for (uint32_t i = 0; i < count; i++) {
        struct event e = { .id = STR("id"),
                           .topic = str_of(topic),
                           .key = STR("k"),
                           .subject = STR(""),
                           .source = STR("/test"),
                           .traceparent = STR("") };
        struct buf event;
        buf_init(&event, QUEUE_MAX_EVENT_BYTES);
        event_encode(&event, &e);
        record_event(&frame, buf_str(&event));
        buf_fini(&event);
    }
    assert_int_equal(write_frame(&frame, count, now_ms), 0);
    buf_fini(&frame);
}

static void roll(void)
{
    j->roll = true;
    struct append a;
    assert_int_equal(journal_append_prepare(j, &a, NULL, FRAME_EVENTS, 0, j->last_ms), 0);
    assert_int_equal(journal_append_finish(j, &a, journal_append_write(&a)), 0);
}

// A segment with some of each; the number says how many hours ago.
static void segment(uint32_t users, uint32_t orders, int64_t hours)
{
    if (users) {
        append("users.created", users, NOW - hours * HOUR);
    }
    if (orders) {
        append("orders.placed", orders, NOW - hours * HOUR);
    }
    roll();
}

static void look(void)
{
    journal_expire(j, &retention, NOW, hold, &removal);
    j->roll = false; // segments are made by hand here
}

static void look_and_remove(void)
{
    look();
    assert_int_equal(journal_remove(&removal), 0);
}

// Says in the log what it owes, by a frame of its own.
static void store_owed(void)
{
    struct buf frame;
    buf_init(&frame, 100000);
    frame_begin(&frame);
    assert_int_equal(write_frame(&frame, 0, NOW), 0);
    buf_fini(&frame);
}

static bool exists(uint64_t first_seq)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(first_seq, name);
    return access(name, F_OK) == 0;
}

static uint64_t n_of(const char *topic)
{
    const struct topic *t = catalog_topic(&j->catalog, str_of(topic));
    return t ? t->events : 0;
}

// Reads everything that is served; sequences are told by one character: u, o, x (lost), - (removed or expired).
static const char *served(void)
{
    static char text[256];
    memset(text, 0, sizeof text);
    memset(text, '-', j->next_seq - 1);
    for (uint64_t seq = 1; seq < j->next_seq;) {
        struct block_ref ref;
        seq = journal_skip(j, seq);
        if (!journal_find(j, seq, &ref)) {
            assert_int_equal(seq, j->next_seq);
            break;
        }
        assert_false(ref.removed);
        assert_true(seq >= ref.first_seq && seq < ref.next_seq);
        if (ref.lost) {
            memset(text + seq - 1, 'x', ref.next_seq - seq);
            seq = ref.next_seq;
            continue;
        }
        struct block_read r = { .io = j->options.io, .dir_fd = j->dir_fd, .ref = ref };
        struct queue_event_entry e;
        struct str topic, key;
        block_read(&r);
        assert_int_equal(r.status, 0);
        struct block_cursor c = block_cursor_at(r.block, seq);
        bool expires = journal_has_expired(j, seq);
        while (block_cursor_next(&c, &e)) {
            assert_int_equal(event_decode_route(e.event, &topic, &key), 0);
            if (!(expires && journal_is_expired(j, e.seq, e.event))) {
                text[e.seq - 1] = topic.p[0];
                assert_true(ref.topics & topic_bit(topic));
            }
        }
        block_destroy(&r.block);
        seq = ref.next_seq;
    }
    return text;
}

static void assert_served(const char *expected)
{
    uint64_t n = 0;
    assert_string_equal(served(), expected);
    for (const char *p = expected; *p; p++) {
        n += *p == 'u' || *p == 'o';
    }
    assert_int_equal(journal_events(j), n);
    assert_int_equal(n_of("users.created") + n_of("orders.placed"), n);
}

static void close_journal(void)
{
    journal_close(&j);
    retention_fini(&retention);
}

static void test_a_topic_expires_alone(void **state)
{
    (void)state;
    set_rules(0, 0, 0, "users.>:age=24h");
    open_journal();
    segment(2, 2, 50);
    segment(0, 3, 40);
    segment(3, 1, 30);
    segment(1, 1, 20);
    append("users.created", 1, NOW);
    look_and_remove();
    assert_int_equal(removal.n, 0); // each has orders
    assert_int_equal(removal.n_events[EXPIRED_BY_AGE], 5);
    assert_served("--ooooo---ouou");
    struct block_ref ref; // a reader of that topic need not read it
    assert_true(journal_find(j, 1, &ref));
    assert_false(ref.topics & topic_bit(STR("users.created")));
    look_and_remove();
    assert_int_equal(removal.n_events[EXPIRED_BY_AGE], 0); // counted once
    reopen();
    assert_served("uuooooouuuouou"); // nobody has looked yet
    look_and_remove();
    assert_served("--ooooo---ouou");
    assert_int_equal(damages, 0);
    append("users.created", 2, NOW);
    assert_served("--ooooo---ououuu");
    close_journal();
}

static void test_a_topic_that_comes_back(void **state)
{
    (void)state;
    set_rules(0, 0, 0, "users.>:age=24h");
    open_journal();
    segment(2, 2, 50);
    look_and_remove();
    assert_null(catalog_topic(&j->catalog, STR("users.created")));
    append("users.created", 1, NOW); // is a new entry: what is expired stays so
    assert_served("--oou");
    close_journal();
}

static void test_removed_out_of_the_middle(void **state)
{
    (void)state;
    set_rules(0, 0, 0, "users.>:age=24h");
    open_journal();
    segment(0, 2, 50); // 1 to 2
    segment(3, 0, 49); // 3 to 5
    segment(2, 0, 48); // 6 to 7
    segment(0, 2, 47); // 8 to 9
    segment(2, 0, 46); // 10 to 11
    segment(0, 1, 45); // 12
    append("users.created", 1, NOW);
    look_and_remove();
    assert_int_equal(removal.n, 0); // the log has to say so first
    assert_int_equal(removal.n_segments[EXPIRED_BY_AGE], 3);
    assert_true(exists(3) && exists(6) && exists(10));
    assert_true(journal_owes_removed(j));
    assert_served("oo-----oo--ou");
    assert_int_equal(j->holes.n, 2);
    look_and_remove();
    assert_int_equal(removal.n, 0);
    store_owed();
    assert_false(journal_owes_removed(j));
    look_and_remove();
    assert_int_equal(removal.n, 3);
    assert_false(exists(3) || exists(6) || exists(10));
    for (int round = 0; round < 3; round++) {
        assert_served("oo-----oo--ou");
        reopen();
        assert_int_equal(damages, 0);
        assert_int_equal(j->n_lost, 0);
        assert_int_equal(j->holes.n, 2);
        if (round == 1) {
            roll(); // the next checkpoint says it again
        }
    }
    close_journal();
}

// The process dies with any of the files gone: before, between and after.
static void test_stopped_while_removing(void **state)
{
    (void)state;
    for (unsigned gone = 0; gone < 8; gone++) {
        static const uint64_t firsts[3] = { 3, 6, 10 };
        set_rules(0, 0, 0, "users.>:age=24h");
        open_journal();
        segment(0, 2, 50);
        segment(3, 0, 49);
        segment(2, 0, 48);
        segment(0, 2, 47);
        segment(2, 0, 46);
        segment(0, 1, 45);
        append("users.created", 1, NOW);
        look();
        append("orders.placed", 1, NOW); // the next frame says it, whichever that is
        assert_false(journal_owes_removed(j));
        journal_close(&j);
        for (size_t i = 0; i < 3; i++) {
            char name[SEGMENT_NAME_SIZE];
            segment_name(firsts[i], name);
            assert_true(!(gone & 1U << i) || unlink(name) == 0);
        }
        open_journal();
        assert_int_equal(damages, 0);
        look();
        assert_served("oo-----oo--ouo");
        store_owed();
        look_and_remove();
        look_and_remove();
        reopen();
        assert_int_equal(damages, 0);
        assert_false(exists(3) || exists(6) || exists(10));
        look();
        assert_served("oo-----oo--ouo");
        close_journal();
        assert_int_equal(system("rm -f ./*.seg"), 0);
    }
}

static void test_what_vanished_beside_a_hole_is_lost(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    set_rules(0, 0, 0, "users.>:age=24h");
    open_journal();
    segment(0, 2, 50); // 1 to 2
    segment(3, 0, 49); // 3 to 5
    segment(0, 2, 48); // 6 to 7
    segment(2, 0, 47); // 8 to 9
    segment(0, 1, 46); // 10
    append("users.created", 1, NOW);
    look();
    store_owed();
    look_and_remove();
    assert_int_equal(removal.n, 2);
    journal_close(&j);
    segment_name(6, name);
    assert_int_equal(unlink(name), 0);
    open_journal();
    assert_true(damages > 0);
    assert_served("oo---xx--ou");
    assert_int_equal(j->n_lost, 1);
    assert_int_equal(j->lost[0].first_seq, 6);
    assert_int_equal(j->lost[0].last_seq, 7);
    close_journal();
}

static void test_a_hole_that_was_not_told_is_damage(void **state)
{
    (void)state;
    set_rules(0, 0, 0, "users.>:age=24h");
    open_journal();
    segment(0, 2, 50);
    segment(3, 0, 49);
    segment(0, 2, 48);
    append("users.created", 1, NOW);
    look();
    journal_close(&j); // it owed
    assert_int_equal(unlink("00000000000000000003.seg"), 0);
    open_journal();
    assert_true(damages > 0);
    assert_served("ooxxxoou");
    close_journal();
}

static void test_holes_without_the_last_checkpoint(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    set_rules(0, 0, 0, "users.>:age=24h");
    open_journal();
    segment(0, 2, 50);
    segment(3, 0, 49);
    segment(0, 2, 48);
    append("users.created", 1, NOW);
    look();
    append("orders.placed", 1, NOW);
    look_and_remove();
    roll();
    append("orders.placed", 1, NOW);
    segment_name(10, name);
    journal_close(&j);
    FILE *f = fopen(name, "r+"); // its checkpoint: the segment before says it too
    assert_non_null(f);
    assert_int_equal(fseek(f, FORMAT_FRAMES + 60, SEEK_SET), 0);
    assert_int_equal(fputc(0x55, f), 0x55);
    assert_int_equal(fclose(f), 0);
    open_journal();
    look();
    assert_served("oo---oouoo");
    close_journal();
}

static void test_holes_at_the_front_are_forgotten(void **state)
{
    (void)state;
    set_rules(0, 0, 0, "users.>:age=24h");
    open_journal();
    segment(0, 2, 50);
    segment(3, 0, 49);
    segment(0, 2, 48);
    append("users.created", 1, NOW);
    look();
    store_owed();
    look_and_remove();
    assert_int_equal(j->holes.n, 1);
    set_rules(49 * HOUR, 0, 0, NULL);
    for (size_t i = 0; i < j->n_segments; i++) { // rules are looked up once: these are others
        struct topic *t;
        for (size_t at = 0; (t = catalog_next_topic(&j->catalog, &at));) {
            t->rule = 0;
        }
    }
    look_and_remove();
    assert_int_equal(removal.n, 1);
    assert_int_equal(j->holes.n, 0);
    assert_int_equal(journal_first_seq(j), 6);
    reopen();
    assert_int_equal(damages, 0);
    assert_int_equal(j->holes.n, 0);
    assert_served("-----oou");
    close_journal();
}

static void test_by_count(void **state)
{
    (void)state;
    set_rules(0, 0, 0, "orders.>:count=4");
    open_journal();
    segment(1, 2, 50);
    segment(0, 2, 49);
    segment(0, 2, 48);
    segment(0, 2, 47);
    look_and_remove();
    assert_served("u----oooo"); // never fewer than four; what was newest stays
    assert_int_equal(removal.n_events[EXPIRED_BY_COUNT], 4);
    append("orders.placed", 1, NOW);
    look_and_remove();
    assert_served("u----ooooo"); // three newer ones are not four
    append("orders.placed", 1, NOW);
    look_and_remove();
    assert_served("u------oooo");
    close_journal();
}

static void test_by_bytes_of_a_rule(void **state)
{
    (void)state;
    struct stat st;
    open_journal();
    segment(0, 10, 50);
    segment(5, 5, 49);
    segment(0, 10, 48);
    assert_int_equal(stat("00000000000000000021.seg", &st), 0);
    uint64_t newest = (uint64_t)st.st_size, half;
    assert_int_equal(stat("00000000000000000011.seg", &st), 0);
    half = (uint64_t)st.st_size / 2;
    char text[64];
    (void)snprintf(text, sizeof text, "orders.>:bytes=%llu",
                   (unsigned long long)(newest + half + 8)); // shares are about even
    set_rules(0, 0, 0, text);
    look_and_remove();
    assert_int_equal(removal.n, 1);
    assert_int_equal(removal.n_segments[EXPIRED_BY_BYTES], 1);
    assert_served("----------uuuuuooooooooooooooo");
    (void)snprintf(text, sizeof text, "orders.>:bytes=%llu", (unsigned long long)newest);
    set_rules(0, 0, 0, text);
    look_and_remove();
    assert_int_equal(removal.n, 0);
    assert_served("----------uuuuu-----oooooooooo");
    close_journal();
}

static void test_what_is_held_stays(void **state)
{
    (void)state;
    set_rules(24 * HOUR, 0, 0, NULL);
    open_journal();
    segment(1, 1, 50); // 1 to 2
    segment(1, 1, 49); // 3 to 4
    segment(1, 1, 48); // 5 to 6
    hold = 4;
    look_and_remove();
    assert_int_equal(removal.n, 1); // all of a segment is held
    assert_int_equal(removal.held_to, 0);
    assert_served("--uouo");
    hold = 7;
    look_and_remove();
    assert_int_equal(removal.n, 2);
    close_journal();
}

static void test_bytes_end_a_hold(void **state)
{
    (void)state;
    open_journal();
    for (int i = 0; i < 6; i++) {
        segment(1, 1, 50);
    }
    set_rules(1, 1, 0, NULL);
    hold = 1;
    look_and_remove();
    assert_int_equal(removal.n, 0); // no limit of bytes: held without end
    uint64_t bytes = journal_bytes(j), one = j->segments[0]->file_bytes;
    set_rules(1, 1, bytes / 2, NULL);
    hold = 1;
    look_and_remove();
    assert_int_equal(removal.n, 0); // exactly twice is not over
    set_rules(0, 0, (bytes - one) / 2, NULL);
    hold = 1;
    look_and_remove();
    assert_int_equal(removal.n, 1);
    assert_int_equal(removal.held_to, 2);
    assert_int_equal(removal.n_events[EXPIRED_THOUGH_HELD], 2);
    assert_served("--uououououo");
    hold = UINT64_MAX;
    look_and_remove();
    assert_true(removal.n > 1);
    assert_int_equal(removal.held_to, 0);
    close_journal();
}

static void test_the_open_segment_ends_for_the_shortest_age(void **state)
{
    (void)state;
    set_rules(1000 * HOUR, 0, 0, "users.>:age=4h");
    open_journal();
    append("orders.placed", 1, NOW - 2 * HOUR);
    journal_expire(j, &retention, NOW, hold, &removal);
    assert_false(j->roll);
    append("users.created", 1, NOW - 1);
    journal_expire(j, &retention, NOW, hold, &removal);
    assert_true(j->roll);
    close_journal();
}

// Holes are limited: with too many, what is in the middle waits for a neighbour.
static void test_the_number_of_holes_is_limited(void **state)
{
    (void)state;
    set_rules(0, 0, 0, "users.>:age=24h");
    open_journal();
    segment(0, 1, 50); // 1
    segment(1, 0, 49); // 2
    segment(0, 1, 48); // 3
    segment(1, 0, 48); // 4
    append("orders.placed", 1, NOW);
    for (uint64_t i = 0; i < JOURNAL_MAX_HOLES - 1; i++) {
        assert_int_equal(holes_add(&j->holes, 1000 + 2 * i, 1000 + 2 * i), 0);
    }
    look();
    assert_int_equal(j->n_owed, 1);
    assert_int_equal(j->holes.n, JOURNAL_MAX_HOLES);
    assert_int_equal(j->n_segments, 4);
    journal_close(&j);
    retention_fini(&retention);
}

// A log of version 1: its seals do not say how many bytes a topic has.
static void restamp(const char *name, uint32_t *chain_of_segment)
{
    FILE *f = fopen(name, "r+");
    assert_non_null(f);
    static uint8_t data[SEGMENT_BYTES * 2];
    size_t n = fread(data, 1, sizeof data, f), at = FORMAT_FRAMES;
    struct segment_header h;
    uint32_t chain;
    assert_int_equal(segment_header_decode(data, &h, &chain), 0);
    memcpy(data + 8, "\1\0\0", 4);
    memcpy(data + 48, chain_of_segment, 4); // of the segment before; all on little-endian machines
    chain = crc32c(0, data, 60);
    memcpy(data + 60, &chain, 4);
    memcpy(data + FORMAT_HEADER_COPY, data, FORMAT_HEADER_BYTES);
    uint32_t salt = h.salt;
    while (at + FORMAT_FRAME_BYTES <= n && memcmp(data + at, "SQF1", 4) == 0) {
        struct frame frame = frame_view(data + at);
        struct buf b;
        buf_init(&b, SEGMENT_BYTES);
        frame_begin(&b);
        struct record r;
        struct str payload = frame.payload;
        while (record_next(&payload, &r) == 1) {
            size_t cut = r.type == RECORD_TOPIC ? 8 : 0;
            uint32_t head = (uint32_t)(r.body.n - cut) | (uint32_t)r.type << 24;
            buf_append(&b, &head, 4);
            buf_append(&b, r.body.p, cut ? FORMAT_TOPIC_BYTES_1 : r.body.n);
            if (cut) {
                buf_append(&b, r.body.p + FORMAT_TOPIC_BYTES, r.body.n - FORMAT_TOPIC_BYTES);
            }
        }
        frame_end(&b, frame.kind, frame.first_seq, frame.count, frame.stored_ms);
        chain = frame_stamp(&b, salt, chain);
        memcpy(data + at, b.data, b.len);
        if (frame.kind == FRAME_SEAL) {
            trailer_encode(at, salt, data + at + b.len);
            n = at + b.len + FORMAT_TRAILER_BYTES;
            buf_fini(&b);
            break;
        }
        at += b.len;
        buf_fini(&b);
    }
    *chain_of_segment = chain;
    rewind(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fflush(f), 0);
    assert_int_equal(ftruncate(fileno(f), (off_t)n), 0);
    assert_int_equal(fclose(f), 0);
}

static void test_a_log_of_version_1(void **state)
{
    (void)state;
    uint32_t chain = 0;
    open_journal();
    segment(2, 4, 50); // 1 to 6
    segment(3, 0, 49); // 7 to 9
    append("users.created", 1, NOW);
    journal_close(&j);
    restamp("00000000000000000001.seg", &chain);
    restamp("00000000000000000007.seg", &chain);
    restamp("00000000000000000010.seg", &chain);
    set_rules(0, 0, 0, "orders.>:age=24h");
    open_journal();
    assert_int_equal(damages, 0);
    assert_int_equal(j->segments[0]->header.version, 1);
    assert_true(j->segments[0]->sealed && j->segments[1]->sealed);
    assert_served("uuoooouuuu");
    look_and_remove();
    assert_served("uu----uuuu");
    append("users.created", 1, NOW); // goes on in a segment of version 1
    roll();
    append("orders.placed", 1, NOW);
    assert_int_equal(j->segments[j->n_segments - 1]->header.version, FORMAT_VERSION);
    reopen();
    assert_int_equal(damages, 0);
    look();
    assert_served("uu----uuuuuo");
    close_journal();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_a_topic_expires_alone),
        TEMP_DIR_CASE(test_a_topic_that_comes_back),
        TEMP_DIR_CASE(test_removed_out_of_the_middle),
        TEMP_DIR_CASE(test_stopped_while_removing),
        TEMP_DIR_CASE(test_what_vanished_beside_a_hole_is_lost),
        TEMP_DIR_CASE(test_a_hole_that_was_not_told_is_damage),
        TEMP_DIR_CASE(test_holes_without_the_last_checkpoint),
        TEMP_DIR_CASE(test_holes_at_the_front_are_forgotten),
        TEMP_DIR_CASE(test_by_count),
        TEMP_DIR_CASE(test_by_bytes_of_a_rule),
        TEMP_DIR_CASE(test_what_is_held_stays),
        TEMP_DIR_CASE(test_bytes_end_a_hold),
        TEMP_DIR_CASE(test_the_open_segment_ends_for_the_shortest_age),
        TEMP_DIR_CASE(test_the_number_of_holes_is_limited),
        TEMP_DIR_CASE(test_a_log_of_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
