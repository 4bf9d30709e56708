// SPDX-License-Identifier: MIT
// Request targets and what Accept, If-Match and the like say: a byte, then the text. A target that is taken has
// nothing in it that two readers could understand differently, and means the same however it is encoded.
#include "tests/fuzz/fuzz.h"

#include "gateway/authority.h"
#include "gateway/entity_tag.h"
#include "gateway/media.h"
#include "gateway/target.h"

#include <errno.h>

#define TEXT_BYTES 32768

static void require_clean(struct str s, bool segment)
{
    for (size_t i = 0; i < s.n; i++) {
        REQUIRE(s.p[i] != '\0');
    }
    REQUIRE(!segment || (!str_eq(s, STR(".")) && !str_eq(s, STR(".."))));
}

// All characters percent-encoded: another way to write the same.
static void append_encoded(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        buf_printf(b, "%%%02x", (unsigned)(uint8_t)s.p[i]);
    }
}

static void encode(const struct target *t, struct buf *b)
{
    for (size_t i = 0; i < t->n_segments; i++) {
        buf_append_char(b, '/');
        append_encoded(b, t->segments[i]);
    }
    for (size_t i = 0; i < t->n_query; i++) {
        buf_append_char(b, i ? '&' : '?');
        append_encoded(b, t->query[i].name);
        buf_append_char(b, '=');
        append_encoded(b, t->query[i].value);
    }
}

static void require_same(const struct target *a, const struct target *b)
{
    REQUIRE(a->n_segments == b->n_segments && a->n_query == b->n_query);
    for (size_t i = 0; i < a->n_segments; i++) {
        REQUIRE(str_eq(a->segments[i], b->segments[i]));
    }
    for (size_t i = 0; i < a->n_query; i++) {
        REQUIRE(str_eq(a->query[i].name, b->query[i].name));
        REQUIRE(str_eq(a->query[i].value, b->query[i].value));
    }
}

static void check_target(struct str text)
{
    static struct target target, again;
    const char *detail = NULL;
    struct str copy = exact(text);
    int status = target_parse((char *)copy.p, copy.n, &target, &detail);
    REQUIRE(status == 0 || (status == -EINVAL && detail) || status == -E2BIG);
    if (status == 0 && !target.asterisk && target.n_segments <= HTTP_MAX_SEGMENTS) {
        struct buf b;
        buf_init(&b, 4 * TEXT_BYTES);
        for (size_t i = 0; i < target.n_segments; i++) {
            require_clean(target.segments[i], true);
        }
        for (size_t i = 0; i < target.n_query; i++) {
            require_clean(target.query[i].name, false);
            require_clean(target.query[i].value, false);
        }
        encode(&target, &b);
        REQUIRE(buf_ok(&b) && target_parse(b.data, b.len, &again, &detail) == 0);
        require_same(&target, &again);
        buf_fini(&b);
    }
    drop(copy);
}

// Whatever is stripped off tags, the text only gets shorter.
static void check_tags(struct str text)
{
    char out[ENTITY_TAG_SUFFIX_MAX];
    struct str tags = exact(text);
    size_t n = tags.n;
    entity_tag_strip_all((char *)tags.p, &n);
    REQUIRE(n <= text.n);
    drop(tags);
    for (enum coding coding = CODING_IDENTITY; coding < CODING_COUNT; coding++) {
        for (int msgpack = 0; msgpack < 2; msgpack++) {
            bool coded;
            tags = exact(text);
            n = tags.n;
            struct str suffix = entity_tag_suffix(coding, msgpack, out);
            entity_tag_strip((char *)tags.p, &n, suffix, coding, &coded);
            REQUIRE(n <= text.n);
            drop(tags);
        }
    }
}

static void check_fields(struct str text)
{
    struct str copy = exact(text);
    REQUIRE(media_accept(copy) <= MEDIA_COUNT);
    REQUIRE(media_content(copy) <= CONTENT_OTHER);
    (void)authority_valid(copy);
    (void)coding_accept(copy, 1U << CODING_GZIP | 1U << CODING_ZSTD);
    check_tags(copy);
    drop(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = { (const char *)data, size < TEXT_BYTES ? size : TEXT_BYTES };
    if (take_byte(&input) & 1) {
        check_fields(input);
    } else {
        check_target(input);
    }
    return 0;
}
