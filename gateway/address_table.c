// SPDX-License-Identifier: MIT
#include "gateway/address_table.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 9 // the family's kind, then an IPv4 address or the first half of an IPv6 one

struct address_entry {
    struct address_entry *next; // in its bucket
    uint8_t key[KEY_BYTES];
    uint32_t connections;
};

static void make_key(const struct sockaddr *address, uint8_t key[KEY_BYTES])
{
    memset(key, 0, KEY_BYTES);
    if (address->sa_family == AF_INET) {
        key[0] = 4;
        memcpy(key + 1, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(a); // IPv4 clients of a socket that listens on both
        key[0] = mapped ? 4 : 6;
        memcpy(key + 1, a->s6_addr + (mapped ? 12 : 0), mapped ? 4 : 8);
    }
}

static struct address_entry **bucket_of(struct address_table *t, const uint8_t key[KEY_BYTES])
{
    uint32_t hash =
        2166136261u; // FNV-1a; whoever makes it collide only has its own /64s to do it with
    for (size_t i = 0; i < KEY_BYTES; i++) {
        hash = (hash ^ key[i]) * 16777619u;
    }
    return &t->buckets[hash % ADDRESS_BUCKETS];
}

int address_table_take(struct address_table *t, const struct sockaddr *address, uint32_t max,
                       struct address_entry **ret_entry)
{
    uint8_t key[KEY_BYTES];
    make_key(address, key);
    struct address_entry **bucket = bucket_of(t, key), *e = *bucket;
    while (e && memcmp(e->key, key, KEY_BYTES) != 0) {
        e = e->next;
    }
    if (e && e->connections >= max) {
        return -EDQUOT;
    }
    if (!e) {
        e = calloc(1, sizeof *e);
        if (!e) {
            return -ENOMEM;
        }
        memcpy(e->key, key, KEY_BYTES);
        e->next = *bucket;
        *bucket = e;
    }
    e->connections++;
    *ret_entry = e;
    return 0;
}

void address_table_give(struct address_table *t, struct address_entry **entry)
{
    struct address_entry *e = *entry;
    *entry = NULL;
    if (!e) {
        return;
    }
    assert(e->connections > 0);
    if (--e->connections > 0) {
        return;
    }
    struct address_entry **at = bucket_of(t, e->key);
    while (*at != e) {
        at = &(*at)->next;
    }
    *at = e->next;
    free(e);
}
