// SPDX-License-Identifier: MIT
// Why a JSON text was not read. What finds no memory for a moment is not wrong for ever.
#ifndef COMMON_JSON_ERROR_H
#define COMMON_JSON_ERROR_H

#include <errno.h>
#include <yyjson.h>

// -ENOMEM, or -EBADMSG for what is no JSON. Of yyjson_read_opts(), when it returned NULL.
static inline int json_errno(const yyjson_read_err *why)
{
    return why->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? -ENOMEM : -EBADMSG;
}

#endif
