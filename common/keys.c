// SPDX-License-Identifier: MIT
// The secrets of a deployment, each made when it is missing.
#include "common/keys.h"

#include "common/base64url.h"
#include "common/key_pairs.h"
#include "common/file.h"
#include "common/jwk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// Letters and digits without those that people confuse when they copy them by hand: 0 O 1 l I.
static const char password_alphabet[] = "23456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ";

struct maker {
    const char *dir;  // of the secrets
    char *error;      // KEYS_ERROR_SIZE bytes
    const char *name; // of the file at hand
    char path[PATH_MAX];
    struct buf content;
};

static int fail(struct maker *m, int error, const char *what)
{
    assert(error < 0);
    (void)snprintf(m->error, KEYS_ERROR_SIZE, "%s in %.380s: %.80s", m->name, m->dir,
                   what ? what : strerror(-error));
    return error;
}

// Points m->path at a file of the directory. Returns 1 when it exists, 0 when not, or a negative
// errno.
static int look(struct maker *m, const char *name)
{
    m->name = name;
    int n = snprintf(m->path, sizeof m->path, "%s/%s", m->dir, name);
    if (n < 0 || (size_t)n >= sizeof m->path) {
        return fail(m, -ENAMETOOLONG, NULL);
    }
    buf_reset(&m->content);
    if (access(m->path, F_OK) == 0) {
        return 1;
    }
    return errno == ENOENT ? 0 : fail(m, -errno, NULL);
}

// Writes m->content to m->path. Returns 1: one file made.
static int put(struct maker *m)
{
    int r = buf_ok(&m->content) ? file_replace(m->path, buf_str(&m->content), 0600)
                                : buf_error(&m->content);
    return r < 0 ? fail(m, r, NULL) : 1;
}

static int make_password(struct maker *m)
{
    // Where there are accounts already, a new password would open none of them.
    int r = look(m, "../db/users/users.db");
    if (r == 0) {
        r = look(m, "admin-password");
    }
    if (r != 0) {
        return r < 0 ? r : 0;
    }
    for (int i = 0; i < KEYS_PASSWORD; i++) {
        buf_append_char(&m->content,
                        password_alphabet[randombytes_uniform(sizeof password_alphabet - 1)]);
    }
    buf_append_char(&m->content, '\n');
    return put(m);
}

static int make_cursor_key(struct maker *m)
{
    int r = look(m, "cursor.key");
    if (r != 0) {
        return r < 0 ? r : 0;
    }
    uint8_t key[KEYS_CURSOR_BYTES];
    char text[2 * KEYS_CURSOR_BYTES + 1];
    randombytes_buf(key, sizeof key);
    buf_append_z(&m->content, sodium_bin2hex(text, sizeof text, key, sizeof key));
    buf_append_char(&m->content, '\n');
    sodium_memzero(key, sizeof key);
    sodium_memzero(text, sizeof text);
    return put(m);
}

static int make_admin_token(struct maker *m)
{
    int r = look(m, "admin-token");
    if (r != 0) {
        return r < 0 ? r : 0;
    }
    uint8_t bytes[KEYS_TOKEN_BYTES];
    char text[BASE64URL_TEXT(KEYS_TOKEN_BYTES) + 1];
    randombytes_buf(bytes, sizeof bytes);
    base64url_encode(bytes, sizeof bytes, text);
    buf_append_z(&m->content, text);
    buf_append_char(&m->content, '\n');
    sodium_memzero(bytes, sizeof bytes);
    sodium_memzero(text, sizeof text);
    return put(m);
}

// A directory of its own for what one service writes, so that it needs no right to the others' files.
static int make_dir(struct maker *m, const char *name)
{
    int r = look(m, name);
    if (r == 0) {
        r = mkdir(m->path, 0700) < 0 ? fail(m, -errno, NULL) : 0;
    }
    return r < 0 ? r : 0;
}

static int make_token_key(struct maker *m, struct jwk *ret_key)
{
    int r = make_dir(m, "signing");
    r = r < 0 ? r : look(m, "signing/token.key");
    if (r < 0) {
        return r;
    }
    if (r == 0) {
        jwk_make(ret_key);
        jwk_write(ret_key, &m->content);
        return put(m);
    }
    r = file_read(m->path, JWK_MAX_BYTES, &m->content);
    if (r < 0) {
        return fail(m, r, NULL);
    }
    r = jwk_read(buf_str(&m->content), ret_key);
    return r < 0 ? fail(m, r, r == -EBADMSG ? "not a private Ed25519 JWK" : NULL) : 0;
}

// Sees to it that jwks.json has the key: gateways would refuse every token that it signs.
static int make_key_set(struct maker *m, const struct jwk *key)
{
    struct buf old;
    buf_init(&old, JWK_SET_MAX_BYTES);
    int r = make_dir(m, "public");
    r = r < 0 ? r : look(m, "public/jwks.json");
    if (r == 1) {
        r = file_read(m->path, JWK_SET_MAX_BYTES, &old);
        if (r < 0) {
            r = fail(m, r, NULL);
        }
    }
    if (r == 0) {
        r = jwk_set_add(buf_str(&old), key, &m->content);
        if (r < 0) {
            r = fail(m, r, r == -EBADMSG ? "not a JWK set" : NULL);
        } else if (r == 1) {
            r = put(m);
        }
    }
    buf_fini(&old);
    return r;
}

static int make_curve_keys(struct maker *m)
{
    int r = look(m, "curve");
    if (r >= 0) {
        r = key_pairs_make_own(m->path);
    }
    return r < 0 ? fail(m, r, NULL) : 0;
}

static int make_all(struct maker *m)
{
    struct jwk key = { 0 };
    int made = 0;
    int r = make_password(m);
    if (r >= 0) {
        made += r;
        r = make_token_key(m, &key);
    }
    if (r >= 0) {
        made += r;
        r = make_key_set(m, &key);
    }
    if (r >= 0) {
        made += r;
        r = make_cursor_key(m);
    }
    if (r >= 0) {
        made += r;
        r = make_admin_token(m);
    }
    if (r >= 0) {
        made += r;
        r = make_curve_keys(m);
    }
    sodium_memzero(&key, sizeof key);
    return r < 0 ? r : made;
}

int keys_lock(const char *secrets_dir)
{
    if (mkdir(secrets_dir, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    int fd = open(secrets_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct stat st;
    if (fstat(fd, &st) < 0 || ((st.st_mode & 077) != 0 && fchmod(fd, 0700) < 0) ||
        flock(fd, LOCK_EX) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

int keys_make(const char *secrets_dir, char error[KEYS_ERROR_SIZE])
{
    struct maker m = { .dir = secrets_dir, .error = error, .name = "keys" };
    error[0] = '\0';
    if (sodium_init() < 0) {
        return fail(&m, -EIO, "libsodium cannot start");
    }
    int fd = keys_lock(secrets_dir);
    if (fd < 0) {
        return fail(&m, fd, NULL);
    }
    buf_init(&m.content, JWK_SET_MAX_BYTES);
    m.content.wipes = true;
    int r = make_all(&m);
    buf_wipe(&m.content);
    buf_fini(&m.content);
    close(fd); // releases the lock
    return r;
}

int keys_read(const char *home, const char *name, size_t max_bytes, struct buf *content,
              char error[KEYS_ERROR_SIZE])
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/secrets/%s", home, name);
    int r = n > 0 && (size_t)n < sizeof path ? file_read(path, max_bytes, content) : -ENAMETOOLONG;
    char wrong[FILE_PRIVATE_TEXT];
    if (r == 0 && file_is_private(path, wrong) == -EACCES) {
        (void)snprintf(error, KEYS_ERROR_SIZE, "%.400s: %s", path, wrong);
        return -EACCES;
    }
    if (r < 0) {
        (void)snprintf(error, KEYS_ERROR_SIZE, "%.400s: %.60s%s", path, strerror(-r),
                       r == -ENOENT ? "; `sluice init` makes it" : "");
        return r;
    }
    if (content->len > 0 && content->data[content->len - 1] == '\n') {
        content->len--;
    }
    return 0;
}
