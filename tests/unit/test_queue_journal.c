// SPDX-License-Identifier: MIT
// The log on real files: what was stored is read back after every restart; unfinished writes are cut and nothing
// else is; every damaged byte is noticed and located; producers' sequences outlive restarts and retention.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/block.h"
#include "services/queue/journal.h"
#include "tests/unit/temp_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES 12288 // 8192 of it are headers: a handful of frames
#define BLOCK_BYTES 512
#define NOW                                                                                        \
    INT64_C(                                                                                       \
        4102444800000) // ahead of the clock, which journal_open() looks at for its first segment
#define MAX_EVENTS 1000

static struct journal *j;
static char error[JOURNAL_ERROR_SIZE];
static int notes[3]; // told while opening, by kind

// What reading the whole log gave.
static struct {
    uint64_t seqs[MAX_EVENTS];
    int64_t stored_ms[MAX_EVENTS];
    size_t n;
    uint64_t lost[MAX_EVENTS]; // sequences that were missing
    size_t n_lost;
    size_t damages; // told by block_read()
    size_t blocks;
} seen;

static void on_note(enum journal_note note, const char *text, void *data)
{
    (void)text, (void)data;
    notes[note]++;
}

static int try_open(uint64_t segment_bytes)
{
    const struct journal_options options = {
        .dir = ".", .segment_bytes = segment_bytes, .block_bytes = BLOCK_BYTES, .on_note = on_note
    };
    memset(notes, 0, sizeof notes);
    return journal_open(&options, &j, error);
}

static void open_journal(void)
{
    int status = try_open(SEGMENT_BYTES);
    if (status) {
        fail_msg("journal_open: %d: %s", status, error);
    }
}

static void reopen(void)
{
    journal_close(&j);
    open_journal();
}

// --- Writing

// The event of this sequence, encoded.
static void encode(struct buf *b, uint64_t seq, const char *topic)
{
    char id[32];
    (void)snprintf(id, sizeof id, "id-%llu", (unsigned long long)seq);
    struct event e = { .id = str_of(id),
                       .topic = str_of(topic),
                       .key = STR("k"),
                       .subject = STR(""),
                       .source = STR("/test"),
                       .time_ms = (int64_t)seq,
                       .traceparent = STR("") };
    buf_init(b, QUEUE_MAX_EVENT_BYTES);
    event_encode(b, &e);
    assert_true(buf_ok(b));
}

static int append(const char *topic, uint32_t count, const char *producer, uint64_t producer_seq,
                  int64_t now_ms)
{
    struct buf frame;
    struct append a;
    buf_init(&frame, MAX_EVENTS * 1000);
    frame_begin(&frame);
    for (uint32_t i = 0; i < count; i++) {
        struct buf event;
        encode(&event, j->next_seq + i, topic);
        record_event(&frame, buf_str(&event));
        buf_fini(&event);
    }
    if (producer) {
        const struct record_producer r = { producer_seq, now_ms, str_of(producer) };
        record_producer(&frame, &r);
    }
    int status = journal_append_prepare(j, &a, &frame, FRAME_EVENTS, count, now_ms);
    if (status == 0) {
        status = journal_append_finish(j, &a, journal_append_write(&a));
    }
    buf_fini(&frame);
    return status;
}

// n frames of three events of topic "a.b", ten milliseconds apart.
static void append_frames(int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(append("a.b", 3, NULL, 0, NOW + (int64_t)j->next_seq * 10), 0);
    }
}

static void append_until_segments(size_t n)
{
    while (j->n_segments < n) {
        append_frames(1);
    }
}

// --- Reading

static void see_lost(uint64_t from, uint64_t to)
{
    for (; from < to; from++) {
        seen.lost[seen.n_lost++] = from;
    }
}

static void read_block(const struct block_ref *ref, uint64_t *next)
{
    struct block_read r = { .io = j->options.io, .dir_fd = j->dir_fd, .ref = *ref };
    struct queue_event_entry e;
    struct event event;
    block_read(&r);
    assert_int_equal(r.status, 0);
    seen.damages += r.n_damages;
    seen.blocks++;
    struct block_cursor c = block_cursor_at(r.block, *next);
    while (block_cursor_next(&c, &e)) {
        see_lost(*next, e.seq);
        assert_int_equal(event_decode(e.event, &event), 0);
        assert_int_equal(event.time_ms, e.seq); // the very event that had this sequence
        seen.seqs[seen.n] = e.seq;
        seen.stored_ms[seen.n++] = e.stored_ms;
        *next = e.seq + 1;
    }
    see_lost(*next, r.block->next_seq);
    *next = r.block->next_seq;
    block_destroy(&r.block);
}

static void read_all(void)
{
    memset(&seen, 0, sizeof seen);
    for (uint64_t next = journal_first_seq(j); next < j->next_seq;) {
        struct block_ref ref;
        assert_true(journal_find(j, next, &ref));
        assert_true(ref.next_seq > next);
        if (ref.lost) {
            see_lost(next, ref.next_seq);
            next = ref.next_seq;
        } else {
            read_block(&ref, &next);
        }
    }
}

static void assert_all_there(uint64_t first, uint64_t last)
{
    read_all();
    assert_int_equal(journal_first_seq(j), first);
    assert_int_equal(j->next_seq, last + 1);
    assert_int_equal(seen.n, last + 1 - first);
    assert_int_equal(seen.n_lost, 0);
    for (size_t i = 0; i < seen.n; i++) {
        assert_int_equal(seen.seqs[i], first + i);
    }
}

// --- Files

static void segment_path(size_t i, char out[SEGMENT_NAME_SIZE])
{
    segment_name(j->segments[i]->header.first_seq, out);
}

static size_t file_size(const char *name)
{
    struct stat st;
    assert_int_equal(stat(name, &st), 0);
    return (size_t)st.st_size;
}

static uint8_t *read_file(const char *name, size_t *ret_n)
{
    *ret_n = file_size(name);
    uint8_t *data = malloc(*ret_n);
    assert_non_null(data);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, data, *ret_n), *ret_n);
    assert_int_equal(close(fd), 0);
    return data;
}

static void write_file(const char *name, const uint8_t *data, size_t n)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), n);
    assert_int_equal(close(fd), 0);
}

static void flip(const char *name, size_t offset)
{
    uint8_t c;
    int fd = open(name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, (off_t)offset), 1);
    c ^= 0x04;
    assert_int_equal(pwrite(fd, &c, 1, (off_t)offset), 1);
    assert_int_equal(close(fd), 0);
}

static size_t count_files(const char *suffix)
{
    size_t n = 0;
    DIR *d = opendir(".");
    assert_non_null(d);
    struct dirent *entry;
    while ((entry = readdir(d))) {
        size_t length = strlen(entry->d_name);
        n +=
            length > strlen(suffix) && strcmp(entry->d_name + length - strlen(suffix), suffix) == 0;
    }
    assert_int_equal(closedir(d), 0);
    return n;
}

static void remove_files(const char *suffix)
{
    char command[64];
    (void)snprintf(command, sizeof command, "rm -f ./*%s", suffix);
    assert_int_equal(system(command), 0);
}

static uint64_t producer_seq(const char *name)
{
    const struct producer *p = catalog_producer(&j->catalog, str_of(name));
    return p ? p->stored_seq : 0;
}

// --- Sound logs

static void test_an_empty_log(void **state)
{
    (void)state;
    uint8_t uuid[16];
    open_journal();
    memcpy(uuid, j->uuid, sizeof uuid);
    assert_int_equal(j->next_seq, 1);
    assert_int_equal(journal_first_seq(j), 1);
    assert_int_equal(journal_events(j), 0);
    assert_int_equal(journal_first_ms(j), 0);
    struct block_ref ref;
    assert_false(journal_find(j, 0, &ref));
    assert_false(journal_find(j, 1, &ref));
    reopen();
    assert_memory_equal(uuid, j->uuid, sizeof uuid); // a log keeps its name from the first start on
    assert_all_there(1, 0);
    journal_close(&j);
}

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    open_journal();
    append_frames(10);
    assert_all_there(1, 30);
    reopen();
    assert_int_equal(notes[JOURNAL_WARNING] + notes[JOURNAL_DAMAGE], 0);
    assert_all_there(1, 30);
    append_frames(5);
    assert_all_there(1, 45);
    journal_close(&j);
}

static void test_many_segments(void **state)
{
    (void)state;
    open_journal();
    append_until_segments(6);
    append_frames(1);
    uint64_t last = j->next_seq - 1;
    assert_all_there(1, last);
    assert_true(seen.blocks > 6);
    for (int round = 0; round < 2; round++) {
        reopen();
        assert_int_equal(notes[JOURNAL_WARNING] + notes[JOURNAL_DAMAGE], 0);
        assert_int_equal(j->n_segments, 6);
        for (size_t i = 0; i < 5; i++) {
            assert_true(j->segments[i]->sealed);
        }
        assert_all_there(1, last);
        const struct topic *t = catalog_topic(&j->catalog, STR("a.b"));
        assert_non_null(t);
        assert_int_equal(t->events, last);
        assert_int_equal(t->last_seq, last);
        assert_int_equal(journal_events(j), last);
        assert_int_equal(journal_first_ms(j), NOW + 10);
    }
    for (uint64_t seq = 1; seq <= last; seq++) {
        struct block_ref ref;
        assert_true(journal_find(j, seq, &ref));
        assert_true(ref.first_seq <= seq && seq < ref.next_seq);
        assert_true(ref.topics & topic_bit(STR("a.b")));
    }
    journal_close(&j);
}

static void test_a_frame_larger_than_a_segment(void **state)
{
    (void)state;
    open_journal();
    append_frames(1);
    assert_int_equal(append("a.b", 500, NULL, 0, NOW), 0);
    append_frames(2);
    uint64_t last = j->next_seq - 1;
    reopen();
    assert_all_there(1, last);
    journal_close(&j);
    remove_files(".seg");
    open_journal(); // and as the very first one: the empty segment gives way to it
    assert_int_equal(append("a.b", 500, NULL, 0, NOW), 0);
    assert_int_equal(j->n_segments, 1);
    reopen();
    assert_all_there(1, 500);
    journal_close(&j);
}

static void test_time_never_goes_back(void **state)
{
    (void)state;
    open_journal();
    assert_int_equal(append("a.b", 1, NULL, 0, NOW), 0);
    assert_int_equal(append("a.b", 1, NULL, 0, NOW - 5000), 0);
    reopen();
    assert_int_equal(append("a.b", 1, NULL, 0, NOW - 9000), 0);
    read_all();
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(seen.stored_ms[i], NOW);
    }
    journal_close(&j);
}

static void test_finding_a_time(void **state)
{
    (void)state;
    open_journal();
    append_until_segments(4);
    append_frames(2);
    read_all();
    assert_int_equal(journal_find_time(j, 0), 1);
    assert_int_equal(journal_find_time(j, INT64_MAX), j->next_seq);
    for (size_t i = 0; i < seen.n; i++) {
        uint64_t from = journal_find_time(j, seen.stored_ms[i]);
        struct block_ref ref;
        assert_true(from <= seen.seqs[i]); // nothing is missed
        assert_true(i == 0 || seen.stored_ms[i] == seen.stored_ms[0] ||
                    journal_find(j, from, &ref));
        size_t early = seen.seqs[i] - from;
        assert_true(early < 2 * BLOCK_BYTES / 40); // and not much is read in vain
    }
    uint64_t first = j->next_seq;
    int64_t now_ms = j->last_ms + 100;
    for (int i = 0; i < 40; i++) { // several blocks of one millisecond
        assert_int_equal(append("a.b", 3, NULL, 0, now_ms), 0);
    }
    assert_true(journal_find_time(j, now_ms) <= first);
    assert_true(journal_find_time(j, now_ms + 1) > first);
    journal_close(&j);
}

static void test_topics_of_a_block_prove_absence(void **state)
{
    (void)state;
    open_journal();
    for (int i = 0; i < 60; i++) {
        assert_int_equal(append(i % 20 < 10 ? "users.created" : "orders.placed", 3, NULL, 0, NOW),
                         0);
    }
    reopen();
    size_t with = 0, without = 0;
    for (uint64_t seq = 1; seq < j->next_seq;) {
        struct block_ref ref;
        assert_true(journal_find(j, seq, &ref));
        *(ref.topics & topic_bit(STR("users.created")) ? &with : &without) += 1;
        seq = ref.next_seq;
    }
    assert_true(with > 3 && without > 3);
    journal_close(&j);
}

// --- Unfinished writes

// Leaves the first n bytes of what begins at offset, zeros behind them (or the end of the file).
static void tear(const char *name, const uint8_t *whole, size_t size, size_t offset, size_t n,
                 bool cut_file)
{
    uint8_t *data = calloc(1, size);
    assert_non_null(data);
    memcpy(data, whole, offset + n);
    write_file(name, data, cut_file ? offset + n : size);
    free(data);
}

static void test_a_torn_tail_at_every_byte(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    open_journal();
    append_frames(3);
    size_t offset = j->segments[0]->end, size;
    append_frames(1);
    size_t bytes = j->segments[0]->end - offset;
    segment_path(0, name);
    journal_close(&j);
    uint8_t *whole = read_file(name, &size);
    for (int cut_file = 0; cut_file < 2; cut_file++) {
        for (size_t n = 0; n < bytes; n++) {
            remove_files(".seg");
            remove_files(".torn");
            tear(name, whole, size, offset, n, cut_file);
            open_journal();
            bool torn = n > 0 && !(n == bytes - 1 && whole[offset + n] == 0 && !cut_file &&
                                   whole[offset] == 0);
            assert_int_equal(notes[JOURNAL_DAMAGE], 0);
            if (j->next_seq == 13) { // only zeros were missing: the frame is whole
                assert_false(cut_file);
                assert_all_there(1, 12);
            } else {
                assert_int_equal(notes[JOURNAL_WARNING], torn);
                assert_int_equal(count_files(".torn"), torn);
                assert_all_there(1, 9);
                append_frames(1);
                reopen();
                assert_int_equal(notes[JOURNAL_WARNING] + notes[JOURNAL_DAMAGE], 0);
                assert_all_there(1, 12);
            }
            journal_close(&j);
        }
    }
    free(whole);
}

static void test_a_torn_tail_is_kept_as_a_copy(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE], copy[64];
    size_t size;
    open_journal();
    append_frames(1);
    uint64_t offset = j->segments[0]->end;
    append_frames(1);
    uint64_t end = j->segments[0]->end;
    segment_path(0, name);
    journal_close(&j);
    uint8_t *before = read_file(name, &size);
    free(before);
    flip(name, offset + 60);
    before = read_file(name, &size);
    open_journal();
    (void)snprintf(copy, sizeof copy, "%020d.%010llu.torn", 1, (unsigned long long)offset);
    size_t n;
    uint8_t *torn = read_file(copy, &n);
    assert_true(n > 0 && n <= end - offset);
    assert_memory_equal(torn, before + offset, n);
    free(torn);
    free(before);
    assert_int_equal(append("a.b", 1, NULL, 0, NOW),
                     0); // shorter than what was cut off: nothing of that is left
    reopen();
    assert_int_equal(notes[JOURNAL_WARNING] + notes[JOURNAL_DAMAGE], 0);
    assert_all_there(1, 4);
    journal_close(&j);
}

static void test_copies_of_torn_tails_are_limited(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    for (int i = 0; i < 25; i++) {
        open_journal();
        append_frames(1);
        segment_path(0, name);
        size_t end = j->segments[0]->end;
        journal_close(&j);
        flip(name, end + 8); // something behind the last frame, each time elsewhere
    }
    open_journal();
    assert_true(count_files(".torn") <= 16);
    assert_all_there(1, 75);
    journal_close(&j);
}

// --- Damage

// Opens the log and reads all of it; checks that what is not lost is served, and what is lost is told.
static void check_damaged(uint64_t last, bool *ret_noticed)
{
    open_journal();
    read_all();
    *ret_noticed = notes[JOURNAL_DAMAGE] || notes[JOURNAL_WARNING] || seen.damages;
    assert_int_equal(seen.n + seen.n_lost, j->next_seq - 1);
    assert_true(j->next_seq == last + 1);
    for (size_t i = 1; i < seen.n; i++) {
        assert_true(seen.seqs[i] > seen.seqs[i - 1]);
    }
}

static void test_every_byte_of_a_sealed_segment(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    open_journal();
    append_until_segments(3);
    append_frames(1);
    uint64_t last = j->next_seq - 1;
    segment_path(1, name);
    uint64_t first = j->segments[1]->header.first_seq, next = j->segments[1]->next_seq;
    uint64_t end = j->segments[1]->end;
    journal_close(&j);
    size_t size = file_size(name), most = 0;
    for (size_t i = 0; i < size; i++) {
        bool header = i < FORMAT_HEADER_BYTES ||
                      (i >= FORMAT_HEADER_COPY && i < FORMAT_HEADER_COPY + FORMAT_HEADER_BYTES);
        if (i < FORMAT_FRAMES && !header) {
            continue; // means nothing
        }
        bool noticed;
        flip(name, i);
        check_damaged(last, &noticed);
        if (!noticed) {
            fail_msg("a changed bit in byte %zu of %zu went unnoticed", i, size);
        }
        for (size_t k = 0; k < seen.n_lost;
             k++) { // located: one frame of the segment, and nothing else
            assert_true(seen.lost[k] >= first && seen.lost[k] < next);
        }
        assert_true(seen.n_lost <= 3);
        assert_true(i < end || seen.n_lost == 0); // the seal holds no events
        most = seen.n_lost > most ? seen.n_lost : most;
        journal_close(&j);
        flip(name, i);
    }
    assert_int_equal(most, 3);
}

static void test_every_byte_of_the_open_segment(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    size_t size;
    open_journal();
    append_until_segments(2);
    append_frames(3);
    uint64_t last = j->next_seq - 1, first = j->segments[1]->header.first_seq;
    size_t end = j->segments[1]->end;
    segment_path(1, name);
    journal_close(&j);
    uint8_t *whole = read_file(name, &size);
    size_t cut = 0;
    for (size_t i = FORMAT_FRAMES; i < end; i++) {
        flip(name, i);
        open_journal();
        read_all();
        assert_true(notes[JOURNAL_DAMAGE] || notes[JOURNAL_WARNING]);
        if (j->next_seq != last + 1) { // the last frame: cannot be told from an unfinished write
            assert_int_equal(j->next_seq, last + 1 - 3);
            assert_int_equal(count_files(".torn"), 1);
            cut++;
        } else {
            assert_true(seen.n_lost <= 3);
            assert_int_equal(seen.n + seen.n_lost, last);
            for (size_t k = 0; k < seen.n_lost; k++) {
                assert_true(seen.lost[k] >= first);
            }
            append_frames(1); // goes to a new segment: the damaged one stays as it is
            assert_int_equal(j->n_segments, 3);
            assert_true(j->segments[1]->sealed);
        }
        size_t n_lost = seen.n_lost;
        uint64_t next = j->next_seq;
        reopen();
        read_all();
        assert_int_equal(seen.n_lost, n_lost); // still known
        assert_int_equal(j->n_lost > 0, n_lost > 0);
        assert_int_equal(j->next_seq, next);
        journal_close(&j);
        remove_files(".torn");
        DIR *d = opendir(".");
        struct dirent *entry;
        while ((entry = readdir(d))) { // the new segment, if there is one
            uint64_t seq;
            if (segment_name_parse(entry->d_name, &seq) && seq > first) {
                assert_int_equal(unlink(entry->d_name), 0);
            }
        }
        assert_int_equal(closedir(d), 0);
        write_file(name, whole, size);
    }
    assert_true(cut > 100 && cut < (end - FORMAT_FRAMES) / 2);
    free(whole);
}

// A checkpoint behind the last events, as a stop in good order writes it, proves that they were stored.
static void test_damage_before_a_checkpoint_is_not_a_torn_tail(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    struct buf frame;
    struct append a;
    open_journal();
    append_frames(2);
    size_t offset = j->segments[0]->end;
    append_frames(1);
    buf_init(&frame, 10000);
    frame_begin(&frame);
    journal_checkpoint(j, &frame);
    assert_int_equal(journal_append_prepare(j, &a, &frame, FRAME_CHECKPOINT, 0, NOW), 0);
    assert_int_equal(journal_append_finish(j, &a, journal_append_write(&a)), 0);
    buf_fini(&frame);
    segment_path(0, name);
    journal_close(&j);
    flip(name, offset + 70);
    open_journal();
    assert_int_equal(count_files(".torn"), 0);
    assert_int_equal(j->next_seq, 10);
    assert_int_equal(j->n_lost, 1);
    assert_int_equal(j->lost[0].first_seq, 7);
    assert_int_equal(j->lost[0].last_seq, 9);
    append_frames(1);
    reopen();
    read_all();
    assert_int_equal(seen.n, 9);
    assert_int_equal(seen.n_lost, 3);
    journal_close(&j);
}

static void test_a_segment_without_any_header(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    open_journal();
    append_until_segments(3);
    append_frames(1);
    uint64_t first = j->segments[1]->header.first_seq, next = j->segments[1]->next_seq,
             last = j->next_seq - 1;
    segment_path(1, name);
    journal_close(&j);
    flip(name, 3);
    flip(name, FORMAT_HEADER_COPY + 3);
    bool noticed;
    check_damaged(last, &noticed);
    assert_true(noticed);
    assert_int_equal(seen.n_lost, next - first);
    assert_int_equal(seen.lost[0], first);
    assert_int_equal(j->n_lost, 1);
    assert_int_equal(j->lost[0].first_seq, first);
    assert_int_equal(j->lost[0].last_seq, next - 1);
    append_frames(1);
    journal_close(&j);
}

static void test_a_last_segment_without_any_header(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    for (size_t segments = 1; segments <= 2; segments++) {
        open_journal();
        append_until_segments(segments);
        append_frames(1);
        uint64_t last = j->next_seq - 1;
        uint64_t before = j->segments[segments - 1]->header.first_seq - 1;
        segment_path(segments - 1, name);
        journal_close(&j);
        flip(name, 3);
        flip(name, FORMAT_HEADER_COPY + 3);
        open_journal();
        assert_true(notes[JOURNAL_DAMAGE] > 0);
        assert_true(j->next_seq > last); // no sequence is used twice
        uint64_t skipped = j->next_seq;
        reopen(); // also when it ends before anything is stored
        assert_int_equal(j->next_seq, skipped);
        struct block_ref ref;
        assert_true(journal_find(j, skipped - 1, &ref));
        assert_true(ref.lost && ref.first_seq == before + 1 && ref.next_seq == skipped);
        append_frames(2);
        uint64_t next = j->next_seq;
        reopen();
        assert_int_equal(j->next_seq, next);
        assert_int_equal(journal_events(j), before + 6);
        journal_close(&j);
        remove_files(".seg");
    }
}

static void roll(void)
{
    struct append a;
    assert_int_equal(journal_append_prepare(j, &a, NULL, FRAME_EVENTS, 0, NOW), 0);
    assert_int_equal(journal_append_finish(j, &a, journal_append_write(&a)), 0);
}

static void test_an_empty_segment_is_replaced_without_a_break(void **state)
{
    (void)state;
    open_journal();
    append_frames(1);
    roll();
    roll(); // the one that was just made has no events
    append_frames(1);
    reopen();
    assert_int_equal(j->n_segments, 2);
    assert_int_equal(notes[JOURNAL_DAMAGE], 0);
    journal_close(&j);
}

static void test_a_missing_segment(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    open_journal();
    append_until_segments(4);
    uint64_t first = j->segments[1]->header.first_seq, next = j->segments[1]->next_seq,
             last = j->next_seq - 1;
    segment_path(1, name);
    journal_close(&j);
    assert_int_equal(unlink(name), 0);
    bool noticed;
    check_damaged(last, &noticed);
    assert_true(noticed);
    assert_int_equal(seen.n_lost, next - first);
    journal_close(&j);
}

static void test_foreign_files_are_refused(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE], other[SEGMENT_NAME_SIZE];
    size_t n;
    open_journal();
    append_until_segments(2);
    segment_path(1, name);
    journal_close(&j);
    uint8_t *data = read_file(name, &n);
    segment_name(5000, other);
    write_file(other, data, n); // under a name that is not its own
    assert_int_equal(try_open(SEGMENT_BYTES), -EBADMSG);
    assert_non_null(strstr(error, other));
    assert_int_equal(unlink(other), 0);
    struct segment_header h;
    uint32_t crc;
    assert_int_equal(segment_header_decode(data, &h, &crc), 0);
    h.uuid[0] ^= 1; // of another log
    (void)segment_header_encode(&h, data);
    (void)segment_header_encode(&h, data + FORMAT_HEADER_COPY);
    write_file(name, data, n);
    assert_int_equal(try_open(SEGMENT_BYTES), -EINVAL);
    assert_non_null(strstr(error, name));
    free(data);
}

// --- Interrupted changes of segments

static void test_a_leftover_of_a_new_segment(void **state)
{
    (void)state;
    open_journal();
    append_frames(1);
    journal_close(&j);
    write_file("next.tmp", (const uint8_t *)"half", 4);
    open_journal();
    assert_int_equal(access("next.tmp", F_OK), -1);
    assert_all_there(1, 3);
    append_until_segments(2);
    journal_close(&j);
}

static void test_stopped_between_seal_and_new_segment(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    open_journal();
    append_until_segments(2);
    uint64_t sealed_last = j->segments[0]->next_seq - 1;
    assert_int_equal(append("a.b", 1, "p", 77, NOW), 0);
    segment_path(1, name);
    journal_close(&j);
    assert_int_equal(unlink(name), 0);
    open_journal();
    assert_int_equal(notes[JOURNAL_WARNING] + notes[JOURNAL_DAMAGE], 0);
    assert_all_there(1, sealed_last);
    append_frames(1);
    reopen();
    assert_all_there(1, sealed_last + 3);
    journal_close(&j);
}

// The seal was written, its trailer only to a part, and the file not cut to its length.
static void test_stopped_while_sealing(void **state)
{
    (void)state;
    char sealed[SEGMENT_NAME_SIZE], name[SEGMENT_NAME_SIZE];
    open_journal();
    append_until_segments(2);
    uint64_t last = j->segments[0]->next_seq - 1;
    segment_path(0, sealed);
    segment_path(1, name);
    journal_close(&j);
    assert_int_equal(unlink(name), 0);
    size_t size = file_size(sealed);
    for (size_t trailer = 0; trailer <= FORMAT_TRAILER_BYTES; trailer++) {
        assert_int_equal(truncate(sealed, (off_t)(size - FORMAT_TRAILER_BYTES + trailer)), 0);
        assert_int_equal(truncate(sealed, SEGMENT_BYTES), 0);
        open_journal();
        assert_int_equal(notes[JOURNAL_WARNING] + notes[JOURNAL_DAMAGE], 0);
        assert_all_there(1, last);
        assert_int_equal(file_size(sealed), size);
        append_frames(1);
        reopen();
        assert_int_equal(notes[JOURNAL_WARNING] + notes[JOURNAL_DAMAGE], 0);
        assert_all_there(1, last + 3);
        assert_int_equal(unlink(name), 0);
        journal_close(&j);
    }
}

// Retention of all topics alike, with nothing held.
static void expire(int64_t now_ms, int64_t age_ms, uint64_t bytes, struct removal *removal)
{
    const struct retention retention = { .general = { .age_ms = age_ms, .bytes = bytes } };
    journal_expire(j, &retention, now_ms, UINT64_MAX, removal);
}

// --- Producers

static void test_producers_survive_restart_and_retention(void **state)
{
    (void)state;
    struct removal removal;
    open_journal();
    assert_int_equal(append("a.b", 1, "store-1", 500, NOW), 0);
    assert_int_equal(append("a.b", 1, "store-2", 7, NOW), 0);
    assert_int_equal(append("a.b", 1, "store-1", 501, NOW), 0);
    reopen();
    assert_int_equal(producer_seq("store-1"), 501);
    assert_int_equal(producer_seq("store-2"), 7);
    append_until_segments(4);
    expire(NOW, 0, 1, &removal); // everything but the open one
    assert_int_equal(removal.n, 3);
    assert_int_equal(journal_remove(&removal), 0);
    reopen();
    assert_int_equal(j->n_segments, 1);
    assert_true(journal_first_seq(j) > 3);
    assert_int_equal(producer_seq("store-1"), 501);
    assert_int_equal(producer_seq("store-2"), 7);
    journal_close(&j);
}

static void test_producers_without_the_last_checkpoint(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    open_journal();
    assert_int_equal(append("a.b", 1, "store-1", 500, NOW), 0);
    append_until_segments(3);
    assert_int_equal(append("a.b", 1, "store-2", 9, NOW), 0);
    for (size_t i = 1; i < 3; i++) { // of the last one and of the one before
        segment_path(i, name);
        flip(name, FORMAT_FRAMES + 20);
    }
    reopen();
    assert_true(notes[JOURNAL_DAMAGE] > 0);
    assert_int_equal(producer_seq("store-1"), 500);
    assert_int_equal(producer_seq("store-2"), 9);
    journal_close(&j);
}

// --- Retention

static void test_retention_by_bytes(void **state)
{
    (void)state;
    struct removal removal;
    char name[SEGMENT_NAME_SIZE];
    open_journal();
    append_until_segments(6);
    uint64_t last = j->next_seq - 1, events = journal_events(j), bytes = journal_bytes(j);
    segment_path(0, name);
    expire(NOW, 0, 0, &removal);
    assert_int_equal(removal.n, 0);
    expire(NOW, 0, bytes, &removal);
    assert_int_equal(removal.n, 0);
    expire(NOW, 0, bytes - 1, &removal);
    assert_int_equal(removal.n, 1);
    assert_int_equal(access(name, F_OK), 0);
    assert_int_equal(journal_remove(&removal), 0);
    assert_int_equal(access(name, F_OK), -1);
    assert_true(journal_events(j) < events);
    const struct topic *t = catalog_topic(&j->catalog, STR("a.b"));
    assert_int_equal(t->events, journal_events(j));
    uint64_t first = journal_first_seq(j);
    assert_all_there(first, last);
    reopen();
    assert_all_there(first, last);
    journal_close(&j);
}

static void test_retention_by_age(void **state)
{
    (void)state;
    struct removal removal;
    const int64_t age = 100000;
    open_journal();
    assert_int_equal(append("old.topic", 3, NULL, 0, NOW), 0);
    append_until_segments(3);
    int64_t last_ms = journal_last_ms(j);
    expire(last_ms, age, 0, &removal);
    assert_int_equal(removal.n, 0);
    assert_false(j->roll);
    expire(j->segments[0]->last_ms + age, age, 0, &removal);
    assert_int_equal(removal.n, 0); // exactly that old is not older
    expire(last_ms + age + 1, age, 0, &removal);
    assert_int_equal(removal.n, 2); // the open one stays, but is to be closed
    assert_int_equal(journal_remove(&removal), 0);
    assert_true(j->roll);
    assert_null(catalog_topic(&j->catalog, STR("old.topic")));
    struct append a;
    assert_int_equal(journal_append_prepare(j, &a, NULL, FRAME_EVENTS, 0, last_ms + age + 1), 0);
    assert_int_equal(journal_append_finish(j, &a, journal_append_write(&a)), 0);
    assert_false(j->roll);
    expire(last_ms + age + 1, age, 0, &removal);
    assert_int_equal(removal.n, 1);
    assert_int_equal(journal_remove(&removal), 0);
    assert_int_equal(journal_events(j), 0);
    uint64_t next = j->next_seq;
    reopen();
    assert_int_equal(j->next_seq, next); // sequences go on
    append_frames(1);
    assert_all_there(next, next + 2);
    journal_close(&j);
}

// --- A full disk

static void test_no_room(void **state)
{
    (void)state;
    struct rlimit limit, before;
    open_journal();
    append_frames(1);
    uint64_t last = j->next_seq - 1;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){ SEGMENT_BYTES / 2, before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 3; i++) {
        j->roll = true;
        assert_int_equal(append("a.b", 3, "p", 1, NOW), -ENOSPC);
        assert_false(j->roll); // what fits into the open segment is stored there
        assert_int_equal(j->next_seq, last + 1);
        assert_int_equal(producer_seq("p"), 0);
        assert_int_equal(access("next.tmp", F_OK), -1);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_all_there(1, last); // reading went on
    j->roll = true;
    append_frames(1);
    assert_int_equal(j->n_segments, 2);
    reopen();
    assert_int_equal(notes[JOURNAL_WARNING] + notes[JOURNAL_DAMAGE], 0);
    assert_all_there(1, last + 3);
    journal_close(&j);
}

// --- The list of damaged ranges

static void test_ranges_are_merged(void **state)
{
    (void)state;
    open_journal();
    assert_int_equal(journal_note_lost(j, 10, 19), 10);
    assert_int_equal(journal_note_lost(j, 30, 39), 10);
    assert_int_equal(journal_note_lost(j, 10, 19), 0);
    assert_int_equal(journal_note_lost(j, 12, 15), 0);
    assert_int_equal(j->n_lost, 2);
    assert_int_equal(journal_note_lost(j, 15, 34), 10);
    assert_int_equal(j->n_lost, 1);
    assert_int_equal(j->lost[0].first_seq, 10);
    assert_int_equal(j->lost[0].last_seq, 39);
    assert_int_equal(journal_note_lost(j, 40, 41), 2); // touches
    assert_int_equal(journal_note_lost(j, 1, 5), 5);
    assert_int_equal(j->n_lost, 2);
    assert_int_equal(j->lost[0].first_seq, 1);
    assert_int_equal(j->lost[1].last_seq, 41);
    assert_int_equal(journal_note_lost(j, 7, 6), 0); // none
    assert_int_equal(j->n_lost_events, 37);
    journal_close(&j);
}

static void test_many_ranges_are_bounded(void **state)
{
    (void)state;
    open_journal();
    for (uint64_t i = 0; i < 3 * JOURNAL_MAX_LOST; i++) {
        assert_int_equal(journal_note_lost(j, 10 + i * 10, 12 + i * 10),
                         i < JOURNAL_MAX_LOST ? 3 : 3);
    }
    assert_int_equal(j->n_lost, JOURNAL_MAX_LOST);
    for (uint64_t i = 0; i < 3 * JOURNAL_MAX_LOST; i++) { // each is in one of the ranges
        bool found = false;
        for (size_t k = 0; k < j->n_lost; k++) {
            found |= j->lost[k].first_seq <= 10 + i * 10 && j->lost[k].last_seq >= 12 + i * 10;
        }
        assert_true(found);
    }
    journal_close(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_an_empty_log),
        TEMP_DIR_CASE(test_what_is_written_is_read),
        TEMP_DIR_CASE(test_many_segments),
        TEMP_DIR_CASE(test_a_frame_larger_than_a_segment),
        TEMP_DIR_CASE(test_time_never_goes_back),
        TEMP_DIR_CASE(test_finding_a_time),
        TEMP_DIR_CASE(test_topics_of_a_block_prove_absence),
        TEMP_DIR_CASE(test_a_torn_tail_at_every_byte),
        TEMP_DIR_CASE(test_a_torn_tail_is_kept_as_a_copy),
        TEMP_DIR_CASE(test_copies_of_torn_tails_are_limited),
        TEMP_DIR_CASE(test_every_byte_of_a_sealed_segment),
        TEMP_DIR_CASE(test_every_byte_of_the_open_segment),
        TEMP_DIR_CASE(test_damage_before_a_checkpoint_is_not_a_torn_tail),
        TEMP_DIR_CASE(test_a_segment_without_any_header),
        TEMP_DIR_CASE(test_a_last_segment_without_any_header),
        TEMP_DIR_CASE(test_an_empty_segment_is_replaced_without_a_break),
        TEMP_DIR_CASE(test_a_missing_segment),
        TEMP_DIR_CASE(test_foreign_files_are_refused),
        TEMP_DIR_CASE(test_a_leftover_of_a_new_segment),
        TEMP_DIR_CASE(test_stopped_between_seal_and_new_segment),
        TEMP_DIR_CASE(test_stopped_while_sealing),
        TEMP_DIR_CASE(test_producers_survive_restart_and_retention),
        TEMP_DIR_CASE(test_producers_without_the_last_checkpoint),
        TEMP_DIR_CASE(test_retention_by_bytes),
        TEMP_DIR_CASE(test_retention_by_age),
        TEMP_DIR_CASE(test_no_room),
        TEMP_DIR_CASE(test_ranges_are_merged),
        TEMP_DIR_CASE(test_many_ranges_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
