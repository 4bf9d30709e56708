// SPDX-License-Identifier: MIT
// The files of a page that is part of the program, made at build time by gateway/embed.py.
#ifndef GATEWAY_PAGE_FILE_H
#define GATEWAY_PAGE_FILE_H

#include <stddef.h>

// Content-Security-Policy of a page: it may load its own files and talk to its own listener, and
// nothing else; nobody may frame it, and text that becomes markup or a script is refused.
#define PAGE_POLICY                                                                                \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src "        \
    "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "                        \
    "require-trusted-types-for 'script'; trusted-types 'none'"

struct page_file {
    const char *path, *media_type;
    const char *etag; // quoted
    const unsigned char *bytes;
    size_t n;
};

// Each ended by path NULL.
extern const struct page_file console_files[]; // gateway/console/ and gateway/pages/
extern const struct page_file docs_files[];    // gateway/docs/ and gateway/pages/

#endif
