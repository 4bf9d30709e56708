// SPDX-License-Identifier: MIT
// JSON that finds no memory. Linked with --wrap=yyjson_read_opts.
#ifndef TESTS_UNIT_JSON_STARVED_H
#define TESTS_UNIT_JSON_STARVED_H

extern int json_starved; // the n-th text that is read from now on finds no memory; 0: none

#endif
