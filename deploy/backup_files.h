// SPDX-License-Identifier: MIT
// Copies of files and directories with their checksums, for backup.c.
#ifndef DEPLOY_BACKUP_FILES_H
#define DEPLOY_BACKUP_FILES_H

#include <limits.h>
#include <stdint.h>

#define BACKUP_HASH 65 // SHA-256 in hexadecimal, with its NUL

// Copies the first bytes of from (-1: all) into the new file to (0600), and syncs it. 0 or a
// negative errno.
__attribute__((warn_unused_result)) int backup_copy(int from, const char *to, int64_t bytes);
__attribute__((warn_unused_result)) int backup_copy_path(const char *from, const char *to);

// SHA-256 and length of a file. 0 or a negative errno.
__attribute__((warn_unused_result)) int backup_hash(const char *path, char ret_hash[BACKUP_HASH],
                                                    int64_t *ret_bytes);

// Calls on_file with the path of each regular file below root, relative to it, in no order.
// Returns 0, what on_file returned if that is not 0, or a negative errno.
__attribute__((warn_unused_result)) int
backup_walk(const char *root, int (*on_file)(const char *relative, void *data), void *data);

// Brings the names in a directory, and it, to the disk. 0 or a negative errno.
__attribute__((warn_unused_result)) int backup_sync_dir(const char *path);

#endif
