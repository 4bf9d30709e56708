// SPDX-License-Identifier: MIT
// Batching must not show: no repeats within a thread, between threads, or between a parent and its
// child.
#include "common/random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define N_THREADS 4
#define PER_THREAD 5000

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(uint64_t));
}

static void *fill(void *data)
{
    uint64_t *values = data;
    for (int i = 0; i < PER_THREAD; i++) {
        random_fill(&values[i], sizeof(values[i]));
    }
    return NULL;
}

static void test_threads_do_not_repeat(void **state)
{
    (void)state;
    static uint64_t values[N_THREADS * PER_THREAD];
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, fill, values + i * PER_THREAD), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    qsort(values, N_THREADS * PER_THREAD, sizeof(values[0]), compare);
    for (int i = 1; i < N_THREADS * PER_THREAD; i++) {
        assert_int_not_equal(values[i], values[i - 1]);
    }
}

static void test_a_child_does_not_repeat_its_parent(void **state)
{
    (void)state;
    uint64_t first, mine, theirs;
    random_fill(&first, sizeof(first)); // the pool is filled, and copied by the fork
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        random_fill(&mine, sizeof(mine));
        _exit(write(ends[1], &mine, sizeof(mine)) == sizeof(mine) ? 0 : 1);
    }
    random_fill(&mine, sizeof(mine));
    assert_int_equal(read(ends[0], &theirs, sizeof(theirs)), sizeof(theirs));
    assert_int_not_equal(mine, theirs);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(ends[0]);
    close(ends[1]);
}

static void test_sizes_around_the_batch(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 600; n += 25) {
        unsigned char bytes[602];
        memset(bytes, 0, sizeof(bytes));
        random_fill(bytes + 1, n);
        assert_int_equal(bytes[0], 0);
        assert_int_equal(bytes[n + 1], 0);
        size_t zeros = 0;
        for (size_t i = 1; i <= n; i++) {
            zeros += bytes[i] == 0;
        }
        assert_true(zeros <= 3 + n / 20); // far from what a part that was left out would make
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_repeat),
        cmocka_unit_test(test_a_child_does_not_repeat_its_parent),
        cmocka_unit_test(test_sizes_around_the_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
