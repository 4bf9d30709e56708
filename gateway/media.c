// SPDX-License-Identifier: MIT
#include "gateway/media.h"

#include <strings.h>

#define QUALITY_ONE 1000 // q-values have three digits

static const struct str names[MEDIA_COUNT] = {
    [MEDIA_JSON] = STR_INIT("application/json"),
    [MEDIA_VND_MSGPACK] = STR_INIT("application/vnd.msgpack"),
    [MEDIA_MSGPACK] = STR_INIT("application/msgpack"),
    [MEDIA_X_MSGPACK] = STR_INIT("application/x-msgpack"),
};

struct str media_name(enum media m)
{
    return names[m];
}

static bool equals(struct str a, struct str b)
{
    return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

static struct str trim(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s = (struct str){ s.p + 1, s.n - 1 };
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

// Cuts the part up to the next separator off *rest, trimmed; separators in quotes do not count.
static struct str next_part(struct str *rest, char separator)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->n && (quoted || rest->p[i] != separator); i++) {
        if (rest->p[i] == '"') {
            quoted = !quoted;
        } else if (rest->p[i] == '\\' && quoted && i + 1 < rest->n) {
            i++;
        }
    }
    struct str part = { rest->p, i };
    size_t used = i < rest->n ? i + 1 : i;
    *rest = (struct str){ rest->p + used, rest->n - used };
    return trim(part);
}

// "0", "0.25", "1.000"; -1 when it is not a q-value.
static int parse_quality(struct str s)
{
    if (s.n == 0 || s.n > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.n > 1 && s.p[1] != '.')) {
        return -1;
    }
    int value = (s.p[0] - '0') * QUALITY_ONE;
    int unit = QUALITY_ONE / 10;
    for (size_t i = 2; i < s.n; i++, unit /= 10) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return -1;
        }
        value += (s.p[i] - '0') * unit;
    }
    return value <= QUALITY_ONE ? value : -1;
}

// The q parameter among the parameters of a media range; 1 when there is none.
static int quality_of(struct str parameters)
{
    while (parameters.n) {
        struct str parameter = next_part(&parameters, ';');
        if (parameter.n >= 2 && (parameter.p[0] | 0x20) == 'q' && parameter.p[1] == '=') {
            return parse_quality((struct str){ parameter.p + 2, parameter.n - 2 });
        }
    }
    return QUALITY_ONE;
}

enum media media_accept(struct str accept)
{
    if (trim(accept).n == 0 || str_eq(accept, STR("*/*")) || str_eq(accept, names[MEDIA_JSON])) {
        return MEDIA_JSON;
    }
    int quality[MEDIA_COUNT] = { 0 };
    int precision[MEDIA_COUNT] = {
        0
    }; // of the range that gave the quality: 1 */*, 2 application/*, 3 the name
    while (accept.n) {
        struct str parameters = next_part(&accept, ',');
        struct str range = next_part(&parameters, ';');
        int q = quality_of(parameters);
        for (enum media m = MEDIA_JSON; m < MEDIA_COUNT && q >= 0; m++) {
            int p = equals(range, names[m])               ? 3
                    : equals(range, STR("application/*")) ? 2
                    : equals(range, STR("*/*"))           ? 1
                                                          : 0;
            if (p > precision[m]) {
                precision[m] = p;
                quality[m] = q;
            }
        }
    }
    enum media best = MEDIA_COUNT;
    for (enum media m = MEDIA_JSON; m < MEDIA_COUNT; m++) {
        if (quality[m] > 0 && (best == MEDIA_COUNT || quality[m] > quality[best])) {
            best = m;
        }
    }
    return best;
}

static bool charset_is_utf8(struct str parameters)
{
    while (parameters.n) {
        struct str parameter = next_part(&parameters, ';');
        if (parameter.n > 8 && strncasecmp(parameter.p, "charset=", 8) == 0) {
            struct str value = { parameter.p + 8, parameter.n - 8 };
            return equals(value, STR("utf-8")) || equals(value, STR("\"utf-8\""));
        }
    }
    return true;
}

enum content media_content(struct str content_type)
{
    struct str type = next_part(&content_type, ';');
    if (!charset_is_utf8(content_type)) {
        return CONTENT_OTHER;
    }
    if (equals(type, names[MEDIA_JSON])) {
        return CONTENT_JSON;
    }
    if (equals(type, STR("application/merge-patch+json"))) {
        return CONTENT_MERGE_PATCH;
    }
    for (enum media m = MEDIA_VND_MSGPACK; m < MEDIA_COUNT; m++) {
        if (equals(type, names[m])) {
            return CONTENT_MSGPACK;
        }
    }
    return CONTENT_OTHER;
}

void etag_strip(char *text, size_t *n, bool only_msgpack)
{
    size_t out = 0, opened = 0; // where the tag at hand began in the output
    bool quoted = false;
    for (size_t i = 0; i < *n; i++) {
        if (text[i] == '"' && quoted) {
            bool variant = out >= opened + 2 && text[out - 2] == '-' && text[out - 1] == 'm';
            out = variant ? out - 2 : only_msgpack ? opened : out;
        }
        quoted ^= text[i] == '"';
        text[out++] = text[i];
        if (text[i] == '"') {
            opened = out;
        }
    }
    *n = out;
}
