// SPDX-License-Identifier: MIT
// What is taken of admin pages, and that pages which are none do no harm.
#include "deploy/reading.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct group_reading groups[READING_MAX_GROUPS];

static struct reading read_text(const char *text)
{
    struct reading r;
    reading_metrics(str_of(text), 1000, &r, groups);
    return r;
}

static void test_worker(void **unused)
{
    (void)unused;
    struct reading r = read_text(
        "# HELP sluice_worker_in_flight Requests.\n# TYPE sluice_worker_in_flight gauge\n"
        "sluice_worker_limit{class=\"read\"} 40\nsluice_worker_limit{class=\"write\"} 8\n"
        "sluice_worker_limit{class=\"compute\"} 0\nsluice_worker_limit{class=\"new\"} 1\n"
        "sluice_worker_in_flight{class=\"read\"} 30\nsluice_worker_in_flight{class=\"write\"} 7\n"
        "sluice_worker_in_flight{class=\"compute\"} 9\nsluice_worker_in_flight{class=\"new\"} 9\n"
        "process_cpu_seconds_total 1.25\n"
        "sluice_outbox_rows 12\n"
        "sluice_worker_request_duration_seconds_bucket{operation=\"a\",le=\"0.0001\"} 1\n"
        "sluice_worker_request_duration_seconds_bucket{operation=\"a\",le=\"+Inf\"} 3\n"
        "sluice_worker_request_duration_seconds_bucket{operation=\"b } \\\" c\",le=\"+Inf\"} 4\n"
        "sluice_sandbox{part=\"files\"} 1\nsluice_sandbox{part=\"memory\"} 1\n"
        "sluice_sandbox{part=\"ports\"} 0\nsluice_store_trouble{reason=\"disk-full\"} 0\n"
        "sluice_outbox_max_rows 99\nsluice_outbox_oldest_seconds 61\n"
        "sluice_consumer_position{consumer=\"x\"} 3\n"
        "sluice_consumer_position{consumer=\"y\"} 2\n");
    assert_int_equal(r.in_flight, 7); // of 8, which is nearer than 30 of 40
    assert_int_equal(r.limit, 8);
    assert_int_equal(r.cpu_ms, 1250);
    assert_int_equal(r.outbox_rows, 12);
    assert_int_equal(r.outbox_max_rows, 99);
    assert_int_equal(r.outbox_oldest_s, 61);
    assert_int_equal(r.buckets[0], 1);
    assert_int_equal(r.buckets[METRICS_N_BUCKETS], 7);
    assert_true(!r.sandbox_off && !r.store_trouble);
    assert_true(r.consumes);
    assert_int_equal(r.consumer_position, 5);
    assert_int_equal(r.backup_age_s, -1);
    r = read_text("sluice_sandbox{part=\"files\"} 0\nsluice_sandbox{part=\"memory\"} 1\n"
                  "sluice_store_trouble{reason=\"disk-full\"} 1\n"
                  "sluice_store_trouble{reason=\"read-only\"} 0\n"
                  "sluice_store_last_backup_timestamp_seconds 400\n");
    assert_true(r.sandbox_off && r.store_trouble && !r.consumes);
    assert_int_equal(r.backup_age_s, 600);
}

static void test_gateway(void **unused)
{
    (void)unused;
#define COUNT "http_server_request_duration_seconds_count"
#define BUCKET "http_server_request_duration_seconds_bucket"
    struct reading r = read_text(
        COUNT "{http_route=\"/a\",http_response_status_code=\"200\"} 10\n" COUNT
              "{http_route=\"/5\",http_response_status_code=\"404\"} 5\n" COUNT
              "{http_response_status_code=\"503\",http_route=\"/a\"} 2\n" BUCKET
              "{http_route=\"/a\",http_response_status_code=\"200\",le=\"0.25\"} 4\n" BUCKET
              "{http_route=\"/a\",http_response_status_code=\"200\",le=\"0.5\"} 7\n" BUCKET
              "{http_route=\"/a\",http_response_status_code=\"200\",le=\"+Inf\"} 10\n" BUCKET
              "{http_route=\"/5\",http_response_status_code=\"404\",le=\"0.5\"} 5\n" BUCKET
              "{http_route=\"/a\",http_response_status_code=\"503\",le=\"0.5\"} 2\n");
    assert_int_equal(r.http_requests, 17);
    assert_int_equal(r.http_errors, 2);
    assert_int_equal(r.http_quick, 12);
}

static void test_counters(void **unused)
{
    (void)unused;
    struct reading r =
        read_text("sluice_queue_lost_records_total 3\n"
                  "sluice_queue_refused_total{reason=\"disk-full\"} 4\n"
                  "sluice_queue_refused_total{reason=\"identity\"} 5\n"
                  "sluice_queue_refused_total{reason=\"malformed\"} 6\n"
                  "sluice_curve_handshake_failures_total{link=\"queue\",reason=\"auth\"} 1\n"
                  "sluice_curve_handshake_failures_total{link=\"worker\",reason=\"auth\"} 2\n"
                  "sluice_curve_handshake_failures_total{link=\"worker\",reason=\"closed\"} 9\n"
                  "sluice_gateway_refused_total{reason=\"connection-limit\"} 7\n"
                  "sluice_gateway_refused_total{reason=\"token\"} 8\n");
    assert_int_equal(r.counters[READING_LOST_RECORDS], 3);
    assert_int_equal(r.counters[READING_DISK_FULL], 4);
    assert_int_equal(r.counters[READING_IDENTITY], 5);
    assert_int_equal(r.counters[READING_LINK_KEY], 3);
    assert_int_equal(r.counters[READING_CONNECTION_LIMIT], 7);
    assert_int_equal(r.counters[READING_OUTBOX_REFUSED], 0);
}

static void test_how_full_it_is(void **unused)
{
    (void)unused;
    struct reading r = read_text("process_open_fds 80\nprocess_max_fds 100\n"
                                 "process_resident_memory_bytes 1.048576e+06\n"
                                 "sluice_store_wal_bytes 4096\n"
                                 "sluice_gateway_revocation_lag_seconds 31\n"
                                 "sluice_users_token_key_age_seconds 86400\n"
                                 "sluice_consumer_behind_seconds{consumer=\"a\"} 61\n"
                                 "sluice_consumer_behind_seconds{consumer=\"b\"} 2\n"
                                 "sluice_gateway_workers{service=\"users\"} 0\n"
                                 "sluice_gateway_workers{service=\"orders\"} 2\n"
                                 "sluice_gateway_workers{service=\"mine\"} 0\n"
                                 "sluice_gateway_overloaded{service=\"orders\"} 1\n");
    assert_int_equal(r.open_fds, 80);
    assert_int_equal(r.max_fds, 100);
    assert_int_equal(r.resident_bytes, 1048576);
    assert_int_equal(r.wal_bytes, 4096);
    assert_int_equal(r.revocation_lag_s, 31);
    assert_int_equal(r.token_key_age_s, 86400);
    assert_int_equal(r.behind_s, 61);
    assert_true(r.no_worker[SERVICES_USERS] && !r.no_worker[SERVICES_ORDERS]);
    assert_true(!r.no_worker[SERVICES_SEARCH]); // the gateway does not know it
    assert_int_equal(r.overloaded[SERVICES_ORDERS], 1);
    assert_int_equal(r.overloaded[SERVICES_USERS], 0);
}

static void test_queue(void **unused)
{
    (void)unused;
    struct reading r = read_text("sluice_queue_log_last_sequence 99\n"
                                 "sluice_queue_group_lag_events{group=\"mail\"} 5\n"
                                 "sluice_queue_group_lag_events{group=\"orders.late\"} 6\n"
                                 "sluice_queue_group_oldest_event_seconds{group=\"mail\"} 301\n"
                                 "sluice_queue_group_dead_letters{group=\"orders.late\"} 1\n"
                                 "sluice_queue_group_members{group=\"mail\"} 2\n"
                                 "sluice_queue_group_paused{group=\"mail\"} 1\n"
                                 "sluice_queue_group_skipped_total{group=\"mail\"} 8\n"
                                 "sluice_queue_group_lag_events 4\n");
    assert_int_equal(r.last_sequence, 99);
    assert_int_equal(r.n_groups, 2);
    assert_string_equal(groups[0].name, "mail");
    assert_int_equal(groups[0].lag, 5);
    assert_int_equal(groups[0].oldest_s, 301);
    assert_int_equal(groups[0].members, 2);
    assert_int_equal(groups[0].skipped, 8);
    assert_true(groups[0].paused && !groups[1].paused);
    assert_int_equal(groups[1].lag, 6);
    assert_int_equal(groups[1].dead_letters, 1);
}

static void test_more_groups_than_there_is_room_for(void **unused)
{
    (void)unused;
    struct buf b;
    struct reading r;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 2 * READING_MAX_GROUPS; i++) {
        buf_printf(&b, "sluice_queue_group_lag_events{group=\"g%d\"} 1\n", i);
    }
    reading_metrics(buf_str(&b), 0, &r, groups);
    assert_int_equal(r.n_groups, READING_MAX_GROUPS);
    buf_fini(&b);
}

// Cut anywhere, in memory that ends there.
static void test_any_beginning_of_a_page_is_read(void **unused)
{
    (void)unused;
    static const char page[] =
        "# c\na{b=\"c\\\"d}\",e=\"f\"} 1e3 77\nsluice_worker_limit{class=\"read\"} 5\n"
        "sluice_queue_group_paused{group=\"\\\\\"} 1\nx{\ny{z\n{} 1\n \n 1\n"
        "sluice_worker_in_flight{class=\"read\"} NaN\nsluice_worker_limit{class=\"read\"} "
        "1e300\nw{a} "
        "1\n";
    for (size_t n = 0; n < sizeof page; n++) {
        struct reading r;
        char *copy = malloc(n ? n : 1);
        memcpy(copy, page, n);
        reading_metrics((struct str){ copy, n }, 0, &r, groups);
        free(copy);
    }
    assert_int_equal(read_text(page).in_flight, 0);
    assert_int_equal(read_text(page).limit, 0);
}

static void test_labels(void **unused)
{
    (void)unused;
    struct str labels = STR("a=\"1\",bc=\"2\\\",a=3\",c=\"\"");
    assert_true(str_eq(reading_label(labels, STR("a")), STR("1")));
    assert_true(str_eq(reading_label(labels, STR("bc")), STR("2\\\",a=3")));
    assert_true(str_eq(reading_label(labels, STR("c")), STR("")));
    assert_null(reading_label(labels, STR("b")).p);
    assert_null(reading_label(STR("a"), STR("a")).p);
    assert_null(reading_label(STR("a="), STR("a")).p);
    assert_null(reading_label(STR("a=\"x"), STR("a")).p);
}

static void test_topology(void **unused)
{
    (void)unused;
    struct lane_reading lanes[SERVICES] = { { .waiting = 0 } };
    struct str page = STR("{\"services\":[{\"service\":\"orders\",\"waiting\":3,"
                          "\"oldest_waiting_ms\":40},{\"service\":\"mine\",\"waiting\":9}]}");
    assert_int_equal(reading_topology(page, lanes), 0);
    struct str other = STR("{\"services\":[{\"service\":\"orders\",\"waiting\":2,"
                           "\"oldest_waiting_ms\":30}]}");
    assert_int_equal(reading_topology(other, lanes), 0);
    assert_int_equal(lanes[services_find("orders")].waiting, 5);
    assert_int_equal(lanes[services_find("orders")].wait_ms, 40);
    assert_int_equal(lanes[services_find("users")].waiting, 0);
    assert_int_equal(reading_topology(STR("{}"), lanes), -EPROTO);
    assert_int_equal(reading_topology(STR("not json"), lanes), -EPROTO);
}

// Buckets: 0.1 0.25 0.5 1 2.5 5 10 25 50 75 100 250 500 750 1000 2500 5000 7500 10000 ms, +Inf.
static void test_latency(void **unused)
{
    (void)unused;
    uint64_t none[METRICS_N_BUCKETS + 1] = { 0 }, some[METRICS_N_BUCKETS + 1] = { 0 };
    assert_int_equal(reading_latency_ms(none, none), 0);
    for (int i = 11; i <= METRICS_N_BUCKETS; i++) {
        some[i] = 100; // all between 100 and 250 ms
    }
    assert_int_equal(reading_latency_ms(none, some), 243);
    assert_int_equal(reading_latency_ms(some, some), 0);
    for (int i = 10; i <= METRICS_N_BUCKETS; i++) {
        some[i] += 1900; // and most up to 100 ms
    }
    assert_int_equal(reading_latency_ms(none, some), 100);
    for (int i = 0; i <= METRICS_N_BUCKETS; i++) {
        none[i] = 0;
        some[i] = i == METRICS_N_BUCKETS ? 5 : 0; // longer than the last bound
    }
    assert_int_equal(reading_latency_ms(none, some), 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker),
        cmocka_unit_test(test_gateway),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_how_full_it_is),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_more_groups_than_there_is_room_for),
        cmocka_unit_test(test_any_beginning_of_a_page_is_read),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_topology),
        cmocka_unit_test(test_latency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
