// SPDX-License-Identifier: MIT
#include "tests/unit/json_starved.h"

#include <stdbool.h>
#include <stddef.h>
#include <yyjson.h>

int json_starved;

static void *give_none(void *data, size_t n)
{
    (void)data, (void)n;
    return NULL;
}

static void *give_no_more(void *data, void *block, size_t before, size_t n)
{
    (void)data, (void)block, (void)before, (void)n;
    return NULL;
}

static void take_back(void *data, void *block)
{
    (void)data, (void)block; // there is none
}

yyjson_doc *__real_yyjson_read_opts(char *text, size_t n, yyjson_read_flag flags,
                                    const yyjson_alc *memory, yyjson_read_err *why);
yyjson_doc *__wrap_yyjson_read_opts(char *text, size_t n, yyjson_read_flag flags,
                                    const yyjson_alc *memory, yyjson_read_err *why);
yyjson_doc *__wrap_yyjson_read_opts(char *text, size_t n, yyjson_read_flag flags,
                                    const yyjson_alc *memory, yyjson_read_err *why)
{
    static const yyjson_alc none = { give_none, give_no_more, take_back, NULL };
    bool starves = json_starved > 0 && --json_starved == 0;
    return __real_yyjson_read_opts(text, n, flags, starves ? &none : memory, why);
}
