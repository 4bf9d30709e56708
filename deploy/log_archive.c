// SPDX-License-Identifier: MIT
#include "deploy/log_archive.h"

#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

struct streams {
    ZSTD_CCtx *context;
    void *in, *out;
    size_t in_bytes, out_bytes;
};

static int open_streams(struct streams *s)
{
    *s = (struct streams){ .context = ZSTD_createCCtx(),
                           .in_bytes = ZSTD_CStreamInSize(),
                           .out_bytes = ZSTD_CStreamOutSize() };
    s->in = malloc(s->in_bytes);
    s->out = malloc(s->out_bytes);
    if (!s->context || !s->in || !s->out) {
        return -ENOMEM;
    }
    size_t level = ZSTD_CCtx_setParameter(s->context, ZSTD_c_compressionLevel, LOG_ARCHIVE_LEVEL);
    size_t checksum = ZSTD_CCtx_setParameter(s->context, ZSTD_c_checksumFlag, 1);
    return ZSTD_isError(level) || ZSTD_isError(checksum) ? -EINVAL : 0;
}

static void close_streams(struct streams *s)
{
    ZSTD_freeCCtx(s->context); // NULL is fine
    free(s->in);
    free(s->out);
}

// Compresses n bytes of s->in; the last ones end the frame.
static int compress_piece(struct streams *s, size_t n, bool last, int to)
{
    ZSTD_inBuffer in = { s->in, n, 0 };
    size_t left;
    do {
        ZSTD_outBuffer out = { s->out, s->out_bytes, 0 };
        left = ZSTD_compressStream2(s->context, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left)) {
            return -EIO;
        }
        int r = file_write_all(to, (struct str){ s->out, out.pos });
        if (r < 0) {
            return r;
        }
    } while (last ? left > 0 : in.pos < in.size);
    return 0;
}

static int copy(int from, int to)
{
    struct streams s;
    int r = open_streams(&s);
    ssize_t n = 1;
    while (r == 0 && n > 0) {
        n = read(from, s.in, s.in_bytes);
        r = n < 0 ? -errno : compress_piece(&s, (size_t)n, n == 0, to);
    }
    close_streams(&s);
    return r == 0 && fsync(to) < 0 ? -errno : r;
}

int log_archive_compress(int dir_fd, const char *name)
{
    char made[NAME_MAX + 1], temporary[NAME_MAX + 1];
    int n = snprintf(temporary, sizeof temporary, "%s.zst.tmp", name);
    if (n < 0 || (size_t)n >= sizeof temporary) {
        return -ENAMETOOLONG;
    }
    (void)snprintf(made, sizeof made, "%s.zst", name); // shorter than that
    int from = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0) {
        return -errno;
    }
    int to = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r = to < 0 ? -errno : copy(from, to);
    (void)close(from); // nothing was written
    if (to >= 0 && close(to) < 0 && r == 0) {
        r = -errno;
    }
    r = r == 0 && renameat(dir_fd, temporary, dir_fd, made) < 0 ? -errno : r;
    if (r < 0) {
        (void)unlinkat(dir_fd, temporary, 0); // as far as it came
        return r;
    }
    // Both forms stay if this fails: the next start of the writer removes the other one.
    return fsync(dir_fd) < 0 || (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT) ? -errno : 0;
}
