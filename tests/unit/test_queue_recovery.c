// SPDX-License-Identifier: MIT
// Starting on what a bad disk has left: each case is one trouble, on a disk in memory, with many dice. What was served or
// acknowledged once is there after every later loss of power.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/block.h"
#include "services/queue/journal.h"
#include "tests/fault/queue_sim/disk.h"

#include <errno.h>
#include <string.h>

#define SEGMENT_BYTES 12288
#define SEEDS 200 // of the dice that each case is thrown with
#define NOW INT64_C(4102444800000)

static struct disk *disk;
static struct journal *j;
static char error[JOURNAL_ERROR_SIZE];

static void new_disk(uint64_t seed)
{
    const struct disk_options options = { .page_bytes = 512,
                                          .knows_holes = true,
                                          .can_reserve = true };
    disk = disk_new(seed, &options);
}

static int try_open(void)
{
    const struct journal_options options = {
        .dir = "log", .io = disk_io(disk), .segment_bytes = SEGMENT_BYTES, .block_bytes = 512
    };
    return journal_open(&options, &j, error);
}

static void open_journal(void)
{
    int status = try_open();
    if (status) {
        fail_msg("journal_open: %d: %s", status, error);
    }
}

static void end(enum disk_end how)
{
    journal_close(&j);
    disk_end(disk, how);
}

static void finish(void)
{
    journal_close(&j);
    disk_destroy(&disk);
}

// Appends one frame with one event of 900 bytes, and its producer's number.
static int append(void)
{
    static char data[903] = "\xC5\x03\x84"; // MessagePack: 900 bytes
    struct buf frame, event;
    struct append a;
    const struct event e = { .id = STR("id"),
                             .topic = STR("a.b"),
                             .key = STR("k"),
                             .source = STR("/test"),
                             .subject = STR(""),
                             .traceparent = STR(""),
                             .data = { data, sizeof data } };
    const struct record_producer r = { j->next_seq, NOW, STR("store") };
    buf_init(&frame, UINT32_MAX);
    buf_init(&event, QUEUE_MAX_EVENT_BYTES);
    event_encode(&event, &e);
    frame_begin(&frame);
    record_event(&frame, buf_str(&event));
    record_producer(&frame, &r);
    int status = journal_append_prepare(j, &a, &frame, FRAME_EVENTS, 1, NOW);
    if (status == 0) {
        status = journal_append_finish(j, &a, journal_append_write(&a));
    }
    buf_fini(&frame);
    buf_fini(&event);
    return status;
}

static void append_until_segments(size_t n)
{
    while (j->n_segments < n) {
        assert_int_equal(append(), 0);
    }
}

static uint64_t stored_seq(void)
{
    const struct producer *p = catalog_producer(&j->catalog, STR("store"));
    return p ? p->stored_seq : 0;
}

// The process dies in call number `call` of an append; another one starts, and then the power goes.
static void die_in_append(uint64_t seed, size_t segments, uint64_t call)
{
    new_disk(seed);
    open_journal();
    append_until_segments(segments);
    assert_int_equal(append(), 0);
    j->roll = segments > 1;
    disk_die_in(disk, call);
    (void)append(); // nobody hears of it
    end(DISK_KILLED);
    open_journal();
    uint64_t next = j->next_seq, stored = stored_seq();
    end(DISK_POWER_LOST);
    open_journal();
    assert_int_equal(j->next_seq,
                     next); // what the first one has found was served, and passed for stored
    assert_int_equal(stored_seq(), stored);
    assert_int_equal(j->n_lost_events, 0);
    finish();
}

static void test_what_was_found_is_there_after_a_loss_of_power(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        for (uint64_t call = 1; call <= 3; call++) {
            die_in_append(seed, 1, call);
        }
        for (uint64_t call = 1; call <= 15; call++) {
            die_in_append(seed, 2, call);
        }
    }
}

static void test_what_a_failed_sync_has_dropped_is_not_found(void **state)
{
    static const struct disk_faults faults = { .sync_error = 1000 };
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        new_disk(seed);
        open_journal();
        assert_int_equal(append(), 0);
        disk_set_faults(disk, &faults);
        assert_int_equal(append(), -EIO);
        end(DISK_KILLED);
        disk_set_faults(disk, NULL);
        while (try_open()) { // what was read goes out of the cache before it is written again
            assert_non_null(strstr(error, "cannot be written"));
            disk_end(disk, DISK_KILLED);
        }
        uint64_t next = j->next_seq;
        end(DISK_POWER_LOST);
        open_journal();
        assert_int_equal(j->next_seq, next);
        finish();
    }
}

static void test_a_full_disk_is_no_reason_not_to_start(void **state)
{
    (void)state;
    int cut = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        new_disk(seed);
        open_journal();
        assert_int_equal(append(), 0);
        disk_die_in(disk, 1); // in the write
        assert_int_equal(append(), -EIO);
        end(DISK_KILLED);
        disk_set_room(disk, 0);
        open_journal();
        assert_int_equal(j->next_seq, 2 + stored_seq() - 1);
        cut += j->next_seq == 2;
        finish();
    }
    assert_true(cut > SEEDS / 2);
}

static void test_a_removal_leaves_no_hole(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct removal removal;
        new_disk(seed);
        open_journal();
        append_until_segments(6);
        uint64_t next = j->next_seq;
        const struct retention retention = { .general = { .bytes = SEGMENT_BYTES } };
        journal_expire(j, &retention, NOW, UINT64_MAX, &removal);
        assert_int_equal(removal.n, 5);
        disk_die_in(disk, 1 + seed % 10);
        assert_int_equal(journal_remove(&removal), -EIO); // dies in it
        end(DISK_POWER_LOST);
        open_journal();
        assert_int_equal(j->n_lost, 0);
        assert_int_equal(j->next_seq, next);
        assert_int_equal(journal_events(j), next - journal_first_seq(j));
        finish();
    }
}

static void test_a_disk_that_does_not_give_the_headers_is_not_damage(void **state)
{
    static const struct disk_faults faults = { .read_error = 1000 };
    (void)state;
    new_disk(1);
    open_journal();
    assert_int_equal(append(), 0);
    end(DISK_KILLED);
    disk_set_faults(disk, &faults);
    assert_int_equal(try_open(), -EIO);
    disk_end(disk, DISK_KILLED);
    disk_set_faults(disk, NULL);
    open_journal();
    assert_int_equal(j->next_seq, 2);
    assert_int_equal(j->n_lost, 0);
    finish();
}

// The log has one segment, and its checkpoint is the only record of a producer.
static void test_producers_that_are_forgotten_are_told_of(void **state)
{
    struct removal removal;
    char name[SEGMENT_NAME_SIZE];
    (void)state;
    new_disk(1);
    open_journal();
    append_until_segments(2);
    const struct retention retention = { .general = { .bytes = 1 } };
    journal_expire(j, &retention, NOW, UINT64_MAX, &removal);
    assert_int_equal(removal.n, 1);
    assert_int_equal(journal_remove(&removal), 0);
    segment_name(journal_first_seq(j), name);
    end(DISK_POWER_LOST);
    open_journal();
    assert_false(j->producers_lost);
    assert_true(stored_seq() > 0);
    end(DISK_POWER_LOST);
    assert_true(disk_flip(disk, name, (FORMAT_FRAMES + 50) * 8));
    open_journal();
    assert_true(j->producers_lost);
    finish();
}

// The checkpoint of an empty last segment passes for an unfinished write when it is damaged. Before the segments are
// removed that have the producers' sequences too, these stand in a checkpoint again.
static void test_a_checkpoint_that_was_cut_off_is_made_again(void **state)
{
    struct append a;
    struct removal removal;
    char name[SEGMENT_NAME_SIZE];
    (void)state;
    new_disk(1);
    open_journal();
    assert_int_equal(append(), 0);
    assert_int_equal(journal_append_prepare(j, &a, NULL, FRAME_EVENTS, 0, NOW), 0);
    assert_int_equal(journal_append_finish(j, &a, journal_append_write(&a)), 0);
    segment_name(2, name);
    end(DISK_POWER_LOST);
    assert_true(disk_flip(disk, name, (FORMAT_FRAMES + 50) * 8));
    open_journal();
    assert_int_equal(stored_seq(), 1);
    assert_int_equal(append(), 0);
    const struct retention retention = { .general = { .bytes = 1 } };
    journal_expire(j, &retention, NOW, UINT64_MAX, &removal);
    assert_int_equal(removal.n, 1);
    assert_int_equal(journal_remove(&removal), 0);
    uint64_t stored = stored_seq();
    end(DISK_POWER_LOST);
    open_journal();
    assert_false(j->producers_lost);
    assert_int_equal(stored_seq(), stored);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_found_is_there_after_a_loss_of_power),
        cmocka_unit_test(test_what_a_failed_sync_has_dropped_is_not_found),
        cmocka_unit_test(test_a_full_disk_is_no_reason_not_to_start),
        cmocka_unit_test(test_a_removal_leaves_no_hole),
        cmocka_unit_test(test_a_disk_that_does_not_give_the_headers_is_not_damage),
        cmocka_unit_test(test_producers_that_are_forgotten_are_told_of),
        cmocka_unit_test(test_a_checkpoint_that_was_cut_off_is_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
