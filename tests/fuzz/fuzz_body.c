// SPDX-License-Identifier: MIT
// Bodies: a byte, then JSON (byte even) or MessagePack (byte odd). What is taken as JSON is sound MessagePack, comes
// out as JSON again, and that means the same; what is taken as MessagePack can be said in JSON, unless it has what
// JSON has not. Every refusal says what and where.
#include "tests/fuzz/fuzz.h"

#include "common/json_to_msgpack.h"
#include "common/msgpack_to_json.h"

#include <errno.h>

#define MAX_BYTES (8 * 1024 * 1024)

static void require_said(const struct json_error *e, size_t n)
{
    REQUIRE(e->what && *e->what && e->position <= n);
}

// The JSON of packed, which must be one value; its status.
static int print(struct str packed, struct buf *json)
{
    struct str copy = exact(packed);
    struct reader r = reader_of(copy);
    int status = msgpack_to_json(&r, json);
    REQUIRE(status || reader_left(&r) == 0);
    drop(copy);
    return status;
}

// What came from JSON goes there and back again.
static void check_round(struct str packed)
{
    struct buf json, again;
    struct json_error error;
    buf_init(&json, MAX_BYTES);
    buf_init(&again, MAX_BYTES);
    REQUIRE(msgpack_check(packed, &error) == 0);
    REQUIRE(print(packed, &json) == 0);
    REQUIRE(json_to_msgpack(buf_str(&json), &again, &error) == 0);
    REQUIRE(str_eq(buf_str(&again), packed));
    buf_fini(&json);
    buf_fini(&again);
}

// By its first byte (fixmap, map 16, map 32).
static bool is_map(struct str packed)
{
    uint8_t first = packed.n ? (uint8_t)packed.p[0] : 0;
    return (first & 0xF0) == 0x80 || first == 0xDE || first == 0xDF;
}

static void check_json(struct str json)
{
    struct buf packed;
    struct json_error error = { NULL, 0, 0, 0 };
    struct str copy = exact(json);
    buf_init(&packed, MAX_BYTES);
    int status = json_to_msgpack(copy, &packed, &error);
    REQUIRE(status == 0 || status == -EINVAL);
    if (status) {
        require_said(&error, json.n);
        REQUIRE(error.line >= 1 && error.column >= 1);
    } else {
        check_round(buf_str(&packed));
    }
    REQUIRE(json_is_object(copy) == (status == 0 && is_map(buf_str(&packed))));
    drop(copy);
    buf_fini(&packed);
}

// Doubles that are not finite are sound MessagePack, and no JSON.
static void check_packed(struct str packed)
{
    struct buf json, again;
    struct json_error error = { NULL, 0, 0, 0 };
    struct str copy = exact(packed);
    buf_init(&json, MAX_BYTES);
    buf_init(&again, MAX_BYTES);
    int status = msgpack_check(copy, &error);
    REQUIRE(status == 0 || status == -EINVAL);
    if (status) {
        require_said(&error, packed.n);
    } else if (print(copy, &json) == 0 && json_to_msgpack(buf_str(&json), &again, &error) == 0) {
        check_round(buf_str(&again));
    }
    drop(copy);
    buf_fini(&json);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = { (const char *)data, size };
    if (take_byte(&input) & 1) {
        check_packed(input);
    } else {
        check_json(input);
    }
    return 0;
}
