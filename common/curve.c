// SPDX-License-Identifier: MIT
// czmq's certificates and its ZAP handler. The handler is an actor thread bound to
// inproc://zeromq.zap.01, of which a process has one; without it libzmq would accept any client
// key.
#include "common/curve.h"

#include <czmq.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define SECRET_PATH_BYTES 256 // zcert_load() cuts longer ones off
#define ZAP_DOMAIN "sluice"

static const char *const key_names[] = { "gateway", "queue", "client" };

struct curve {
    char dir[PATH_BYTES - 128]; // leaves room for the file names below it
    zcert_t *own;
    zactor_t *zap; // NULL in a client
};

// Loads the secret certificate of name. Refuses one that others may read.
static int load_own(struct curve *c, const char *name)
{
    char path[PATH_BYTES];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, "%s/%s.key_secret", c->dir, name) >=
        SECRET_PATH_BYTES) {
        return -ENAMETOOLONG;
    }
    if (stat(path, &st)) {
        return -errno;
    }
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        return -EACCES;
    }
    // zcert_load() of "x" reads "x_secret" when it is there.
    (void)snprintf(path, sizeof path, "%s/%s.key", c->dir, name);
    c->own = zcert_load(path);
    return c->own ? 0 : -EBADMSG;
}

static int start_zap(struct curve *c)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/public", c->dir);
    if (access(path, R_OK | X_OK)) {
        return -errno;
    }
    c->zap = zactor_new(zauth, NULL);
    if (!c->zap) {
        return -ENOMEM;
    }
    if (zstr_sendx(c->zap, "CURVE", path, NULL) || zsock_wait(c->zap) != 0) {
        return -EIO;
    }
    return 0;
}

int curve_open(const char *dir, const char *own_name, int is_server, struct curve **ret_curve)
{
    struct curve *c = calloc(1, sizeof *c);
    if (!c) {
        return -ENOMEM;
    }
    int rc = (size_t)snprintf(c->dir, sizeof c->dir, "%s", dir) < sizeof c->dir ? 0 : -ENAMETOOLONG;
    rc = rc ? rc : load_own(c, own_name);
    rc = rc ? rc : is_server ? start_zap(c) : 0;
    if (rc) {
        curve_close(&c);
        return rc;
    }
    *ret_curve = c;
    return 0;
}

void curve_close(struct curve **curve)
{
    struct curve *c = *curve;
    *curve = NULL;
    if (c) {
        zactor_destroy(&c->zap);
        zcert_destroy(&c->own);
        free(c);
    }
}

static int set_text(void *socket, int option, const char *text)
{
    return zmq_setsockopt(socket, option, text, strlen(text)) ? -zmq_errno() : 0;
}

static int set_own_keys(struct curve *c, void *socket)
{
    int rc = set_text(socket, ZMQ_CURVE_PUBLICKEY, zcert_public_txt(c->own));
    return rc ? rc : set_text(socket, ZMQ_CURVE_SECRETKEY, zcert_secret_txt(c->own));
}

int curve_apply_server(struct curve *c, void *zmq_socket)
{
    int yes = 1;
    int rc = zmq_setsockopt(zmq_socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) ? -zmq_errno() : 0;
    rc = rc ? rc : set_text(zmq_socket, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN);
    return rc ? rc : set_own_keys(c, zmq_socket);
}

int curve_apply_client(struct curve *c, void *zmq_socket, const char *server_name)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/public/%s.key", c->dir, server_name);
    zcert_t *server = zcert_load(path);
    if (!server) {
        return -ENOENT;
    }
    int rc = set_text(zmq_socket, ZMQ_CURVE_SERVERKEY, zcert_public_txt(server));
    zcert_destroy(&server);
    return rc ? rc : set_own_keys(c, zmq_socket);
}

static int make_dir(const char *path)
{
    return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static int make_pair(const char *dir, const char *name)
{
    char secret[PATH_BYTES], public[PATH_BYTES];
    if ((size_t)snprintf(secret, sizeof secret, "%s/%s.key_secret", dir, name) >=
            SECRET_PATH_BYTES ||
        (size_t)snprintf(public, sizeof public, "%s/public/%s.key", dir, name) >= sizeof public) {
        return -ENAMETOOLONG;
    }
    if (access(secret, F_OK) == 0 && access(public, F_OK) == 0) {
        return 0;
    }
    zcert_t *cert = zcert_new();
    if (!cert) {
        return -ENOMEM;
    }
    zcert_set_meta(cert, "name", "%s", name);
    mode_t mask = umask(0077);
    int rc = zcert_save_secret(cert, secret) || zcert_save_public(cert, public) ? -EIO : 0;
    (void)umask(mask);
    zcert_destroy(&cert);
    return rc;
}

int curve_make_keys(const char *dir)
{
    char public[PATH_BYTES];
    if ((size_t)snprintf(public, sizeof public, "%s/public", dir) >= sizeof public) {
        return -ENAMETOOLONG;
    }
    int rc = make_dir(dir);
    rc = rc ? rc : make_dir(public);
    for (size_t i = 0; !rc && i < sizeof key_names / sizeof *key_names; i++) {
        rc = make_pair(dir, key_names[i]);
    }
    return rc;
}
