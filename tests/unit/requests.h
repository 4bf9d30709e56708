// SPDX-License-Identifier: MIT
// Reads the requests in tests/requests, whose format stands at the head of the files.
#ifndef UNIT_REQUESTS_H
#define UNIT_REQUESTS_H

#include "proto/str.h"

#include <stddef.h>

#define REQUESTS_MAX 1000

struct request_case {
    char *name;
    int status;       // of the answer
    struct str body;  // as the parser gives it; p == NULL in malformed.txt
    struct str bytes; // the request
};

struct requests {
    size_t n;
    struct request_case cases[REQUESTS_MAX];
};

// Reads one of the files; fails the test when it cannot. requests_free() frees what it made.
void requests_read(struct requests *r, const char *file);
void requests_free(struct requests *r);

#endif
