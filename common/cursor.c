// SPDX-License-Identifier: MIT
#include "common/cursor.h"

#include "common/base64url.h"
#include "proto/reader.h"
#include "proto/writer.h"

#include <errno.h>
#include <sodium.h>

#define HEAD_BYTES (crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES)

_Static_assert(CURSOR_KEY_BYTES == crypto_secretbox_KEYBYTES, "the key is that of a secretbox");

static void write_position(const unsigned char *list, const struct cursor_position *position,
                           struct buf *b)
{
    writer_array(b, 1 + 2 * CURSOR_VALUES);
    writer_bin(b, (struct str){ (const char *)list, CURSOR_LIST_BYTES });
    for (size_t i = 0; i < CURSOR_VALUES; i++) {
        if (position->text[i].p) {
            writer_str(b, position->text[i]);
        } else {
            writer_nil(b);
        }
        writer_int(b, position->number[i]);
    }
}

int cursor_read(struct str plain, const unsigned char list[CURSOR_LIST_BYTES],
                struct cursor_position *ret_position)
{
    struct reader r = reader_of(plain);
    struct str hash;
    uint32_t count;
    if (reader_array(&r, &count) || count != 1 + 2 * CURSOR_VALUES || reader_bin(&r, &hash) ||
        !str_eq(hash, (struct str){ (const char *)list, CURSOR_LIST_BYTES })) {
        return -EINVAL;
    }
    for (size_t i = 0; i < CURSOR_VALUES; i++) {
        if (reader_str_or_nil(&r, &ret_position->text[i]) ||
            reader_int(&r, &ret_position->number[i])) {
            return -EINVAL;
        }
    }
    return reader_left(&r) ? -EINVAL : 0;
}

struct str cursor_seal(const unsigned char key[CURSOR_KEY_BYTES],
                       const unsigned char list[CURSOR_LIST_BYTES],
                       const struct cursor_position *position, struct arena *arena)
{
    unsigned char sealed[CURSOR_BYTES];
    struct str text = { NULL, 0 };
    struct buf plain;
    buf_init(&plain, CURSOR_BYTES - HEAD_BYTES);
    write_position(list, position, &plain);
    size_t n = plain.len + HEAD_BYTES;
    char *out = buf_ok(&plain) ? arena_alloc(arena, BASE64URL_SIZE(n)) : NULL;
    if (out) {
        randombytes_buf(sealed, crypto_secretbox_NONCEBYTES);
        (void)crypto_secretbox_easy(sealed + crypto_secretbox_NONCEBYTES,
                                    (const unsigned char *)plain.data, plain.len, sealed,
                                    key); // fails only for absurd lengths
        text = base64url_encode(sealed, n, out);
    }
    buf_fini(&plain);
    return text;
}

int cursor_open(const unsigned char key[CURSOR_KEY_BYTES],
                const unsigned char list[CURSOR_LIST_BYTES], struct str text, struct arena *arena,
                struct cursor_position *ret_position)
{
    unsigned char sealed[CURSOR_BYTES], *plain = arena_alloc(arena, sizeof sealed);
    const size_t nonce = crypto_secretbox_NONCEBYTES;
    size_t n = 0;
    if (!plain || base64url_decode(text, sealed, sizeof sealed, &n) || n < HEAD_BYTES ||
        crypto_secretbox_open_easy(plain, sealed + nonce, n - nonce, sealed, key)) {
        return -EINVAL;
    }
    return cursor_read((struct str){ (const char *)plain, n - HEAD_BYTES }, list, ret_position);
}
