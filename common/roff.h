// SPDX-License-Identifier: MIT
// Manual pages, in roff for man(7): every program prints its own by --man, from the tables that its
// --help comes from.
#ifndef COMMON_ROFF_H
#define COMMON_ROFF_H

#include "common/config.h"

#include <stdio.h>

// Writes text so that roff takes none of it for a request or an escape. Its first character may
// begin a line of the page.
void roff_text(const char *text, FILE *out);

// Title and NAME of a page in section 1. summary says in one sentence what the program is; what follows its first
// full stop is left out.
void roff_begin(const char *name, const char *summary, FILE *out);

// A paragraph with a heading in bold: an option, a command, a file.
void roff_entry(const char *heading, const char *text, FILE *out);

// The section ENVIRONMENT: every option of the table, as config_help() has them.
void roff_environment(const struct config_option *table, FILE *out);

// SEE ALSO: the other programs, and where the documents are.
void roff_see_also(const char *name, FILE *out);

#endif
