// SPDX-License-Identifier: MIT
// Cursors: a byte, then the text that a client sends (byte even), or the bytes that are sealed in one (byte odd). No
// text is taken that was not sealed here; a position that can be read is sealed and opened again as it was, for its
// list alone, and no bit of the text can be turned.
#include "tests/fuzz/fuzz.h"

#include "common/base64url.h"
#include "common/cursor.h"

#include <errno.h>
#include <sodium.h>

#define ARENA_BYTES (64 * 1024)

static const unsigned char key[CURSOR_KEY_BYTES] = { 1, 2, 3 };

static void require_refused(const unsigned char *with, const unsigned char *list, struct str text)
{
    struct arena arena;
    struct cursor_position position;
    arena_init(&arena, ARENA_BYTES);
    struct str copy = exact(text);
    REQUIRE(cursor_open(with, list, copy, &arena, &position) == -EINVAL);
    drop(copy);
    arena_fini(&arena);
}

static void require_same(const struct cursor_position *a, const struct cursor_position *b)
{
    for (size_t i = 0; i < CURSOR_VALUES; i++) {
        REQUIRE((a->text[i].p == NULL) == (b->text[i].p == NULL));
        REQUIRE(str_eq(a->text[i], b->text[i]) && a->number[i] == b->number[i]);
    }
}

// Turns one character of the text into another one of the alphabet.
static void check_turned(const unsigned char *list, struct str text, uint8_t place)
{
    char copy[BASE64URL_SIZE(CURSOR_BYTES)];
    memcpy(copy, text.p, text.n);
    size_t at = place % text.n;
    copy[at] = copy[at] == 'A' ? 'B' : 'A';
    require_refused(key, list, (struct str){ copy, text.n });
}

static void check_sealed(struct str plain, uint8_t place)
{
    unsigned char list[CURSOR_LIST_BYTES] = { 0 }, other[CURSOR_LIST_BYTES] = { 1 };
    static const unsigned char other_key[CURSOR_KEY_BYTES] = { 9 };
    struct cursor_position position, again;
    struct arena arena;
    struct str copy = exact(plain);
    arena_init(&arena, ARENA_BYTES);
    if (cursor_read(copy, list, &position) == 0) {
        struct str text = cursor_seal(key, list, &position, &arena);
        if (text.p) { // else its values are too long for a cursor
            REQUIRE(cursor_open(key, list, text, &arena, &again) == 0);
            require_same(&position, &again);
            require_refused(key, other, text);
            require_refused(other_key, list, text);
            check_turned(list, text, place);
        }
    }
    drop(copy);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char list[CURSOR_LIST_BYTES];
    struct str input = { (const char *)data, size };
    uint8_t mode = take_byte(&input);
    if (mode & 1) {
        check_sealed(input, mode >> 1);
    } else {
        require_refused(key, list, input);
    }
    return 0;
}
