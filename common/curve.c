// SPDX-License-Identifier: MIT
// Without a ZAP handler libzmq would accept any client key.
#include "common/curve.h"

#include "common/file.h"
#include "common/key_pairs.h"
#include "common/process.h"
#include "common/sanitized.h"
#include "common/zap.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

struct curve {
    char dir[PATH_MAX - 128]; // leaves room for the file names below it
    bool legacy;
    struct key_pair_keys own;
    struct zap *zap; // NULL in a client
};

static int fail(char error[CURVE_ERROR_SIZE], int rc, const char *path, const char *what)
{
    (void)snprintf(error, CURVE_ERROR_SIZE, "%.300s: %s", path, what ? what : strerror(-rc));
    return rc;
}

static int name_secret(const struct curve *c, const char *name, char path[PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s/%s.key_secret", c->dir, name);
    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

// Loads the secret certificate of name. Refuses one that others may read.
static int load_own(struct curve *c, const char *name, char error[CURVE_ERROR_SIZE])
{
    char path[PATH_MAX], what[160], wrong[FILE_PRIVATE_TEXT] = "";
    int rc = name_secret(c, name, path);
    rc = rc ? rc : file_is_private(path, wrong);
    if (rc == -ENOENT) {
        (void)snprintf(what, sizeof what, "%s; `sluice keys make %s` makes it", strerror(-rc),
                       name);
        return fail(error, rc, path, what);
    }
    if (rc) {
        return fail(error, rc, path, *wrong ? wrong : NULL);
    }
    rc = key_pairs_read(path, &c->own);
    return rc ? fail(error, rc, path, rc == -EBADMSG ? "not a key pair" : NULL) : 0;
}

// The name of the pair to use: name itself, or, where that is not there, the legacy one.
static const char *choose(struct curve *c, const char *name)
{
    char own[PATH_MAX], legacy[PATH_MAX];
    c->legacy = name_secret(c, name, own) == 0 && access(own, F_OK) && errno == ENOENT &&
                name_secret(c, KEY_PAIRS_LEGACY, legacy) == 0 && access(legacy, F_OK) == 0;
    return c->legacy ? KEY_PAIRS_LEGACY : name;
}

static int start_zap(struct curve *c, char error[CURVE_ERROR_SIZE])
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/public", c->dir);
    int rc = zap_start(path, &c->zap);
    return rc ? fail(error, rc, path, NULL) : 0;
}

int curve_open(const char *dir, const char *own_name, int is_server, char error[CURVE_ERROR_SIZE],
               struct curve **ret_curve)
{
    struct curve *c = calloc(1, sizeof *c);
    if (!c) {
        return fail(error, -ENOMEM, dir, NULL);
    }
    int n = snprintf(c->dir, sizeof c->dir, "%s", dir);
    int rc = n > 0 && (size_t)n < sizeof c->dir ? 0 : fail(error, -ENAMETOOLONG, dir, NULL);
    rc = rc ? rc : load_own(c, is_server ? own_name : choose(c, own_name), error);
    rc = rc ? rc : is_server ? start_zap(c, error) : 0;
    if (rc) {
        curve_close(&c);
        return rc;
    }
    *ret_curve = c;
    return 0;
}

int curve_open_for(struct process *p, const char *own_name, int is_server, struct curve **ret_curve)
{
    char error[CURVE_ERROR_SIZE] = "out of memory";
    const char *dir = process_path(p, "secrets/curve", false);
    int rc = dir ? curve_open(dir, own_name, is_server, error, ret_curve) : -errno;
    if (rc) {
        process_fail(p, process_status_of(rc), "%s", error);
    }
    return rc;
}

void curve_close(struct curve **curve)
{
    struct curve *c = *curve;
    *curve = NULL;
    if (c) {
        zap_stop(&c->zap);
        sodium_memzero(&c->own, sizeof c->own);
        free(c);
    }
}

bool curve_is_legacy(const struct curve *c)
{
    return c->legacy;
}

static int set_text(void *socket, int option, const char *text)
{
    return zmq_setsockopt(socket, option, text, strlen(text)) ? -zmq_errno() : 0;
}

static int set_key(void *socket, int option, const uint8_t key[KEY_PAIRS_KEY_BYTES])
{
    return zmq_setsockopt(socket, option, key, KEY_PAIRS_KEY_BYTES) ? -zmq_errno() : 0;
}

static int set_own_keys(struct curve *c, void *socket)
{
    int rc = set_key(socket, ZMQ_CURVE_PUBLICKEY, c->own.public_key);
    return rc ? rc : set_key(socket, ZMQ_CURVE_SECRETKEY, c->own.secret_key);
}

int curve_apply_server(struct curve *c, void *zmq_socket)
{
    int yes = 1;
    int rc = zmq_setsockopt(zmq_socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) ? -zmq_errno() : 0;
    rc = rc ? rc : set_text(zmq_socket, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN);
    return rc ? rc : set_own_keys(c, zmq_socket);
}

int curve_apply_client(struct curve *c, void *zmq_socket, const char *server_name, bool old)
{
    char path[PATH_MAX], key[KEY_PAIRS_KEY_SIZE];
    (void)snprintf(path, sizeof path, "%s/public/%s%s.key", c->dir, server_name, old ? ".old" : "");
    int rc = key_pairs_read_public(path, key);
    rc = rc ? rc : set_text(zmq_socket, ZMQ_CURVE_SERVERKEY, key);
    return rc ? rc : set_own_keys(c, zmq_socket);
}

// --- What libzmq frees

#if !SANITIZED // which keep accounts of their own of what `new` gave

// A program may replace C++'s functions that free memory by its own (C++20, 17.6.3.5 [new.delete]); these are the
// ones that libzmq calls, by their names in the Itanium C++ ABI. libstdc++'s `new` is malloc().
#define OPERATOR_DELETE __attribute__((used, visibility("default")))
OPERATOR_DELETE void delete_any(void *p) __asm__("_ZdlPv");
OPERATOR_DELETE void delete_sized(void *p, size_t n) __asm__("_ZdlPvm");
OPERATOR_DELETE void delete_nothrow(void *p, const void *tag) __asm__("_ZdlPvRKSt9nothrow_t");

void delete_any(void *p)
{
    if (p) {
        explicit_bzero(p, malloc_usable_size(p));
    }
    free(p);
}

void delete_sized(void *p, size_t n)
{
    (void)n;
    delete_any(p);
}

void delete_nothrow(void *p, const void *tag)
{
    (void)tag;
    delete_any(p);
}

#endif
