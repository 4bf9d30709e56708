// SPDX-License-Identifier: MIT
// Random bytes for identifiers: from the kernel, fetched in batches per thread, so that an id costs
// no system call. Not for keys, tokens or passwords: what was handed out stays in memory until the
// batch is replaced; those take libsodium's randombytes_buf().
#ifndef COMMON_RANDOM_H
#define COMMON_RANDOM_H

#include <stddef.h>

// Fills out with n unpredictable bytes. Thread-safe; a forked child does not repeat its parent's
// bytes.
void random_fill(void *out, size_t n);

#endif
