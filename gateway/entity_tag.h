// SPDX-License-Identifier: MIT
// Entity tags of representations. A worker tags the entity ("v17"); the gateway makes several
// representations of it, and each has a tag of its own (RFC 9110 section 8.8.1), which is the
// entity's with suffixes:
//
//     "v17" [-v and 16 digits: members chosen or left out] [-m: MessagePack] [-gzip or -zstd]
//
// A client may send the tag of any representation back.
#ifndef GATEWAY_ENTITY_TAG_H
#define GATEWAY_ENTITY_TAG_H

#include "gateway/coding.h"

#include <stdint.h>

#define ENTITY_TAG_SUFFIX_MAX 32
#define ENTITY_TAG_MAX 256 // bytes of a worker's tag with its suffixes -> no ETag is sent

#define ENTITY_TAG_HASH_SIZE 35 // 16 bytes as hexadecimal digits, two quotes, a NUL

// The quoted tag of a document of the gateway's own: a hash of its content.
void entity_tag_of(struct str content, char out[ENTITY_TAG_HASH_SIZE]);

// The suffix of a representation without its content coding; shape 0: with all members.
struct str entity_tag_suffix(uint64_t shape, bool msgpack, char out[ENTITY_TAG_SUFFIX_MAX]);

// A worker's quoted tag with the suffixes; p == NULL when it is not quoted or too long.
struct str entity_tag_make(struct str tag, struct str suffix, enum coding coding,
                           char out[ENTITY_TAG_MAX]);

// Makes the tags in an If-Match those of the entity itself, in place (the text only gets shorter).
void entity_tag_strip_all(char *text, size_t *n);

// Does so in an If-None-Match for tags of the representation that would be sent: the one with this
// suffix, as it is or with this content coding (which of both it will be is seen when the body is
// there). *ret_coded: some tag had the coding. Tags of other representations stay, and match
// nothing, or become "" where they could match.
void entity_tag_strip(char *text, size_t *n, struct str suffix, enum coding coding,
                      bool *ret_coded);

#endif
