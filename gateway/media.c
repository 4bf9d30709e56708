// SPDX-License-Identifier: MIT
#include "gateway/media.h"

#include "gateway/quality.h"

#include <strings.h>

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

enum media media_accept(struct str accept)
{
    if (str_trim(accept).n == 0 || str_eq(accept, STR("*/*")) ||
        str_eq(accept, names[MEDIA_JSON])) {
        return MEDIA_JSON;
    }
    int quality[MEDIA_COUNT] = { 0 };
    int precision[MEDIA_COUNT] = {
        0
    }; // of the range that gave the quality: 1 */*, 2 application/*, 3 the name
    while (accept.n) {
        struct str parameters = quality_next(&accept, ',');
        struct str range = quality_next(&parameters, ';');
        int q = quality_of(parameters);
        for (enum media m = MEDIA_JSON; m < MEDIA_COUNT && q >= 0; m++) {
            int p = quality_same_name(range, names[m])               ? 3
                    : quality_same_name(range, STR("application/*")) ? 2
                    : quality_same_name(range, STR("*/*"))           ? 1
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
        struct str parameter = quality_next(&parameters, ';');
        if (parameter.n > 8 && strncasecmp(parameter.p, "charset=", 8) == 0) {
            struct str value = { parameter.p + 8, parameter.n - 8 };
            return quality_same_name(value, STR("utf-8")) ||
                   quality_same_name(value, STR("\"utf-8\""));
        }
    }
    return true;
}

enum content media_content(struct str content_type)
{
    struct str type = quality_next(&content_type, ';');
    if (!charset_is_utf8(content_type)) {
        return CONTENT_OTHER;
    }
    if (quality_same_name(type, names[MEDIA_JSON])) {
        return CONTENT_JSON;
    }
    if (quality_same_name(type, STR("application/merge-patch+json"))) {
        return CONTENT_MERGE_PATCH;
    }
    for (enum media m = MEDIA_VND_MSGPACK; m < MEDIA_COUNT; m++) {
        if (quality_same_name(type, names[m])) {
            return CONTENT_MSGPACK;
        }
    }
    return CONTENT_OTHER;
}
