// SPDX-License-Identifier: MIT
// Certificates are read and pairs are made here rather than by czmq and libzmq, which leave secret
// keys behind in memory that they have given back.
#include "common/key_pairs.h"

#include "common/clock.h"
#include "common/file.h"
#include "proto/timestamp.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#define FILE_BYTES 4096 // of a certificate

const char *const key_pairs_own[KEY_PAIRS_OWN] = { "gateway", "queue",  "users",
                                                   "orders",  "search", "tap" };

struct paths {
    char secret[PATH_MAX];
    char public_dir[PATH_MAX];
    char public[PATH_MAX];
    char old[PATH_MAX];
};

bool key_pairs_name_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < KEY_PAIRS_NAME_SIZE && name[0] >= 'a' && name[0] <= 'z' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static bool fits(int n, size_t size)
{
    return n > 0 && (size_t)n < size;
}

static int find_paths(const char *dir, const char *name, struct paths *p)
{
    assert(key_pairs_name_valid(name));
    bool ok =
        fits(snprintf(p->secret, sizeof p->secret, "%s/%s.key_secret", dir, name),
             sizeof p->secret) &&
        fits(snprintf(p->public_dir, sizeof p->public_dir, "%s/public", dir),
             sizeof p->public_dir) &&
        fits(snprintf(p->public, sizeof p->public, "%s/public/%s.key", dir, name),
             sizeof p->public) &&
        fits(snprintf(p->old, sizeof p->old, "%s/public/%s.old.key", dir, name), sizeof p->old);
    return ok ? 0 : -ENAMETOOLONG;
}

// --- Certificates

// The value of a line `NAME = "VALUE"`; p == NULL: it is another line, or has no value in quotes.
static struct str value_of(struct str line, struct str name)
{
    struct str none = { NULL, 0 }, rest = str_trim(line);
    if (!str_starts(rest, name)) {
        return none;
    }
    rest = str_trim((struct str){ rest.p + name.n, rest.n - name.n });
    if (rest.n == 0 || rest.p[0] != '=') {
        return none;
    }
    rest = str_trim((struct str){ rest.p + 1, rest.n - 1 });
    bool quoted =
        rest.n >= 2 && (rest.p[0] == '"' || rest.p[0] == '\'') && rest.p[rest.n - 1] == rest.p[0];
    return quoted ? (struct str){ rest.p + 1, rest.n - 2 } : none;
}

// The value of the first such line of a certificate, which czmq writes with sections and indents.
static struct str find_value(struct str text, struct str name)
{
    struct str found = { NULL, 0 };
    while (text.n > 0 && !found.p) {
        struct str line = str_take_line(&text);
        line.n -= line.n > 0 && line.p[line.n - 1] == '\r'; // who edited it may have ended lines so
        found = value_of(line, name);
    }
    return found;
}

// Reads a certificate into text, which buf_fini() overwrites.
static int read_certificate(const char *path, struct buf *text)
{
    buf_init(text, FILE_BYTES);
    text->wipes = true;
    return file_read(path, FILE_BYTES, text);
}

static int decode_key(struct str text, uint8_t key[KEY_PAIRS_KEY_BYTES])
{
    char z[KEY_PAIRS_KEY_SIZE];
    if (text.n != sizeof z - 1 || memchr(text.p, '\0', text.n)) {
        return -EBADMSG;
    }
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    int rc = zmq_z85_decode(key, z) ? 0 : -EBADMSG;
    sodium_memzero(z, sizeof z);
    return rc;
}

int key_pairs_read_public(const char *path, char key[KEY_PAIRS_KEY_SIZE])
{
    struct buf text;
    uint8_t bytes[KEY_PAIRS_KEY_BYTES];
    int rc = read_certificate(path, &text);
    struct str value = find_value(buf_str(&text), STR("public-key"));
    rc = rc ? rc : decode_key(value, bytes);
    if (rc == 0) {
        memcpy(key, value.p, value.n);
        key[value.n] = '\0';
    }
    buf_fini(&text);
    return rc;
}

int key_pairs_read(const char *path, struct key_pair_keys *ret_keys)
{
    struct buf text;
    struct key_pair_keys keys;
    uint8_t public_key[KEY_PAIRS_KEY_BYTES];
    int rc = read_certificate(path, &text);
    rc = rc ? rc : decode_key(find_value(buf_str(&text), STR("public-key")), keys.public_key);
    rc = rc ? rc : decode_key(find_value(buf_str(&text), STR("secret-key")), keys.secret_key);
    rc = rc ? rc : crypto_scalarmult_base(public_key, keys.secret_key) ? -EBADMSG : 0;
    if (rc == 0 && memcmp(public_key, keys.public_key, sizeof public_key) != 0) {
        rc = -EBADMSG;
    }
    if (rc == 0) {
        *ret_keys = keys;
    }
    sodium_memzero(&keys, sizeof keys);
    buf_fini(&text);
    return rc;
}

// A certificate as czmq writes it; secret NULL: of the public key alone.
static int write_certificate(const char *path, const char *name, const char *created,
                             const char *public, const char *secret)
{
    struct buf text;
    buf_init(&text, FILE_BYTES);
    text.wipes = true;
    buf_printf(&text, "metadata\n    name = \"%s\"\n    created = \"%s\"\n", name, created);
    buf_printf(&text, "curve\n    public-key = \"%s\"\n", public);
    if (secret) {
        buf_append_z(&text, "    secret-key = \"");
        buf_append_z(&text, secret); // printf leaves pieces of what it writes on the stack
        buf_append_z(&text, "\"\n");
    }
    int rc = buf_ok(&text) ? file_replace(path, buf_str(&text), 0600) : buf_error(&text);
    buf_fini(&text);
    return rc;
}

// As zmq_curve_keypair(), which leaves the secret key on the stack.
static void make_keys(char public[KEY_PAIRS_KEY_SIZE], char secret[KEY_PAIRS_KEY_SIZE])
{
    struct key_pair_keys keys;
    int rc = crypto_box_keypair(keys.public_key, keys.secret_key);
    assert(rc == 0);
    char *z = zmq_z85_encode(public, keys.public_key, sizeof keys.public_key);
    assert(z); // it refuses nothing but lengths that are no multiple of 4
    z = zmq_z85_encode(secret, keys.secret_key, sizeof keys.secret_key);
    assert(z);
    sodium_memzero(&keys, sizeof keys);
}

// Writes a new pair: the public key first, so that nobody uses a secret one that is not accepted.
static int write_pair(const struct paths *p, const char *name)
{
    char public[KEY_PAIRS_KEY_SIZE], secret[KEY_PAIRS_KEY_SIZE], created[TIMESTAMP_SIZE];
    make_keys(public, secret);
    (void)timestamp_format(clock_wall_ms(), created);
    int rc = write_certificate(p->public, name, created, public, NULL);
    rc = rc ? rc : write_certificate(p->secret, name, created, public, secret);
    sodium_memzero(secret, sizeof secret);
    return rc;
}

static int make_dir(const char *path)
{
    return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

// The time of making in a certificate; empty when it has none.
static void read_created(const char *path, char created[32])
{
    struct buf text;
    int rc = read_certificate(path, &text);
    struct str value = rc ? STR("") : find_value(buf_str(&text), STR("created"));
    (void)snprintf(created, 32, "%.*s", STR_ARG(value));
    buf_fini(&text);
}

int key_pairs_make(const char *dir, const char *name)
{
    struct paths p;
    char own[KEY_PAIRS_KEY_SIZE], created[32];
    int rc = find_paths(dir, name, &p);
    rc = rc ? rc : make_dir(dir);
    rc = rc ? rc : make_dir(p.public_dir);
    if (rc) {
        return rc;
    }
    bool secret = access(p.secret, F_OK) == 0, public = access(p.public, F_OK) == 0;
    if (secret && public) {
        return 0;
    }
    if (secret && key_pairs_read_public(p.secret, own) == 0) {
        read_created(p.secret, created);
        rc = write_certificate(p.public, name, created, own, NULL);
    } else {
        rc = write_pair(&p, name);
    }
    return rc ? rc : 1;
}

int key_pairs_make_own(const char *dir)
{
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < KEY_PAIRS_OWN; i++) {
        rc = key_pairs_make(dir, key_pairs_own[i]);
    }
    return rc < 0 ? rc : 0;
}

int key_pairs_rotate(const char *dir, const char *name)
{
    struct paths p;
    char own[KEY_PAIRS_KEY_SIZE], old[KEY_PAIRS_KEY_SIZE], created[32];
    int rc = find_paths(dir, name, &p);
    rc = rc ? rc : key_pairs_read_public(p.secret, own);
    if (rc) {
        return rc;
    }
    // An old key that is the one in use is what a rotation left behind that was cut off.
    if (key_pairs_read_public(p.old, old) == 0 && strcmp(old, own) != 0) {
        return -EEXIST;
    }
    read_created(p.secret, created);
    rc = write_certificate(p.old, name, created, own, NULL);
    return rc ? rc : write_pair(&p, name);
}

int key_pairs_retire(const char *dir, const char *name)
{
    struct paths p;
    int rc = find_paths(dir, name, &p);
    if (rc) {
        return rc;
    }
    int gone = unlink(p.old) ? -errno : 0;
    if (strcmp(name, KEY_PAIRS_LEGACY) == 0 && (gone == 0 || gone == -ENOENT)) {
        gone = unlink(p.public) ? -errno : 0;
        (void)unlink(p.secret); // without its public key it opens nothing
    }
    return gone;
}

// --- Listing

static int compare(const void *a, const void *b)
{
    const struct key_pair *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n > k && strcmp(text + n - k, end) == 0;
}

// Adds the identity that a file is of, unless it is there. 0 or -ENOSPC.
static int add_name(struct key_pair pairs[KEY_PAIRS_MAX], int *n, const char *file)
{
    char name[KEY_PAIRS_NAME_SIZE];
    size_t length = strcspn(file, ".");
    if (length >= sizeof name || !(ends_with(file, ".key") || ends_with(file, ".key_secret"))) {
        return 0;
    }
    memcpy(name, file, length);
    name[length] = '\0';
    if (!key_pairs_name_valid(name)) {
        return 0;
    }
    for (int i = 0; i < *n; i++) {
        if (strcmp(pairs[i].name, name) == 0) {
            return 0;
        }
    }
    if (*n == KEY_PAIRS_MAX) {
        return -ENOSPC;
    }
    pairs[*n] = (struct key_pair){ .mode = -1 };
    memcpy(pairs[(*n)++].name, name, sizeof name);
    return 0;
}

static int add_names(struct key_pair pairs[KEY_PAIRS_MAX], int *n, const char *dir)
{
    DIR *d = opendir(dir);
    if (!d) {
        return -errno;
    }
    int rc = 0;
    const struct dirent *entry;
    while (rc == 0 && (entry = readdir(d))) {
        rc = add_name(pairs, n, entry->d_name);
    }
    (void)closedir(d); // it was only read
    return rc;
}

static int fill(const char *dir, struct key_pair *k)
{
    struct paths p;
    struct stat st;
    int rc = find_paths(dir, k->name, &p);
    if (rc) {
        return rc;
    }
    if (key_pairs_read_public(p.public, k->public_key)) {
        k->public_key[0] = '\0';
    }
    if (key_pairs_read_public(p.old, k->old_key)) {
        k->old_key[0] = '\0';
    }
    if (key_pairs_read_public(p.secret, k->own_key)) {
        k->own_key[0] = '\0';
    }
    read_created(p.public, k->created);
    k->mode = stat(p.secret, &st) ? -1 : (int)(st.st_mode & 07777);
    return 0;
}

int key_pairs_list(const char *dir, struct key_pair pairs[KEY_PAIRS_MAX])
{
    char public[PATH_MAX];
    int n = 0;
    if (!fits(snprintf(public, sizeof public, "%s/public", dir), sizeof public)) {
        return -ENAMETOOLONG;
    }
    int rc = add_names(pairs, &n, dir);
    rc = rc ? rc : add_names(pairs, &n, public);
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = fill(dir, &pairs[i]);
    }
    qsort(pairs, (size_t)n, sizeof *pairs, compare);
    return rc ? rc : n;
}
