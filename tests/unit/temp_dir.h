// SPDX-License-Identifier: MIT
// A directory of its own for each test case: the case runs in it, and it is removed afterwards. Its
// path is short enough for unix sockets in it.
#ifndef TESTS_UNIT_TEMP_DIR_H
#define TESTS_UNIT_TEMP_DIR_H

// Set-up and tear-down functions for cmocka.
int temp_dir_enter(void **state);
int temp_dir_leave(void **state);

// The absolute path of the current one.
const char *temp_dir(void);

#define TEMP_DIR_CASE(name) cmocka_unit_test_setup_teardown(name, temp_dir_enter, temp_dir_leave)

#endif
