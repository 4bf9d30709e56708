// SPDX-License-Identifier: MIT
#include "gateway/entity_tag.h"

#include <assert.h>
#include <sodium.h>

#define SHAPE_SUFFIX 18 // "-v" and 16 digits

void entity_tag_of(struct str content, char out[ENTITY_TAG_HASH_SIZE])
{
    uint8_t hash[(ENTITY_TAG_HASH_SIZE - 3) / 2];
    int rc = crypto_generichash(hash, sizeof hash, (const uint8_t *)content.p, content.n, NULL, 0);
    assert(rc == 0); // fails only for impossible sizes
    out[0] = '"';
    (void)sodium_bin2hex(out + 1, 2 * sizeof hash + 1, hash, sizeof hash);
    memcpy(out + 1 + 2 * sizeof hash, "\"", 2);
}

struct str entity_tag_suffix(uint64_t shape, bool msgpack, char out[ENTITY_TAG_SUFFIX_MAX])
{
    static_assert(SHAPE_SUFFIX + 2 <= ENTITY_TAG_SUFFIX_MAX, "both fit");
    size_t n = 0;
    if (shape) { // by hand, because every masked answer has one
        memcpy(out, "-v", 2);
        for (n = 2; n < SHAPE_SUFFIX; n++) {
            out[n] = "0123456789abcdef"[shape >> 4 * (SHAPE_SUFFIX - 1 - n) & 15];
        }
    }
    if (msgpack) {
        memcpy(out + n, "-m", 2);
        n += 2;
    }
    return (struct str){ out, n };
}

struct str entity_tag_make(struct str tag, struct str suffix, enum coding coding,
                           char out[ENTITY_TAG_MAX])
{
    struct str name = coding_name(coding);
    size_t coded = coding == CODING_IDENTITY ? 0 : name.n + 1;
    if (tag.n < 2 || tag.p[tag.n - 1] != '"' || tag.n + suffix.n + coded > ENTITY_TAG_MAX) {
        return (struct str){ NULL, 0 };
    }
    size_t n = tag.n - 1;
    memcpy(out, tag.p, n);
    if (suffix.n) {
        memcpy(out + n, suffix.p, suffix.n);
        n += suffix.n;
    }
    if (coded) {
        out[n] = '-';
        memcpy(out + n + 1, name.p, name.n);
        n += coded;
    }
    out[n++] = '"';
    return (struct str){ out, n };
}

static bool ends_with(struct str s, struct str end)
{
    return s.n >= end.n && (end.n == 0 || memcmp(s.p + s.n - end.n, end.p, end.n) == 0);
}

static bool ends_with_coding(struct str s, enum coding coding)
{
    struct str name = coding_name(coding);
    return coding != CODING_IDENTITY && s.n > name.n && ends_with(s, name) &&
           s.p[s.n - name.n - 1] == '-';
}

static bool ends_with_shape(struct str s)
{
    if (s.n < SHAPE_SUFFIX || memcmp(s.p + s.n - SHAPE_SUFFIX, "-v", 2) != 0) {
        return false;
    }
    for (size_t i = s.n - SHAPE_SUFFIX + 2; i < s.n; i++) {
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f')) {
            return false;
        }
    }
    return true;
}

// What a tag (without its quotes) becomes: how many of its bytes stay.
struct rule {
    bool any;          // whatever representation it is of
    struct str suffix; // else this one's
    enum coding coding;
    bool coded;
};

static size_t strip_any(struct str tag)
{
    for (enum coding c = CODING_GZIP; c < CODING_COUNT; c++) {
        if (ends_with_coding(tag, c)) {
            tag.n -= coding_name(c).n + 1;
            break;
        }
    }
    tag.n -= ends_with(tag, STR("-m")) ? 2 : 0;
    tag.n -= ends_with_shape(tag) ? SHAPE_SUFFIX : 0;
    return tag.n;
}

static size_t strip_one(struct str tag, struct rule *rule)
{
    bool coded = ends_with_coding(tag, rule->coding);
    struct str plain = { tag.p, tag.n - (coded ? coding_name(rule->coding).n + 1 : 0) };
    if (!ends_with(plain, rule->suffix)) {
        return 0;
    }
    rule->coded = rule->coded || coded;
    return plain.n - rule->suffix.n;
}

static void strip(char *text, size_t *n, struct rule *rule)
{
    size_t out = 0, opened = 0; // where the tag at hand began in the output
    bool quoted = false;
    for (size_t i = 0; i < *n; i++) {
        if (text[i] == '"' && quoted) {
            struct str tag = { text + opened, out - opened };
            out = opened + (rule->any ? strip_any(tag) : strip_one(tag, rule));
        }
        quoted ^= text[i] == '"';
        text[out++] = text[i];
        if (text[i] == '"') {
            opened = out;
        }
    }
    *n = out;
}

void entity_tag_strip_all(char *text, size_t *n)
{
    strip(text, n, &(struct rule){ .any = true });
}

void entity_tag_strip(char *text, size_t *n, struct str suffix, enum coding coding, bool *ret_coded)
{
    struct rule rule = { .suffix = suffix, .coding = coding };
    strip(text, n, &rule);
    *ret_coded = rule.coded;
}
