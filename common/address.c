// SPDX-License-Identifier: MIT
#include "common/address.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HOST_SIZE 256 // a DNS name has at most 253 characters
#define PORT_SIZE 6

static int parse_unix(struct str path, struct address *ret_address)
{
    if (path.n == 0 || path.p[0] != '/' || memchr(path.p, '\0', path.n)) {
        return -EINVAL;
    }
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    if (path.n >= sizeof(to.sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(to.sun_path, path.p, path.n);
    *ret_address = (struct address){ .length = (socklen_t)sizeof(to) };
    memcpy(&ret_address->socket, &to, sizeof(to));
    return 0;
}

static bool is_port(const char *text)
{
    int value = 0;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9') {
            return false;
        }
        value = value * 10 + (*p - '0'); // at most five digits
    }
    return value >= 1 && value <= 65535;
}

// Splits at the last colon and takes the brackets off an IPv6 address.
static int split(struct str text, char host[HOST_SIZE], char port[PORT_SIZE])
{
    const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
    if (!colon || memchr(text.p, '\0', text.n)) {
        return -EINVAL;
    }
    struct str name = { text.p, (size_t)(colon - text.p) };
    struct str number = { colon + 1, text.n - name.n - 1 };
    bool bracketed = name.n >= 2 && name.p[0] == '[' && name.p[name.n - 1] == ']';
    if (bracketed) {
        name = (struct str){ name.p + 1, name.n - 2 };
    }
    if (name.n == 0 || name.n >= HOST_SIZE || number.n == 0 || number.n >= PORT_SIZE) {
        return -EINVAL;
    }
    if ((memchr(name.p, ':', name.n) != NULL) != bracketed) {
        return -EINVAL; // "::1:80" could be read in two ways
    }
    memcpy(host, name.p, name.n);
    host[name.n] = '\0';
    memcpy(port, number.p, number.n);
    port[number.n] = '\0';
    return is_port(port) ? 0 : -EINVAL;
}

int address_parse(struct str text, struct address *ret_address)
{
    if (str_starts(text, STR("unix:"))) {
        return parse_unix((struct str){ text.p + 5, text.n - 5 }, ret_address);
    }
    char host[HOST_SIZE], port[PORT_SIZE];
    int r = split(text, host, port);
    if (r < 0) {
        return r;
    }
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    r = getaddrinfo(host, port, &hints, &found);
    if (r != 0) {
        return r == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH;
    }
    assert(found->ai_addrlen <= sizeof(ret_address->socket));
    *ret_address = (struct address){ .length = found->ai_addrlen };
    memcpy(&ret_address->socket, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

const char *address_path(const struct address *a)
{
    if (a->socket.ss_family != AF_UNIX) {
        return NULL;
    }
    return (const char *)&a->socket + offsetof(struct sockaddr_un, sun_path);
}

// Whether the socket at this address has nobody behind it any more.
static bool is_stale(const struct address *address)
{
    struct stat st;
    if (lstat(address_path(address), &st) < 0 || !S_ISSOCK(st.st_mode)) {
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    bool refused = connect(fd, (const struct sockaddr *)&address->socket, address->length) < 0 &&
                   errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int bind_to(int fd, const struct address *address)
{
    const char *path = address_path(address);
    // On Linux the file gets the mode of the unbound socket, so there is no moment in which others
    // may connect.
    if (path && fchmod(fd, 0600) < 0) {
        return -errno;
    }
    int one = 1;
    if (!path && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0) {
        return -errno;
    }
    if (bind(fd, (const struct sockaddr *)&address->socket, address->length) == 0) {
        return 0;
    }
    int r = -errno;
    if (r != -EADDRINUSE || !path || !is_stale(address)) {
        return r;
    }
    if (unlink(path) < 0 ||
        bind(fd, (const struct sockaddr *)&address->socket, address->length) < 0) {
        return -errno;
    }
    return 0;
}

int address_bind(const struct address *address)
{
    int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    int r = bind_to(fd, address);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}
