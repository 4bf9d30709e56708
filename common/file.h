// SPDX-License-Identifier: MIT
// Small files as a whole: read with a limit, and replaced so that a crash leaves the old content or
// the new one, never a part. Not for logs or stores, which have their own ways of being durable.
#ifndef COMMON_FILE_H
#define COMMON_FILE_H

#include "proto/buf.h"

#include <sys/types.h>

// Appends the content of path to content. Returns 0, -EFBIG when it is longer than max_bytes, or
// another negative errno (content may then have a part of it).
__attribute__((warn_unused_result)) int file_read(const char *path, size_t max_bytes,
                                                  struct buf *content);

// Writes all of content where fd stands, in as many pieces as it takes. Returns 0 or a negative errno;
// a part of it may be written then.
__attribute__((warn_unused_result)) int file_write_all(int fd, struct str content);

// Puts content into path with exactly this mode: a temporary file beside it is written, fsynced and
// renamed, and the directory is fsynced. Two processes must not replace the same path at once.
// Returns 0 or a negative errno.
__attribute__((warn_unused_result)) int file_replace(const char *path, struct str content,
                                                     mode_t mode);

// Whether nobody but its owner has rights to path: 0; -EACCES with what is wrong in text ("its mode
// is 0644, so others can read it; chmod 0600"); or another negative errno.
#define FILE_PRIVATE_TEXT 64
__attribute__((warn_unused_result)) int file_is_private(const char *path,
                                                        char text[FILE_PRIVATE_TEXT]);

#endif
