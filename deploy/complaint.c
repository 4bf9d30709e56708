// SPDX-License-Identifier: MIT
#include "deploy/complaint.h"

#include <stdarg.h>
#include <stdio.h>

int complain(const char *who, int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", who);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return status;
}
