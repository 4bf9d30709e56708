// SPDX-License-Identifier: MIT
// Members that are picked or left out: paths with commas between them, a NUL, a byte, then JSON (byte even) or
// MessagePack (byte odd). What comes out is sound, has nothing that the paths do not allow, and the rest as it was.
#include "tests/fuzz/fuzz.h"

#include "common/json_to_msgpack.h"
#include "common/msgpack_to_json.h"
#include "gateway/field_filter.h"

#include <errno.h>

#define MAX_BYTES (8 * 1024 * 1024)

typedef int filter_fn(const struct field_filter *f, struct str value, struct buf *out);

// A filter of these paths, as far as they are some.
static void add_paths(struct field_filter *f, struct str paths)
{
    field_filter_init(f);
    while (paths.n) {
        const char *comma = memchr(paths.p, ',', paths.n);
        size_t n = comma ? (size_t)(comma - paths.p) : paths.n;
        int rc = field_filter_add(f, (struct str){ paths.p, n });
        REQUIRE(rc == 0 || rc == -EINVAL || rc == -E2BIG);
        REQUIRE(f->n <= FIELD_FILTER_NODES);
        paths = (struct str){ paths.p + n + (comma != NULL), paths.n - n - (comma != NULL) };
    }
}

static int run(filter_fn *filter, const struct field_filter *f, struct str value, struct buf *out)
{
    struct str copy = exact(value);
    buf_init(out, MAX_BYTES);
    int rc = filter(f, copy, out);
    REQUIRE(rc == 0 || rc == -EBADMSG);
    drop(copy);
    return rc;
}

// The same paths below a member v.
static void box_paths(struct str paths, struct buf *out)
{
    buf_append_z(out, "v.");
    for (size_t i = 0; i < paths.n; i++) {
        buf_append_char(out, paths.p[i]);
        buf_append_z(out, paths.p[i] == ',' ? "v." : "");
    }
}

// Filtering again finds nothing more to do. {"v": ...} is never a list, which a value may become when members go.
static void check_twice(filter_fn *filter, const struct field_filter *f, struct str value)
{
    struct buf boxed, once, again;
    struct json_error error;
    buf_init(&boxed, MAX_BYTES);
    buf_append(&boxed, "\x81\xa1v", 3);
    buf_append_str(&boxed, value);
    if (run(filter, f, buf_str(&boxed), &once) == 0) {
        REQUIRE(msgpack_check(buf_str(&once), &error) == 0);
        REQUIRE(once.len <= boxed.len);
        REQUIRE(run(filter, f, buf_str(&once), &again) == 0);
        REQUIRE(str_eq(buf_str(&once), buf_str(&again)));
        buf_fini(&again);
    }
    buf_fini(&once);
    buf_fini(&boxed);
}

// No paths: nothing is picked of a map, and nothing left out of anything.
static void check_without_paths(struct str value)
{
    struct field_filter none;
    struct buf out;
    field_filter_init(&none);
    REQUIRE(run(field_filter_drop, &none, value, &out) == 0);
    struct reader before = reader_of(value), after = reader_of(buf_str(&out));
    struct buf a, b;
    buf_init(&a, MAX_BYTES);
    buf_init(&b, MAX_BYTES);
    int rc = msgpack_to_json(&before, &a);
    REQUIRE(rc == msgpack_to_json(&after, &b));
    REQUIRE(rc || str_eq(buf_str(&a), buf_str(&b)));
    buf_fini(&a);
    buf_fini(&b);
    buf_fini(&out);
}

static void check_value(const struct field_filter *f, const struct field_filter *boxed,
                        struct str value)
{
    struct json_error error;
    struct buf out;
    bool sound = msgpack_check(value, &error) == 0;
    filter_fn *const filters[] = { field_filter_keep, field_filter_drop };
    for (size_t i = 0; i < 2; i++) {
        int rc = run(filters[i], f, value, &out);
        REQUIRE(rc == 0 || !sound);
        REQUIRE(rc || !sound || msgpack_check(buf_str(&out), &error) == 0);
        buf_fini(&out);
        if (sound) {
            check_twice(filters[i], boxed, value);
        }
    }
    if (sound) {
        check_without_paths(value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct field_filter filter, boxed;
    struct str input = { (const char *)data, size };
    const char *nul = memchr(input.p, '\0', input.n);
    if (!nul) {
        return 0;
    }
    struct str paths = exact((struct str){ input.p, (size_t)(nul - input.p) });
    input = (struct str){ nul + 1, input.n - paths.n - 1 };
    bool packed = take_byte(&input) & 1;
    struct buf value, boxed_paths;
    struct json_error error;
    buf_init(&value, MAX_BYTES);
    buf_init(&boxed_paths, MAX_BYTES);
    box_paths(paths, &boxed_paths);
    add_paths(&filter, paths);
    add_paths(&boxed, buf_str(&boxed_paths));
    if (packed) {
        check_value(&filter, &boxed, input);
    } else if (json_to_msgpack(input, &value, &error) == 0) {
        check_value(&filter, &boxed, buf_str(&value));
    }
    buf_fini(&value);
    buf_fini(&boxed_paths);
    drop(paths);
    return 0;
}
