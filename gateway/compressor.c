// SPDX-License-Identifier: MIT
#include "gateway/compressor.h"

#include "common/metrics.h"
#include "gateway/limits.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

// The lowest levels: they take off most of what JSON repeats, and the loop waits meanwhile.
#define GZIP_LEVEL 1
#define ZSTD_LEVEL 1

#define GZIP_WINDOW (15 + 16)    // the largest, with a gzip header
#define GZIP_MEMORY 8            // zlib's own default
#define ZSTD_WINDOW_LOG_LIMIT 23 // 8 MiB, RFC 9659 section 3
#define OUT_SLACK (64 * 1024)    // what a body that does not compress may grow by

struct compressor {
    unsigned codings;
    ZSTD_CCtx *zstd;
    z_stream gzip;
    bool gzip_open;
    struct buf out;
    struct metric answers[CODING_COUNT], bytes_in[CODING_COUNT], bytes_out[CODING_COUNT];
};

int compressor_parse(const char *text, unsigned *ret_codings)
{
    unsigned codings = 0;
    if (strcmp(text, "off") == 0) {
        *ret_codings = 0;
        return 0;
    }
    for (const char *p = text;; p++) {
        size_t n = strcspn(p, ",");
        enum coding c = coding_find((struct str){ p, n });
        if (c != CODING_GZIP && c != CODING_ZSTD) {
            return -EINVAL;
        }
        codings |= 1U << c;
        p += n;
        if (*p == '\0') {
            *ret_codings = codings;
            return 0;
        }
    }
}

// --- Opening and closing

static void register_metric(struct metric *m, const char *name, const char *help,
                            const char *labels)
{
    m->type = METRIC_COUNTER;
    m->name = name;
    m->help = help;
    m->labels = labels;
    metrics_register(m);
}

static void register_metrics(struct compressor *c)
{
    static const char *const labels[CODING_COUNT] = { NULL, "coding=\"gzip\"", "coding=\"zstd\"" };
    for (enum coding k = CODING_GZIP; k < CODING_COUNT; k++) {
        register_metric(&c->answers[k], "sluice_gateway_compressed_total",
                        "Answers sent compressed, by coding.", labels[k]);
        register_metric(&c->bytes_in[k], "sluice_gateway_compressed_in_bytes_total",
                        "Bytes of those answers before, by coding.", labels[k]);
        register_metric(&c->bytes_out[k], "sluice_gateway_compressed_out_bytes_total",
                        "Bytes of those answers as sent, by coding.", labels[k]);
    }
}

int compressor_open(unsigned codings, struct compressor **ret_compressor)
{
    struct compressor *c = calloc(1, sizeof *c);
    if (!c) {
        return -ENOMEM;
    }
    c->codings = codings;
    buf_init(&c->out, RESPONSE_MAX_BODY + OUT_SLACK);
    register_metrics(c);
    bool ok = buf_reserve(&c->out, OUT_SLACK); // the body of any problem has room in it, too
    if (codings & 1U << CODING_GZIP) {
        c->gzip_open = deflateInit2(&c->gzip, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
                                    Z_DEFAULT_STRATEGY) == Z_OK;
        ok = ok && c->gzip_open;
    }
    if (codings & 1U << CODING_ZSTD) {
        c->zstd = ZSTD_createCCtx();
        ok = ok && c->zstd &&
             !ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL));
    }
    if (!ok) {
        compressor_close(&c);
        return -ENOMEM;
    }
    *ret_compressor = c;
    return 0;
}

void compressor_close(struct compressor **compressor)
{
    struct compressor *c = *compressor;
    *compressor = NULL;
    if (!c) {
        return;
    }
    for (enum coding k = CODING_GZIP; k < CODING_COUNT; k++) {
        metrics_unregister(&c->answers[k]);
        metrics_unregister(&c->bytes_in[k]);
        metrics_unregister(&c->bytes_out[k]);
    }
    if (c->gzip_open) {
        (void)deflateEnd(&c->gzip); // frees in any case
    }
    ZSTD_freeCCtx(c->zstd);
    buf_fini(&c->out);
    free(c);
}

unsigned compressor_offers(const struct compressor *c)
{
    return c->codings;
}

// --- Compressing. Bytes written to out, or 0.

static size_t compress_gzip(struct compressor *c, struct str in)
{
    uLong bound = deflateBound(&c->gzip, in.n);
    char *to = buf_reserve(&c->out, bound);
    if (!to || deflateReset(&c->gzip) != Z_OK) {
        return 0;
    }
    c->gzip.next_in = (Bytef *)(uintptr_t)in.p; // zlib only reads it
    c->gzip.avail_in = (uInt)in.n;
    c->gzip.next_out = (Bytef *)to;
    c->gzip.avail_out = (uInt)bound;
    return deflate(&c->gzip, Z_FINISH) == Z_STREAM_END ? bound - c->gzip.avail_out : 0;
}

static size_t compress_zstd(struct compressor *c, struct str in)
{
    static_assert(RESPONSE_MAX_BODY <= 1 << ZSTD_WINDOW_LOG_LIMIT,
                  "the window is never larger than the body");
    size_t bound = ZSTD_compressBound(in.n);
    char *to = buf_reserve(&c->out, bound);
    size_t n = to ? ZSTD_compress2(c->zstd, to, bound, in.p, in.n) : 0;
    return ZSTD_isError(n) ? 0 : n;
}

bool compressor_apply(struct compressor *c, enum coding coding, bool must, struct buf *body)
{
    assert(coding != CODING_IDENTITY && (c->codings & 1U << coding) && buf_ok(body));
    buf_reset(&c->out);
    struct str in = buf_str(body);
    size_t n = coding == CODING_GZIP ? compress_gzip(c, in) : compress_zstd(c, in);
    if (n == 0 || (n >= in.n && !must)) {
        return false;
    }
    c->out.len = n;
    metric_add(&c->answers[coding], 1);
    metric_add(&c->bytes_in[coding], (int64_t)in.n);
    metric_add(&c->bytes_out[coding], (int64_t)n);
    struct buf plain = *body; // the two take turns, so that nothing is copied
    *body = c->out;
    body->max = plain.max;
    plain.max = c->out.max;
    c->out = plain;
    return true;
}
