// SPDX-License-Identifier: MIT
// What the fuzz drivers share. Each driver is one file with LLVMFuzzerTestOneInput(), which feeds one parser with
// bytes and requires of it what must hold for any bytes; tests/fuzz/run runs them.
//
// To add a driver: a file here, its name in meson.build and tests/fuzz/run, seeds in seeds.py.
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include "proto/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Like assert(), but says so in the words of a finding.
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

// Takes one byte off the front; 0 when there is none.
static inline uint8_t take_byte(struct str *s)
{
    if (s->n == 0) {
        return 0;
    }
    s->n--;
    return (uint8_t)*s->p++;
}

// A copy of exactly its size, so that a read behind its end is seen. The caller frees it.
static inline struct str exact(struct str s)
{
    char *p = malloc(s.n ? s.n : 1);
    REQUIRE(p);
    if (s.n) {
        memcpy(p, s.p, s.n);
    }
    return (struct str){ p, s.n };
}

static inline void drop(struct str s)
{
    free((char *)s.p);
}

#endif
