// SPDX-License-Identifier: MIT
#include "gateway/client_address.h"

#include "gateway/http_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = { [10] = 0xFF, [11] = 0xFF };

static bool is_mapped(const uint8_t bytes[16])
{
    return memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0;
}

static void write_text(struct client_address *a)
{
    bool v4 = is_mapped(a->bytes);
    (void)inet_ntop(v4 ? AF_INET : AF_INET6, a->bytes + (v4 ? 12 : 0), a->text, sizeof a->text);
    a->known = true;
}

void client_address_of_peer(const struct sockaddr *peer, struct client_address *ret_address)
{
    *ret_address = (struct client_address){ .known = false };
    if (peer->sa_family == AF_INET) {
        memcpy(ret_address->bytes, mapped_prefix, sizeof mapped_prefix);
        memcpy(ret_address->bytes + 12, &((const struct sockaddr_in *)(const void *)peer)->sin_addr,
               4);
        write_text(ret_address);
    } else if (peer->sa_family == AF_INET6) {
        memcpy(ret_address->bytes, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr,
               16);
        write_text(ret_address);
    }
}

void client_address_key(const struct client_address *a, uint8_t ret_key[CLIENT_KEY_BYTES])
{
    memcpy(ret_key, a->bytes, CLIENT_KEY_BYTES);
    if (!is_mapped(a->bytes)) {
        memset(ret_key + 8, 0, 8);
    }
}

// Parses an address that is nothing but one. *ret_v4 may be NULL.
static bool parse_address(struct str s, uint8_t bytes[16], bool *ret_v4)
{
    char text[INET6_ADDRSTRLEN];
    if (s.n == 0 || s.n >= sizeof text || memchr(s.p, '\0', s.n)) {
        return false;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    bool v4 = inet_pton(AF_INET, text, bytes + 12) == 1;
    if (v4) {
        memcpy(bytes, mapped_prefix, sizeof mapped_prefix);
    }
    if (ret_v4) {
        *ret_v4 = v4;
    }
    return v4 || inet_pton(AF_INET6, text, bytes) == 1;
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

// --- Networks

// The number of 1 to 3 digits that is all of s; -1: it is none.
static int parse_prefix(struct str s)
{
    int value = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return -1;
        }
        value = value * 10 + (s.p[i] - '0');
    }
    return s.n >= 1 && s.n <= 3 ? value : -1;
}

// Whether the first `prefix` bits are the same.
static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned prefix)
{
    unsigned whole = prefix / 8, rest = prefix % 8;
    uint8_t mask = (uint8_t)(0xFF00U >> rest);
    return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

static bool parse_network(struct str s, struct client_network *ret_network)
{
    const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
    struct str address = { s.p, slash ? (size_t)(slash - s.p) : s.n };
    bool v4;
    if (!parse_address(address, ret_network->bytes, &v4)) {
        return false;
    }
    int given = slash ? parse_prefix((struct str){ slash + 1, s.n - address.n - 1 })
                : v4  ? 32
                      : 128;
    if (given < 0 || given > (v4 ? 32 : 128)) {
        return false;
    }
    ret_network->prefix = (uint8_t)(given + (v4 ? 96 : 0));
    uint8_t low[16] = { 0 }; // the first address of the network: no bit behind the prefix is set
    for (unsigned bit = 0; bit < ret_network->prefix; bit++) {
        low[bit / 8] = (uint8_t)(low[bit / 8] | (ret_network->bytes[bit / 8] & 0x80U >> bit % 8));
    }
    return memcmp(low, ret_network->bytes, sizeof low) == 0;
}

int client_networks_parse(const char *text, struct client_networks *ret_networks,
                          struct str *ret_wrong)
{
    ret_networks->n = 0;
    for (const char *p = text; p && *p; p += *p == ',') {
        struct str entry = trim((struct str){ p, strcspn(p, ",") });
        p += strcspn(p, ",");
        if (ret_networks->n == CLIENT_NETWORKS_MAX) {
            return -E2BIG;
        }
        if (!parse_network(entry, &ret_networks->list[ret_networks->n])) {
            *ret_wrong = entry;
            return -EINVAL;
        }
        ret_networks->n++;
    }
    return 0;
}

bool client_networks_have(const struct client_networks *networks, const struct client_address *a)
{
    bool found = false;
    for (uint32_t i = 0; i < networks->n && a->known && !found; i++) {
        const struct client_network *network = &networks->list[i];
        found = same_prefix(network->bytes, a->bytes, network->prefix);
    }
    return found;
}

// --- What proxies write

// ADDRESS, IPV4:PORT, [IPV6] or [IPV6]:PORT.
static bool parse_node(struct str s, struct client_address *ret_address)
{
    struct str address = s, port = { NULL, 0 };
    const char *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
    if (s.n && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        if (!end) {
            return false;
        }
        address = (struct str){ s.p + 1, (size_t)(end - s.p) - 1 };
        port = (struct str){ end + 1, s.n - address.n - 2 };
        if (!memchr(address.p, ':', address.n) ||
            (port.n > 0 && (port.n < 2 || port.p[0] != ':'))) {
            return false;
        }
    } else if (colon && !memchr(colon + 1, ':', s.n - (size_t)(colon - s.p) - 1)) {
        address.n = (size_t)(colon - s.p);
        port = (struct str){ colon, s.n - address.n };
        if (port.n < 2) {
            return false;
        }
    }
    for (size_t i = 1; i < port.n; i++) {
        if (port.p[i] < '0' || port.p[i] > '9' || i > 5) {
            return false;
        }
    }
    if (!parse_address(address, ret_address->bytes, NULL)) {
        return false;
    }
    write_text(ret_address);
    return true;
}

// The value of for= in one element of Forwarded, without quotes; p == NULL: there is none.
static struct str forwarded_for(struct str element)
{
    while (element.n) {
        const char *end = memchr(element.p, ';', element.n);
        struct str pair = { element.p, end ? (size_t)(end - element.p) : element.n };
        size_t used = pair.n + (end ? 1 : 0);
        element = (struct str){ element.p + used, element.n - used };
        pair = trim(pair);
        if (pair.n < 4 || (pair.p[0] | 0x20) != 'f' || (pair.p[1] | 0x20) != 'o' ||
            (pair.p[2] | 0x20) != 'r' || pair.p[3] != '=') {
            continue;
        }
        struct str value = { pair.p + 4, pair.n - 4 };
        bool quoted = value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"';
        return quoted ? (struct str){ value.p + 1, value.n - 2 } : value;
    }
    return (struct str){ NULL, 0 };
}

// Takes the last element off a list. Commas inside quotes separate, too: what that makes of an
// element is no address.
static struct str last_element(struct str *list)
{
    const char *comma = list->n ? memrchr(list->p, ',', list->n) : NULL;
    size_t before = comma ? (size_t)(comma - list->p) : 0;
    struct str element = *list;
    if (comma) {
        element = (struct str){ comma + 1, list->n - before - 1 };
    }
    list->n = before;
    return trim(element);
}

// Walks one field's value from the right, *hops at most. Returns whether to go on with the field
// before it.
static bool walk(const struct client_networks *proxies, struct str list, bool forwarded,
                 unsigned *hops, struct client_address *a)
{
    while (list.n > 0 && *hops > 0) {
        struct str element = last_element(&list);
        if (element.n == 0) {
            continue; // RFC 9110 section 5.6.1: empty elements are none
        }
        struct client_address next;
        --*hops;
        if (!parse_node(forwarded ? forwarded_for(element) : element, &next)) {
            return false;
        }
        *a = next;
        if (!client_networks_have(proxies, a)) {
            return false;
        }
    }
    return *hops > 0;
}

void client_address_resolve(const struct client_networks *proxies, const char *field,
                            const struct client_address *peer, const struct http_request *request,
                            struct client_address *ret_address)
{
    *ret_address = *peer;
    if (proxies->n == 0 || !client_networks_have(proxies, peer)) {
        return;
    }
    unsigned hops = CLIENT_HOPS_MAX;
    bool forwarded = strcmp(field, "forwarded") == 0, more = true;
    for (size_t i = request->n_fields; i > 0 && more; i--) {
        const struct http_field *f = &request->fields[i - 1];
        if (str_eq((struct str){ request->text + f->name, f->name_n }, str_of(field))) {
            more = walk(proxies, (struct str){ request->text + f->value, f->value_n }, forwarded,
                        &hops, ret_address);
        }
    }
}
