// SPDX-License-Identifier: MIT
// CRC32C (Castagnoli), the checksum of the event log: by the processor's own instruction where
// there is one, by tables elsewhere; the results are the same.
#ifndef QUEUE_CRC32C_H
#define QUEUE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

// The CRC of the bytes that crc already stands for (0: none), followed by n more.
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);

// The same by tables, on any processor; for tests.
uint32_t crc32c_by_tables(uint32_t crc, const void *bytes, size_t n);

#endif
