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

// --- Networks

int client_networks_parse(const char *text, struct client_networks *ret_networks,
                          struct str *ret_wrong)
{
    ret_networks->n = 0;
    for (const char *p = text; p && *p; p += *p == ',') {
        struct str entry = str_trim((struct str){ p, strcspn(p, ",") });
        p += strcspn(p, ",");
        if (ret_networks->n == CLIENT_NETWORKS_MAX) {
            return -E2BIG;
        }
        if (network_parse(entry, &ret_networks->list[ret_networks->n])) {
            *ret_wrong = entry;
            return -EINVAL;
        }
        ret_networks->n++;
    }
    return 0;
}

bool client_networks_have(const struct client_networks *networks, const struct client_address *a)
{
    return a->known && networks_have(networks->list, networks->n, a->bytes);
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
    bool is_v4;
    if (network_address_parse(address, ret_address->bytes, &is_v4)) {
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
        pair = str_trim(pair);
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
    return str_trim(element);
}

// Walks the list from the right, over at most CLIENT_HOPS_MAX addresses.
static void walk(const struct client_networks *proxies, struct str list, bool forwarded,
                 struct client_address *a)
{
    for (unsigned hops = CLIENT_HOPS_MAX; list.n > 0 && hops > 0;) {
        struct str element = last_element(&list);
        if (element.n == 0) {
            continue; // RFC 9110 section 5.6.1: empty elements are none
        }
        struct client_address next;
        hops--;
        if (!parse_node(forwarded ? forwarded_for(element) : element, &next)) {
            return;
        }
        *a = next;
        if (!client_networks_have(proxies, a)) {
            return;
        }
    }
}

void client_address_resolve(const struct client_networks *proxies, const char *field,
                            const struct client_address *peer, const struct http_request *request,
                            struct client_address *ret_address)
{
    *ret_address = *peer;
    if (client_networks_have(proxies, peer)) {
        walk(proxies, http_request_field(request, str_of(field)), strcmp(field, "forwarded") == 0,
             ret_address);
    }
}
