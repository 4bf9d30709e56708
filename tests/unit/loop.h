// SPDX-License-Identifier: MIT
// A libuv loop for each test case, waiting that always ends, and helper processes: a test program starts itself
// again with a role, because libzmq, SQLite and threads must not be carried over a fork.
#ifndef TESTS_UNIT_LOOP_H
#define TESTS_UNIT_LOOP_H

#include <sys/types.h>
#include <uv.h>

// The loop of the current case.
extern uv_loop_t loop;

// Set-up and tear-down: the loop, in a temporary directory (tests/unit/temp_dir.h). The tear-down runs the loop
// until every handle is closed and fails when one is left open.
int loop_enter(void **state);
int loop_leave(void **state);

// Only the loop, for helper processes.
int loop_start(void);

#define LOOP_CASE(name) cmocka_unit_test_setup_teardown(name, loop_enter, loop_leave)

// Runs the loop until condition holds; fails the case when that takes longer than limit_ms.
#define LOOP_UNTIL(condition, limit_ms)         \
    do {                                        \
        loop_limit(limit_ms);                   \
        while (!(condition)) {                  \
            loop_turn(#condition);              \
        }                                       \
    } while (0)

void loop_limit(int limit_ms);
void loop_turn(const char *waiting_for);

// Runs the loop for that long: to show that something does not happen.
void loop_for(int ms);

int64_t loop_now_ms(void);

// Runs this program again as `<program> role arguments...` (at most 6, ended by NULL). It dies with its parent.
pid_t helper_start(const char *role, ...) __attribute__((sentinel));

// Waits for it, at most limit_ms; then it is killed. Returns its exit status, or minus the signal that ended it.
int helper_wait(pid_t pid, int limit_ms);

// Kills it with SIGKILL and waits until it is gone.
void helper_kill(pid_t pid);

#endif
