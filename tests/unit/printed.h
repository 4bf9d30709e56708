// SPDX-License-Identifier: MIT
// Catches what is printed on standard output and error, also by processes that are started meanwhile,
// in a file of the current directory.
#ifndef TESTS_UNIT_PRINTED_H
#define TESTS_UNIT_PRINTED_H

void printed_begin(void);

// Ends it. The text, valid until the next one is asked for; cut at 64 KiB.
const char *printed_end(void);

#endif
