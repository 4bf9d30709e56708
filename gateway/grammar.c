// SPDX-License-Identifier: MIT
#include "gateway/grammar.h"

#include <strings.h>

bool is_field_name(struct str s)
{
    bool ok = s.n > 0 && s.n <= FIELD_NAME_MAX;
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = is_token(s.p[i]) && !(s.p[i] >= 'A' && s.p[i] <= 'Z');
    }
    return ok;
}

bool list_has(struct str list, struct str token)
{
    size_t start = 0;
    for (size_t i = 0; i <= list.n; i++) {
        if (i < list.n && list.p[i] != ',') {
            continue;
        }
        size_t end = i;
        while (start < end && is_blank(list.p[start])) {
            start++;
        }
        while (end > start && is_blank(list.p[end - 1])) {
            end--;
        }
        if (end - start == token.n && strncasecmp(list.p + start, token.p, token.n) == 0) {
            return true;
        }
        start = i + 1;
    }
    return false;
}
