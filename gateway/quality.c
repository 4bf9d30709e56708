// SPDX-License-Identifier: MIT
#include "gateway/quality.h"

#include <strings.h>

bool quality_same_name(struct str a, struct str b)
{
    return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

struct str quality_next(struct str *rest, char separator)
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
    return str_trim(part);
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

int quality_of(struct str parameters)
{
    while (parameters.n) {
        struct str parameter = quality_next(&parameters, ';');
        if (parameter.n >= 2 && (parameter.p[0] | 0x20) == 'q' && parameter.p[1] == '=') {
            return parse_quality((struct str){ parameter.p + 2, parameter.n - 2 });
        }
    }
    return QUALITY_ONE;
}
