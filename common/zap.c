// SPDX-License-Identifier: MIT
// libzmq holds a handshake until the answer is here, so this is a thread of its own: a loop that is
// busy must not make clients time out.
#include "common/zap.h"

#include "common/clock.h"
#include "common/handshakes.h"
#include "common/key_pairs.h"
#include "common/thread.h"

#include <assert.h>
#include <czmq.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define ENDPOINT "inproc://zeromq.zap.01" // libzmq's
#define KEY_BYTES 32
#define FIELD_BYTES 256 // of a request; longer fields are cut off, and then match nothing
#define MAX_FIELDS 7    // of a CURVE request
#define FRESH_MS 100    // a directory that changed less than this ago may change unseen: same mtime

struct known_key {
    uint8_t key[KEY_BYTES];
    char identity[KEY_PAIRS_NAME_SIZE];
};

struct zap {
    char dir[PATH_MAX];
    void *requests; // REP
    void *stop;     // PAIR; zap_stop() has the other end
    void *stopper;
    pthread_t thread;
    struct known_key keys[ZAP_MAX_KEYS];
    size_t n_keys;
    struct timespec read_of; // mtime of the directory when it was read
    bool stale;              // it was so fresh that it is to be read again
};

struct field {
    char bytes[FIELD_BYTES];
    size_t n;
};

// --- The keys

static void add_key(struct zap *z, const char *file)
{
    char path[PATH_MAX], text[KEY_PAIRS_KEY_SIZE];
    size_t name = strcspn(file, ".");
    if ((strcmp(file + name, ".key") != 0 && strcmp(file + name, ".old.key") != 0) || name == 0 ||
        name >= KEY_PAIRS_NAME_SIZE || z->n_keys == ZAP_MAX_KEYS) {
        return;
    }
    struct known_key *k = &z->keys[z->n_keys];
    memcpy(k->identity, file, name);
    k->identity[name] = '\0';
    int n = snprintf(path, sizeof path, "%s/%s", z->dir, file);
    if (n > 0 && (size_t)n < sizeof path && key_pairs_name_valid(k->identity) &&
        key_pairs_read_public(path, text) == 0 && zmq_z85_decode(k->key, text)) {
        z->n_keys++;
    }
}

static int read_keys(struct zap *z)
{
    struct stat st;
    DIR *d = opendir(z->dir);
    if (!d) {
        return -errno;
    }
    if (stat(z->dir, &st) == 0) {
        int64_t changed_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        z->read_of = st.st_mtim;
        z->stale = clock_wall_ms() - changed_ms < FRESH_MS;
    }
    z->n_keys = 0;
    const struct dirent *entry;
    while ((entry = readdir(d))) {
        add_key(z, entry->d_name);
    }
    (void)closedir(d); // it was only read
    return 0;
}

static bool has_changed(const struct zap *z)
{
    struct stat st;
    return z->stale || stat(z->dir, &st) || st.st_mtim.tv_sec != z->read_of.tv_sec ||
           st.st_mtim.tv_nsec != z->read_of.tv_nsec;
}

// The identity of a key; NULL: nobody's. Who cannot read the directory any more knows nobody.
static const char *find_identity(struct zap *z, const struct field *key)
{
    if (has_changed(z) && read_keys(z)) {
        z->n_keys = 0;
    }
    for (size_t i = 0; key->n == KEY_BYTES && i < z->n_keys; i++) {
        if (memcmp(z->keys[i].key, key->bytes, KEY_BYTES) == 0) {
            return z->keys[i].identity;
        }
    }
    return NULL;
}

// --- Requests

// Receives one request; how many fields it had.
static size_t receive(struct zap *z, struct field fields[MAX_FIELDS])
{
    size_t n = 0;
    int more = 1;
    while (more) {
        struct field spare, *f = n < MAX_FIELDS ? &fields[n] : &spare;
        size_t size = sizeof more;
        int got = zmq_recv(z->requests, f->bytes, sizeof f->bytes, 0);
        if (got < 0) {
            return 0;
        }
        f->n = (size_t)got;
        n++;
        if (zmq_getsockopt(z->requests, ZMQ_RCVMORE, &more, &size)) {
            return 0;
        }
    }
    return n;
}

static bool field_is(const struct field *f, const char *text)
{
    return f->n == strlen(text) && memcmp(f->bytes, text, f->n) == 0;
}

static void reply(struct zap *z, const struct field *request, const char *identity)
{
    const char *status = identity ? "200" : "400", *text = identity ? "OK" : "unknown key";
    (void)zmq_send(z->requests, "1.0", 3,
                   ZMQ_SNDMORE); // these fail only without a peer: then nobody waits
    (void)zmq_send(z->requests, request->bytes, request->n, ZMQ_SNDMORE);
    (void)zmq_send(z->requests, status, 3, ZMQ_SNDMORE);
    (void)zmq_send(z->requests, text, strlen(text), ZMQ_SNDMORE);
    (void)zmq_send(z->requests, identity ? identity : "", identity ? strlen(identity) : 0,
                   ZMQ_SNDMORE);
    (void)zmq_send(z->requests, "", 0, 0); // no metadata
}

static void answer(struct zap *z)
{
    struct field f[MAX_FIELDS] = { 0 };
    size_t n = receive(z, f);
    if (n == 0) {
        return;
    }
    // version, request, domain, address, routing id, mechanism, key
    const char *identity = n == MAX_FIELDS && field_is(&f[0], "1.0") && field_is(&f[5], "CURVE")
                               ? find_identity(z, &f[6])
                               : NULL;
    if (!identity) {
        char key[KEY_PAIRS_KEY_SIZE] = "none", text[HANDSHAKES_TEXT_SIZE];
        if (f[6].n == KEY_BYTES) {
            (void)zmq_z85_encode(key, (const uint8_t *)f[6].bytes, KEY_BYTES);
        }
        (void)snprintf(text, sizeof text,
                       "refused %.*s: its key %s is not one of %.200s (`sluice keys show`)",
                       (int)(f[3].n < 64 ? f[3].n : 64), f[3].bytes, key, z->dir);
        handshakes_report(text);
    }
    reply(z, &f[1], identity);
}

static void *run(void *data)
{
    struct zap *z = data;
    zmq_pollitem_t items[] = { { z->stop, 0, ZMQ_POLLIN, 0 }, { z->requests, 0, ZMQ_POLLIN, 0 } };
    for (;;) {
        if (zmq_poll(items, 2, -1) < 0 && zmq_errno() != EINTR) {
            return NULL; // the context ends
        }
        if (items[0].revents) {
            return NULL;
        }
        if (items[1].revents) {
            answer(z);
        }
    }
}

// --- Life

static void *open_socket(int type)
{
    int linger = 0;
    void *s = zmq_socket(zsys_init(), type);
    if (s) {
        (void)zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger); // a valid option
    }
    return s;
}

static int open_sockets(struct zap *z)
{
    static atomic_uint count;
    char endpoint[64];
    (void)snprintf(endpoint, sizeof endpoint, "inproc://sluice-zap-%u",
                   atomic_fetch_add(&count, 1));
    z->requests = open_socket(ZMQ_REP);
    z->stop = open_socket(ZMQ_PAIR);
    z->stopper = open_socket(ZMQ_PAIR);
    if (!z->requests || !z->stop || !z->stopper || zmq_bind(z->requests, ENDPOINT) ||
        zmq_bind(z->stop, endpoint) || zmq_connect(z->stopper, endpoint)) {
        return -zmq_errno();
    }
    return 0;
}

static void close_sockets(struct zap *z)
{
    void *sockets[] = { z->requests, z->stop, z->stopper };
    if (z->requests) {
        (void)zmq_unbind(z->requests,
                         ENDPOINT); // at once: closing frees the name only some time later
    }
    for (size_t i = 0; i < 3; i++) {
        if (sockets[i]) {
            (void)zmq_close(sockets[i]);
        }
    }
}

int zap_start(const char *public_dir, struct zap **ret_zap)
{
    struct zap *z = calloc(1, sizeof *z);
    if (!z) {
        return -ENOMEM;
    }
    int n = snprintf(z->dir, sizeof z->dir, "%s", public_dir);
    int rc = n > 0 && (size_t)n < sizeof z->dir ? read_keys(z) : -ENAMETOOLONG;
    rc = rc ? rc : open_sockets(z);
    rc = rc ? rc : thread_start(run, z, &z->thread);
    if (rc) {
        close_sockets(z);
        free(z);
        return rc;
    }
    *ret_zap = z;
    return 0;
}

void zap_stop(struct zap **zap)
{
    struct zap *z = *zap;
    *zap = NULL;
    if (z) {
        (void)zmq_send(z->stopper, "", 0, 0);
        int rc = pthread_join(z->thread, NULL);
        assert(rc == 0);
        close_sockets(z);
        free(z);
    }
}
