// SPDX-License-Identifier: MIT
// The text of a JSON string, for members that a peer or a file may give any type. yyjson_get_len() is
// also the number of an array's elements and of an object's members, for which there is no text: what
// takes both together believes in bytes behind NULL.
#ifndef COMMON_JSON_TEXT_H
#define COMMON_JSON_TEXT_H

#include "proto/buf.h"

#include <yyjson.h>

// { NULL, 0 } when v is no string, or NULL. The document owns the bytes.
static inline struct str json_text(yyjson_val *v)
{
    bool is_text = yyjson_is_str(v);
    return (struct str){ is_text ? yyjson_get_str(v) : NULL, is_text ? yyjson_get_len(v) : 0 };
}

#endif
