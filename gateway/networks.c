// SPDX-License-Identifier: MIT
#include "gateway/networks.h"

#include <arpa/inet.h>
#include <errno.h>

#define MAPPED_BITS 96 // ::ffff:0:0/96 holds IPv4

int network_address_parse(struct str text, uint8_t ret_address[16], bool *ret_is_v4)
{
    static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };
    char z[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof z || memchr(text.p, '\0', text.n)) {
        return -EINVAL;
    }
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    *ret_is_v4 = inet_pton(AF_INET, z, ret_address + sizeof mapped) == 1;
    if (*ret_is_v4) {
        memcpy(ret_address, mapped, sizeof mapped);
        return 0;
    }
    return inet_pton(AF_INET6, z, ret_address) == 1 ? 0 : -EINVAL;
}

// "0" to "128" without leading zeros; -1 when it is none.
static int parse_bits(struct str s)
{
    int bits = 0;
    if (s.n == 0 || s.n > 3 || (s.n > 1 && s.p[0] == '0')) {
        return -1;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return -1;
        }
        bits = bits * 10 + (s.p[i] - '0');
    }
    return bits;
}

static bool has_bits_behind(const struct network *n)
{
    for (unsigned i = n->bits; i < 128; i++) {
        if (n->address[i / 8] & (0x80U >> i % 8)) {
            return true;
        }
    }
    return false;
}

int network_parse(struct str text, struct network *ret_network)
{
    struct network network;
    bool is_v4;
    const char *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
    size_t n = slash ? (size_t)(slash - text.p) : text.n;
    if (network_address_parse((struct str){ text.p, n }, network.address, &is_v4)) {
        return -EINVAL;
    }
    int bits = slash ? parse_bits((struct str){ slash + 1, text.n - n - 1 }) : is_v4 ? 32 : 128;
    if (bits < 0 || bits > (is_v4 ? 32 : 128)) {
        return -EINVAL;
    }
    network.bits = (unsigned)bits + (is_v4 ? MAPPED_BITS : 0);
    if (has_bits_behind(&network)) {
        return -EINVAL;
    }
    *ret_network = network;
    return 0;
}

static bool network_has(const struct network *n, const uint8_t address[16])
{
    unsigned whole = n->bits / 8, rest = n->bits % 8;
    unsigned mask = 0xFFU & ~(0xFFU >> rest);
    return memcmp(n->address, address, whole) == 0 &&
           (rest == 0 || ((n->address[whole] ^ address[whole]) & mask) == 0);
}

bool networks_have(const struct network *networks, size_t n, const uint8_t address[16])
{
    for (size_t i = 0; i < n; i++) {
        if (network_has(&networks[i], address)) {
            return true;
        }
    }
    return false;
}
