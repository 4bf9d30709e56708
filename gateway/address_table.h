// SPDX-License-Identifier: MIT
// How many connections each client address has. IPv6 clients are counted by their /64, because that
// is what one customer gets. An address is forgotten with its last connection, so the table is as
// large as the connections.
#ifndef GATEWAY_ADDRESS_TABLE_H
#define GATEWAY_ADDRESS_TABLE_H

#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_BUCKETS 4096

struct address_entry;

struct address_table {
    struct address_entry *buckets[ADDRESS_BUCKETS];
};

// Counts one connection more. Returns 0 with *ret_entry, which the connection keeps; -EDQUOT when
// the address has max already; -ENOMEM.
__attribute__((warn_unused_result)) int address_table_take(struct address_table *t,
                                                           const struct sockaddr *address,
                                                           uint32_t max,
                                                           struct address_entry **ret_entry);

// Counts one connection less; *entry becomes NULL. NULL is allowed.
void address_table_give(struct address_table *t, struct address_entry **entry);

#endif
