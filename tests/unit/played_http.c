// SPDX-License-Identifier: MIT
#include "tests/unit/played_http.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

// Reads a head and as many bytes as its Content-Length says.
static void read_request(struct played_http *s, int fd)
{
    size_t n = 0, wanted = 0;
    while (n < sizeof s->request - 1 && (wanted == 0 || n < wanted)) {
        ssize_t part = recv(fd, s->request + n, sizeof s->request - 1 - n, 0);
        if (part <= 0) {
            break;
        }
        n += (size_t)part;
        s->request[n] = '\0';
        const char *end = strstr(s->request, "\r\n\r\n");
        const char *length = strstr(s->request, "Content-Length: ");
        if (end) {
            wanted = (size_t)(end + 4 - s->request) + (length ? (size_t)atol(length + 16) : 0);
        }
    }
}

static void *play(void *data)
{
    struct played_http *s = data;
    for (int i = 0; s->answers[i]; i++) {
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0) {
            break; // it was ended
        }
        read_request(s, fd);
        (void)send(fd, s->answers[i], strlen(s->answers[i]), MSG_NOSIGNAL);
        atomic_fetch_add(&s->connections, 1);
        if (!*s->answers[i]) {
            char byte;
            (void)recv(fd, &byte, 1, 0);
        }
        (void)close(fd);
    }
    return NULL;
}

static int listen_anywhere(int *ret_port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

void played_http_start(struct played_http *s, const char *const *answers)
{
    memset(s, 0, sizeof *s);
    s->answers = answers;
    s->listener = listen_anywhere(&s->port);
    assert_int_equal(listen(s->listener, 8), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, play, s), 0);
}

void played_http_end(struct played_http *s)
{
    (void)shutdown(s->listener, SHUT_RDWR);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    (void)close(s->listener);
}

int played_http_nobody(void)
{
    int port, fd = listen_anywhere(&port);
    (void)close(fd);
    return port;
}
