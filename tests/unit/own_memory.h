// SPDX-License-Identifier: MIT
// Looks through the memory of the test's own process for what must not be there.
#ifndef TESTS_UNIT_OWN_MEMORY_H
#define TESTS_UNIT_OWN_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define OWN_MEMORY_MASK 0x55
#define OWN_MEMORY_MAX 64 // bytes that are looked for

// Whether what can be written of this process, but for the main thread's stack, has these n bytes. Each of them is
// given combined (xor) with OWN_MEMORY_MASK, so that what is looked for is not itself found. Freed memory is
// read, too, which only the kernel may do under AddressSanitizer, whose own maps of terabytes are left out.
bool own_memory_has(const char *masked, size_t n);

#endif
