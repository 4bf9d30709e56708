// SPDX-License-Identifier: MIT
#include "deploy/backup_files.h"

#include "common/file.h"
#include "common/home.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES (1024 * 1024)
#define MAX_DEPTH 4 // db/orders/archive/FILE is the deepest

int backup_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) ? -errno : 0;
    if (fd >= 0) {
        (void)close(fd); // it was only read
    }
    return rc;
}

static int copy_pieces(int from, int to, int64_t bytes, char *piece)
{
    int64_t at = 0;
    for (;;) {
        size_t want = bytes >= 0 && bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES;
        ssize_t n = want ? pread(from, piece, want, at) : 0;
        if (n <= 0) {
            return n < 0 ? -errno : bytes >= 0 && at < bytes ? -EIO : 0;
        }
        int rc = file_write_all(to, (struct str){ piece, (size_t)n });
        if (rc) {
            return rc;
        }
        at += n;
    }
}

int backup_copy(int from, const char *to, int64_t bytes)
{
    int rc = home_make_parents(to);
    int fd = rc ? -1 : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return rc ? rc : -errno;
    }
    char *piece = malloc(PIECE_BYTES);
    rc = piece ? copy_pieces(from, fd, bytes, piece) : -ENOMEM;
    free(piece);
    rc = rc ? rc : fsync(fd) ? -errno : 0;
    return close(fd) && !rc ? -errno : rc;
}

int backup_copy_path(const char *from, const char *to)
{
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = backup_copy(fd, to, -1);
    (void)close(fd); // it was only read
    return rc;
}

int backup_hash(const char *path, char ret_hash[BACKUP_HASH], int64_t *ret_bytes)
{
    unsigned char hash[crypto_hash_sha256_BYTES], piece[65536];
    crypto_hash_sha256_state state;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    *ret_bytes = 0;
    (void)crypto_hash_sha256_init(&state); // cannot fail, as those below
    while ((n = read(fd, piece, sizeof piece)) > 0) {
        (void)crypto_hash_sha256_update(&state, piece, (size_t)n);
        *ret_bytes += n;
    }
    int rc = n < 0 ? -errno : 0;
    (void)crypto_hash_sha256_final(&state, hash);
    (void)sodium_bin2hex(ret_hash, BACKUP_HASH, hash, sizeof hash);
    (void)close(fd); // it was only read
    return rc;
}

struct walk {
    const char *root;
    int (*on_file)(const char *relative, void *data);
    void *data;
};

static int walk(const struct walk *w, const char *relative, int depth)
{
    char path[PATH_MAX], below[PATH_MAX];
    struct dirent *e;
    struct stat st;
    int rc = 0;
    (void)snprintf(path, sizeof path, "%s/%s", w->root, relative); // what is cut is not there
    DIR *d = opendir(path);
    if (!d) {
        return -errno;
    }
    while (rc == 0 && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        (void)snprintf(below, sizeof below, "%s%s%s", relative, *relative ? "/" : "", e->d_name);
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            rc = -errno;
        } else if (S_ISDIR(st.st_mode)) {
            rc = depth < MAX_DEPTH ? walk(w, below, depth + 1) : -ELOOP;
        } else if (S_ISREG(st.st_mode)) {
            rc = w->on_file(below, w->data);
        }
    }
    (void)closedir(d); // it was only read
    return rc ? rc : 0;
}

int backup_walk(const char *root, int (*on_file)(const char *relative, void *data), void *data)
{
    struct walk w = { root, on_file, data };
    return walk(&w, "", 0);
}
