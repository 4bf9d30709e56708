// SPDX-License-Identifier: MIT
// A copy of a store that others may be writing to, as it was at one moment. For `sluice backup`.
#ifndef COMMON_DB_COPY_H
#define COMMON_DB_COPY_H

#include <stddef.h>
#include <stdint.h>

// Copies from into the new file to by SQLite's online backup, sets cursors that are beyond last_seq
// back to it, checks the copy (quick_check) and syncs it. Writers go on; their write-ahead log grows
// meanwhile. 0, or a negative errno with a line in error.
__attribute__((warn_unused_result)) int db_copy(const char *from, const char *to, int64_t last_seq,
                                                char *error, size_t size);

#endif
