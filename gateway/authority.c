// SPDX-License-Identifier: MIT
#include "gateway/authority.h"

#include "gateway/grammar.h"

#include <arpa/inet.h>
#include <string.h>

#define PORT_MAX 65535

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// How many bytes at the front of s are a registered name; an IPv4 address looks like one, too.
static size_t name_length(struct str s)
{
    size_t i = 0;
    while (i < s.n) {
        bool encoded = s.n - i >= 3 && s.p[i] == '%' && hexadecimal(s.p[i + 1]) >= 0 &&
                       hexadecimal(s.p[i + 2]) >= 0;
        if (!encoded && !is_alphanumeric(s.p[i]) && !is_one_of(s.p[i], "-._~!$&'()*+,;=")) {
            break;
        }
        i += encoded ? 3 : 1;
    }
    return i <= AUTHORITY_MAX_NAME ? i : 0;
}

// How many bytes at the front of s, which begins with a bracket, are an IPv6 address in brackets;
// 0 when it is something else.
static size_t ipv6_length(struct str s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *end = memchr(s.p, ']', s.n);
    size_t n = end ? (size_t)(end - s.p) - 1 : sizeof text;
    if (n >= sizeof text || memchr(s.p + 1, '\0', n)) {
        return 0;
    }
    memcpy(text, s.p + 1, n);
    text[n] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1 ? n + 2 : 0;
}

static bool port_valid(struct str s)
{
    unsigned port = 0;
    for (size_t i = 0; i < s.n; i++) {
        port = is_digit(s.p[i]) ? port * 10 + (unsigned)(s.p[i] - '0') : PORT_MAX + 1;
        if (port > PORT_MAX) {
            return false;
        }
    }
    return true;
}

bool authority_valid(struct str s)
{
    size_t n = s.n && s.p[0] == '[' ? ipv6_length(s) : name_length(s);
    return n &&
           (n == s.n || (s.p[n] == ':' && port_valid((struct str){ s.p + n + 1, s.n - n - 1 })));
}
