// SPDX-License-Identifier: MIT
// Memory for JSON that has secrets in it: keys, passwords. It is overwritten before it is given back.
#ifndef COMMON_JSON_MEMORY_H
#define COMMON_JSON_MEMORY_H

#include <yyjson.h>

// For yyjson_read_opts(): malloc() with free() and realloc() that leave nothing behind.
extern const yyjson_alc json_wiping_memory;

#endif
