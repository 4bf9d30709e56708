// SPDX-License-Identifier: MIT
// Who goes next and who has to go, case by case; and simulated overloads of five times what the
// workers do, with a clock of their own.
#include "gateway/wait_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define READ FRAME_CLASS_READ
#define WRITE FRAME_CLASS_WRITE
#define MS 1000
#define PATIENCE_US (100 * MS) // clients that waited longer have gone
#define N 4096

static struct wait_queue queue;
static struct waiter waiters[N];
static size_t used;
static int64_t now_us;

static void init(size_t max)
{
    wait_queue_init(&queue, max);
    queue.classes[READ].patience_us = queue.classes[WRITE].patience_us = PATIENCE_US;
}

static int setup(void **state)
{
    (void)state;
    init(8);
    used = 0;
    now_us = 1000000000;
    return 0;
}

static struct waiter *make(uint64_t client, enum wait_priority priority, enum frame_class load)
{
    assert_true(used < N);
    struct waiter *w = &waiters[used++];
    memset(w, 0, sizeof *w);
    w->client = client;
    w->priority = priority;
    w->load = load;
    return w;
}

// Puts a read of the client in and returns it; nobody may have to go.
static struct waiter *put(uint64_t client)
{
    struct waiter *w = make(client, WAIT_READ, READ);
    assert_null(wait_queue_put(&queue, w, ++now_us));
    return w;
}

static struct waiter *next(void)
{
    return wait_queue_next(&queue, WAIT_READ, READ, now_us);
}

static void assert_taken(const struct waiter *w)
{
    struct waiter *n = next();
    assert_ptr_equal(n, w);
    wait_queue_take(&queue, n, now_us);
}

// More come than go, for long enough.
static void overload(void)
{
    size_t n = queue.n;
    for (int i = 0; i < 3; i++) {
        put(1000);
        put(1000);
        wait_queue_take(&queue, next(), now_us);
        now_us += WAIT_WINDOW_US;
    }
    assert_true(wait_queue_overloaded(&queue, READ, now_us));
    assert_int_equal(queue.n, n + 3);
    while (queue.n > 1) { // one is left, or it would be over
        wait_queue_remove(&queue, queue.classes[READ].oldest);
    }
}

static void test_oldest_first(void **state)
{
    (void)state;
    struct waiter *a = put(1), *b = put(1), *c = put(1);
    assert_taken(a);
    assert_taken(b);
    assert_taken(c);
    assert_null(next());
}

static void test_clients_take_turns(void **state)
{
    (void)state;
    struct waiter *a[4] = { put(1), put(1), put(1), put(1) }, *b = put(2), *c = put(3),
                  *b2 = put(2);
    assert_taken(a[0]);
    assert_taken(b);
    assert_taken(c);
    assert_taken(a[1]);
    assert_taken(b2);
    assert_taken(a[2]);
    assert_taken(a[3]);
}

// Clients whose hashes meet have places of their own, as long as there are any.
static void test_clients_that_meet_are_apart(void **state)
{
    (void)state;
    struct waiter *first[WAIT_WAYS + 1];
    init(2 * WAIT_WAYS + 2);
    for (uint64_t i = 0; i < WAIT_WAYS; i++) {
        first[i] = put(i * WAIT_FLOWS);
        put(i * WAIT_FLOWS);
    }
    for (size_t i = 0; i < WAIT_WAYS; i++) {
        assert_taken(first[i]);
    }
    assert_int_equal(queue.groups[(int)WAIT_READ * FRAME_CLASSES + READ].n_flows, WAIT_WAYS);
    put(WAIT_WAYS * WAIT_FLOWS); // no place is left: shares one
    assert_int_equal(queue.groups[(int)WAIT_READ * FRAME_CLASSES + READ].n_flows, WAIT_WAYS);
}

static void test_priorities_and_classes_are_apart(void **state)
{
    (void)state;
    struct waiter *low = make(1, WAIT_LOW, READ), *read = make(1, WAIT_READ, READ),
                  *write = make(1, WAIT_WRITE, WRITE);
    assert_null(wait_queue_put(&queue, low, now_us));
    assert_null(wait_queue_put(&queue, read, now_us));
    assert_null(wait_queue_put(&queue, write, now_us));
    assert_ptr_equal(wait_queue_next(&queue, WAIT_LOW, READ, now_us), low);
    assert_ptr_equal(wait_queue_next(&queue, WAIT_READ, READ, now_us), read);
    assert_ptr_equal(wait_queue_next(&queue, WAIT_WRITE, WRITE, now_us), write);
    assert_null(wait_queue_next(&queue, WAIT_WRITE, READ, now_us));
    assert_null(wait_queue_next(&queue, WAIT_ADMIN, WRITE, now_us));
    wait_queue_remove(&queue, read);
    assert_null(wait_queue_next(&queue, WAIT_READ, READ, now_us));
    assert_int_equal(queue.n, 2);
}

static void test_a_burst_is_no_overload(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        put(1);
    }
    for (int i = 0; i < 7; i++) { // for several windows, while nothing comes
        now_us += WAIT_WINDOW_US / 3;
        wait_queue_take(&queue, next(), now_us);
        assert_false(wait_queue_overloaded(&queue, READ, now_us));
    }
}

static void test_a_queue_that_stands_still_is_no_overload(void **state)
{
    (void)state;
    struct waiter *first = put(1);
    for (int i = 0; i < 5; i++) {
        now_us += WAIT_WINDOW_US;
        put(1);
        put(2);
        put(3);
        assert_false(wait_queue_overloaded(&queue, READ, now_us));
        if (queue.n > 4) {
            wait_queue_remove(&queue, queue.classes[READ].newest); // a client goes away
            wait_queue_remove(&queue, queue.classes[READ].newest);
            wait_queue_remove(&queue, queue.classes[READ].newest);
        }
    }
    assert_null(wait_queue_late(&queue, READ, now_us));
    assert_taken(first);
}

// Many clients that ask again once they are answered: there are always some, and in every other window
// there are more of them at its end.
static void test_a_long_queue_that_moves_fast_is_no_overload(void **state)
{
    (void)state;
    init(1024);
    int64_t longest_us = 0;
    for (int i = 0; i < 300; i++) {
        put(1);
    }
    for (int window = 0; window < 10; window++) {
        for (int i = 0; i < 20000; i++) {
            struct waiter *w = next();
            int64_t waited_us = now_us - w->since_us;
            longest_us = waited_us > longest_us ? waited_us : longest_us;
            wait_queue_take(&queue, w, now_us);
            now_us += WAIT_WINDOW_US / 20000;
            assert_null(wait_queue_put(&queue, w, now_us));
        }
        if (window % 2 == 0) {
            put(1);
        } else {
            wait_queue_take(&queue, next(), now_us);
        }
        assert_false(wait_queue_overloaded(&queue, READ, now_us));
    }
    assert_true(longest_us < 310 * WAIT_WINDOW_US / 20000);
}

static void test_newest_first_when_overloaded(void **state)
{
    (void)state;
    overload();
    struct waiter *a = put(1), *b = put(2), *b2 = put(2), *c = put(3);
    assert_taken(c); // a client that has just come
    assert_taken(b2);
    assert_taken(a); // then in turn, each one's newest
    (void)b;
}

static void test_overload_ends(void **state)
{
    (void)state;
    overload();
    put(1);
    now_us += WAIT_WINDOW_US;
    assert_true(queue.classes[READ].overloaded);
    wait_queue_take(&queue, next(), now_us); // judges the window: one came, none went
    now_us += WAIT_WINDOW_US;
    assert_false(wait_queue_overloaded(&queue, READ, now_us)); // none came, one went
    overload();
    wait_queue_remove(&queue, queue.classes[READ].oldest);
    put(1); // an empty queue begins anew
    assert_false(wait_queue_overloaded(&queue, READ, now_us));
}

static void test_late(void **state)
{
    (void)state;
    overload();
    wait_queue_remove(&queue, queue.classes[READ].oldest);
    overload();
    struct waiter *left = queue.classes[READ].oldest, *a = put(1);
    assert_ptr_equal(wait_queue_late(&queue, READ, left->since_us + 100 * MS + 1), left);
    now_us = a->since_us + 100 * MS;
    assert_null(wait_queue_late(&queue, READ, now_us));
    assert_null(wait_queue_late(&queue, WRITE, now_us + 1));
    assert_ptr_equal(wait_queue_late(&queue, READ, now_us + 1), a);
    assert_int_equal(queue.n, 0);
}

static void test_full_and_standing_still(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        put(1);
    }
    put(2);
    put(3);
    put(4);
    struct waiter *w = make(1, WAIT_READ, READ);
    assert_ptr_equal(wait_queue_put(&queue, w, ++now_us), w); // its client has the most
    struct waiter *fifth = &waiters[4], *other = make(5, WAIT_READ, READ);
    assert_ptr_equal(wait_queue_put(&queue, other, ++now_us), fifth); // who waited longest stays
    assert_int_equal(queue.n, 8);
    init(8);
    for (uint64_t i = 0; i < 8; i++) {
        put(i);
    }
    other = make(9, WAIT_READ, READ);
    assert_ptr_equal(wait_queue_put(&queue, other, ++now_us), other); // all have one
}

static void test_full_and_overloaded(void **state)
{
    (void)state;
    overload();
    wait_queue_remove(&queue, queue.classes[READ].oldest);
    overload();
    put(2);
    for (int i = 0; i < 6; i++) {
        put(1);
    }
    struct waiter *oldest = &waiters[used - 6], *w = make(1, WAIT_READ, READ);
    assert_ptr_equal(wait_queue_put(&queue, w, ++now_us), oldest); // of its own client
    w = make(3, WAIT_READ, READ);
    oldest = oldest + 1;
    assert_ptr_equal(wait_queue_put(&queue, w, ++now_us), oldest); // of the one that has the most
    assert_int_equal(queue.n, 8);
}

static void test_a_higher_priority_displaces(void **state)
{
    (void)state;
    struct waiter *low = make(1, WAIT_LOW, READ);
    assert_null(wait_queue_put(&queue, low, ++now_us));
    for (int i = 0; i < 7; i++) {
        put(1);
    }
    struct waiter *read = make(3, WAIT_READ, READ);
    assert_ptr_equal(wait_queue_put(&queue, read, ++now_us), low);
    low = make(4, WAIT_LOW, READ);
    assert_ptr_equal(wait_queue_put(&queue, low, ++now_us), low); // nobody is lower
    struct waiter *admin = make(5, WAIT_ADMIN, READ);
    assert_ptr_equal(wait_queue_put(&queue, admin, ++now_us), &waiters[7]);
    assert_int_equal(queue.n, 8);
    assert_ptr_equal(wait_queue_next(&queue, WAIT_ADMIN, READ, now_us), admin);
}

// However many writes wait for a writer, there is room for those who want to read, and the other way round.
static void test_each_class_has_its_own_room(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        assert_null(wait_queue_put(&queue, make(1, WAIT_WRITE, WRITE), ++now_us));
    }
    struct waiter *more = make(1, WAIT_WRITE, WRITE);
    assert_ptr_equal(wait_queue_put(&queue, more, ++now_us), more);
    struct waiter *low = make(1, WAIT_LOW, READ);
    assert_null(wait_queue_put(&queue, low, ++now_us));
    for (int i = 0; i < 7; i++) {
        put(1);
    }
    assert_int_equal(queue.n, 16);
    more = make(2, WAIT_WRITE, WRITE); // displaces one of its own class
    assert_int_equal(wait_queue_put(&queue, more, ++now_us)->load, WRITE);
    assert_int_equal(queue.classes[READ].n, 8);
}

// --- Whatever happens

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % below;
}

static void check(const bool *in, size_t n)
{
    size_t total = 0, flows = 0, by_class = 0;
    for (size_t i = 0; i < n; i++) {
        total += in[i];
    }
    for (size_t g = 0; g < WAIT_GROUPS; g++) {
        size_t found = 0;
        for (uint16_t i = 0, at = queue.groups[g].turn; i < queue.groups[g].n_flows; i++) {
            const struct wait_flow *f = &queue.groups[g].flows[at];
            size_t mine = 0;
            for (const struct waiter *w = f->first; w; w = w->next) {
                mine++;
            }
            assert_true(mine == f->n && mine > 0);
            assert_int_equal(queue.groups[g].flows[f->next].prev, at);
            found += mine;
            at = f->next;
        }
        assert_int_equal(found, queue.groups[g].n);
        flows += found;
    }
    for (int c = 0; c < FRAME_CLASSES; c++) {
        by_class += queue.classes[c].n;
        assert_true(queue.classes[c].n <= queue.max);
    }
    assert_int_equal(queue.n, total);
    assert_int_equal(flows, total);
    assert_int_equal(by_class, total);
}

static void test_nothing_is_lost(void **state)
{
    (void)state;
    static bool in[N];
    memset(in, 0, sizeof in);
    seed = 7;
    init(100);
    for (int turn = 0; turn < 20000; turn++) {
        size_t i = draw(N);
        now_us += (int64_t)draw(2 * MS);
        if (in[i]) {
            wait_queue_remove(&queue, &waiters[i]);
            in[i] = false;
            continue;
        }
        waiters[i] = (struct waiter){ .client = draw(5000), // more than there are flows
                                      .priority = (enum wait_priority)draw(WAIT_PRIORITIES_COUNT),
                                      .load = (enum frame_class)draw(FRAME_CLASSES) };
        in[i] = true;
        struct waiter *victim = wait_queue_put(&queue, &waiters[i], now_us);
        if (victim) {
            assert_true(in[victim - waiters] && victim->priority >= waiters[i].priority);
            in[victim - waiters] = false;
        }
        struct waiter *w = wait_queue_next(&queue, (enum wait_priority)draw(WAIT_PRIORITIES_COUNT),
                                           (enum frame_class)draw(FRAME_CLASSES), now_us);
        if (w && draw(2)) {
            wait_queue_take(&queue, w, now_us);
            in[w - waiters] = false;
        }
        if (turn % 64 == 0) {
            check(in, N);
        }
    }
}

// --- Simulated overload: one worker that takes SERVICE_US for each request

#define SERVICE_US (2 * MS)
#define RUN_US (20 * 1000 * MS)
#define CLIENTS 21

struct outcome {
    uint64_t asked[CLIENTS], good[CLIENTS], all_asked, all_good;
    int64_t longest_us;
};

// Client 0 asks `noisy` times as much as the worker can do, the others together `rest` times.
static struct outcome simulate(double noisy, double rest)
{
    struct outcome o = { 0 };
    size_t n_free = N;
    static struct waiter *spare[N];
    for (size_t i = 0; i < N; i++) {
        spare[i] = &waiters[i];
    }
    init(1024);
    seed = 1;
    now_us = 1000000000;
    int64_t begin_us = now_us, busy_until_us = 0;
    double next_us[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        next_us[i] = (double)now_us;
    }
    for (; now_us < begin_us + RUN_US; now_us += 100) {
        for (uint64_t i = 0; i < CLIENTS; i++) {
            double period = SERVICE_US / (i ? rest / (CLIENTS - 1) : noisy);
            while (next_us[i] <= (double)now_us) {
                next_us[i] += period * (double)(1 + draw(2000)) / 1000;
                struct waiter *w = spare[--n_free];
                *w = (struct waiter){ .client = i, .priority = WAIT_READ, .load = READ };
                o.asked[i]++;
                struct waiter *victim = wait_queue_put(&queue, w, now_us);
                if (victim) {
                    spare[n_free++] = victim;
                }
            }
        }
        struct waiter *late;
        while ((late = wait_queue_late(&queue, READ, now_us))) {
            spare[n_free++] = late;
        }
        struct waiter *w = now_us >= busy_until_us ? next() : NULL;
        if (w) {
            int64_t waited_us = now_us - w->since_us;
            wait_queue_take(&queue, w, now_us);
            busy_until_us = now_us + SERVICE_US;
            spare[n_free++] = w;
            bool settled = now_us - begin_us > 4 * WAIT_WINDOW_US;
            o.longest_us = settled && waited_us > o.longest_us ? waited_us : o.longest_us;
            o.good[w->client] += waited_us <= 5000 * MS;
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        o.all_asked += o.asked[i];
        o.all_good += o.good[i];
    }
    return o;
}

static void test_goodput_stays(void **state)
{
    (void)state;
    struct outcome o = simulate(0.25, 4.75);
    uint64_t most = RUN_US / SERVICE_US;
    print_message("# 5 x: %llu of at most %llu; the longest wait %lld us\n",
                  (unsigned long long)o.all_good, (unsigned long long)most,
                  (long long)o.longest_us);
    assert_true(o.all_asked > 45 * most / 10);
    assert_true(o.all_good >= most * 99 / 100);
    assert_true(o.longest_us <= PATIENCE_US);
}

static void test_a_noisy_client_starves_nobody(void **state)
{
    (void)state;
    struct outcome o = simulate(4.5, 0.5);
    uint64_t asked = o.all_asked - o.asked[0], good = o.all_good - o.good[0];
    print_message("# noisy: %llu of %llu; the others %llu of %llu\n", (unsigned long long)o.good[0],
                  (unsigned long long)o.asked[0], (unsigned long long)good,
                  (unsigned long long)asked);
    assert_true(good >= asked * 99 / 100);
    for (int i = 1; i < CLIENTS; i++) {
        assert_true(o.good[i] >= o.asked[i] * 97 / 100);
    }
    assert_true(o.all_good >= RUN_US / SERVICE_US * 99 / 100);
}

// All ask too much: nobody gets much more than anybody else.
static void test_shares_are_equal(void **state)
{
    (void)state;
    struct outcome o = simulate(2, 3); // client 0 asks thirteen times as much as each other
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 1; i < CLIENTS; i++) {
        least = o.good[i] < least ? o.good[i] : least;
        most = o.good[i] > most ? o.good[i] : most;
    }
    print_message("# shares: %llu, the others %llu to %llu\n", (unsigned long long)o.good[0],
                  (unsigned long long)least, (unsigned long long)most);
    assert_true(o.good[0] <= 2 * most);
    assert_true(most <= 2 * least);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(test_oldest_first),
        TEST(test_clients_take_turns),
        TEST(test_clients_that_meet_are_apart),
        TEST(test_priorities_and_classes_are_apart),
        TEST(test_a_burst_is_no_overload),
        TEST(test_a_queue_that_stands_still_is_no_overload),
        TEST(test_a_long_queue_that_moves_fast_is_no_overload),
        TEST(test_newest_first_when_overloaded),
        TEST(test_overload_ends),
        TEST(test_late),
        TEST(test_full_and_standing_still),
        TEST(test_full_and_overloaded),
        TEST(test_a_higher_priority_displaces),
        TEST(test_each_class_has_its_own_room),
        TEST(test_nothing_is_lost),
        TEST(test_goodput_stays),
        TEST(test_a_noisy_client_starves_nobody),
        TEST(test_shares_are_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
