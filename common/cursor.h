// SPDX-License-Identifier: MIT
// Cursors: the position in a keyset list, as an opaque text for clients. It is sealed (XSalsa20 and
// Poly1305), so nobody reads or makes one, and bound to the list it was made for.
#ifndef COMMON_CURSOR_H
#define COMMON_CURSOR_H

#include "common/arena.h"

#include <stdint.h>

#define CURSOR_KEY_BYTES 32
#define CURSOR_LIST_BYTES 16 // hash of what a list is: operation, caller, filters
#define CURSOR_BYTES 768     // sealed, before base64url; longer sort keys make no cursor
#define CURSOR_VALUES 3

struct cursor_position {
    struct str text[CURSOR_VALUES]; // values of the last row's sort keys; p == NULL: none
    int64_t number[CURSOR_VALUES];
};

// Makes the text of a position; p == NULL when it is too long or there is no memory.
struct str cursor_seal(const unsigned char key[CURSOR_KEY_BYTES],
                       const unsigned char list[CURSOR_LIST_BYTES],
                       const struct cursor_position *position, struct arena *arena);

// Reads the text of a position, whose texts are in the arena then. Returns 0, or -EINVAL when it
// was not sealed with this key for this list.
__attribute__((warn_unused_result)) int cursor_open(const unsigned char key[CURSOR_KEY_BYTES],
                                                    const unsigned char list[CURSOR_LIST_BYTES],
                                                    struct str text, struct arena *arena,
                                                    struct cursor_position *ret_position);

// What cursor_open() does with the bytes that were sealed.
__attribute__((warn_unused_result)) int cursor_read(struct str plain,
                                                    const unsigned char list[CURSOR_LIST_BYTES],
                                                    struct cursor_position *ret_position);

#endif
