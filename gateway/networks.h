// SPDX-License-Identifier: MIT
// Sets of addresses, each written as ADDRESS or ADDRESS/BITS (CIDR, RFC 4632; IPv6 as RFC 4291
// section 2.3). An IPv4 address is the same as the IPv6 address that it is mapped to.
#ifndef GATEWAY_NETWORKS_H
#define GATEWAY_NETWORKS_H

#include "proto/str.h"

#include <stdint.h>

struct network {
    uint8_t address[16]; // IPv6, or IPv4 mapped into it
    unsigned bits;       // of address that count
};

// Returns 0 or -EINVAL; also when bits behind the prefix are set, which is most often a slip.
__attribute__((warn_unused_result)) int network_parse(struct str text, struct network *ret_network);

// Parses text that is nothing but an address. *ret_is_v4: it was written as IPv4. Returns 0 or
// -EINVAL.
__attribute__((warn_unused_result)) int
network_address_parse(struct str text, uint8_t ret_address[16], bool *ret_is_v4);

// Whether the address is in one of the n networks.
bool networks_have(const struct network *networks, size_t n, const uint8_t address[16]);

#endif
