// SPDX-License-Identifier: MIT
#include "common/json_memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static void *wiping_malloc(void *context, size_t n)
{
    (void)context;
    return malloc(n);
}

static void wiping_free(void *context, void *memory)
{
    (void)context;
    if (memory) {
        explicit_bzero(memory, malloc_usable_size(memory));
        free(memory);
    }
}

static void *wiping_realloc(void *context, void *memory, size_t old_n, size_t n)
{
    void *moved = malloc(n);
    if (moved) {
        memcpy(moved, memory, old_n < n ? old_n : n);
        wiping_free(context, memory);
    }
    return moved;
}

const yyjson_alc json_wiping_memory = { wiping_malloc, wiping_realloc, wiping_free, NULL };
