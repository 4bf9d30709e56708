// SPDX-License-Identifier: MIT
// Compresses bodies of answers with gzip (RFC 1952) or zstd (RFC 8878, with the window that RFC
// 9659 allows). The contexts and the memory are made once; an answer allocates nothing.
#ifndef GATEWAY_COMPRESSOR_H
#define GATEWAY_COMPRESSOR_H

#include "gateway/coding.h"
#include "proto/buf.h"

// A shorter body fits into one packet in any case, and saves less than its fields cost.
#define COMPRESSOR_MIN_BYTES 1024

#define COMPRESSOR_ALLOWED "off, or gzip, zstd or both, separated by a comma"

struct compressor;

// SLUICE_COMPRESSION as a set of codings. Returns 0 or -EINVAL.
__attribute__((warn_unused_result)) int compressor_parse(const char *text, unsigned *ret_codings);

__attribute__((warn_unused_result)) int compressor_open(unsigned codings,
                                                        struct compressor **ret_compressor);
void compressor_close(struct compressor **c);

// The codings on offer.
unsigned compressor_offers(const struct compressor *c);

// Compresses body in place, if that makes it shorter or `must` says that it has to be. False when
// the body is as it was.
bool compressor_apply(struct compressor *c, enum coding coding, bool must, struct buf *body);

#endif
