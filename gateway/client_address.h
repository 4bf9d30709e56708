// SPDX-License-Identifier: MIT
// Who a request comes from. Without SLUICE_TRUSTED_PROXIES that is the TCP peer, whatever the
// request says. When the peer is a trusted proxy, it is the right-most address in the field that
// proxies append to (SLUICE_CLIENT_FIELD) that is not one of theirs: what stands left of it was
// written by the client, who may write anything. Only one field is believed: a proxy that appends
// to one passes the other on as the client made it up.
#ifndef GATEWAY_CLIENT_ADDRESS_H
#define GATEWAY_CLIENT_ADDRESS_H

#include "gateway/networks.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct http_request;

#define CLIENT_NETWORKS_MAX 64 // of SLUICE_TRUSTED_PROXIES -> an error at start
#define CLIENT_HOPS_MAX 16     // addresses looked at in one request -> the last of them counts

struct client_address {
    uint8_t bytes[16];           // IPv6; IPv4 as ::ffff:a.b.c.d
    bool known;                  // false: a unix socket that was handed over is nobody's address
    char text[INET6_ADDRSTRLEN]; // IPv4, or IPv6 as RFC 5952 writes it; "" when not known
};

struct client_networks {
    struct network list[CLIENT_NETWORKS_MAX];
    uint32_t n;
};

// What limits count as one client: the IPv4 address, or the /64 of an IPv6 one, because that is
// what one customer gets.
#define CLIENT_KEY_BYTES 16
void client_address_key(const struct client_address *a, uint8_t ret_key[CLIENT_KEY_BYTES]);

void client_address_of_peer(const struct sockaddr *peer, struct client_address *ret_address);

// Parses "10.0.0.0/8, 192.0.2.7, fd00::/8" (NULL or "": none). Returns 0, or -EINVAL with the entry
// that is wrong in *ret_wrong: it is no address, its prefix is too long, or bits behind the prefix
// are set; -E2BIG when there are more than CLIENT_NETWORKS_MAX.
__attribute__((warn_unused_result)) int client_networks_parse(const char *text,
                                                              struct client_networks *ret_networks,
                                                              struct str *ret_wrong);

bool client_networks_have(const struct client_networks *networks, const struct client_address *a);

// The client of a request that came from peer. field is "x-forwarded-for" or "forwarded" (RFC
// 7239). An entry that is no address (`unknown`, an obfuscated name, anything else) ends the
// search: the proxy that wrote it counts as the client.
void client_address_resolve(const struct client_networks *proxies, const char *field,
                            const struct client_address *peer, const struct http_request *request,
                            struct client_address *ret_address);

#endif
