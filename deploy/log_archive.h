// SPDX-License-Identifier: MIT
// Compresses one archive of a log (log_file.h) with zstd.
#ifndef DEPLOY_LOG_ARCHIVE_H
#define DEPLOY_LOG_ARCHIVE_H

#define LOG_ARCHIVE_LEVEL 6 // log lines become a tenth, at about 100 MB/s

// Compresses NAME in the directory into NAME.zst, and removes NAME: NAME.zst.tmp is written (0600),
// with a checksum in it, synced, renamed, and the directory is synced before NAME goes. Whenever it
// is cut off, NAME or NAME.zst is there as a whole. Returns 0 or a negative errno: then NAME is as
// it was, and nothing else is left.
__attribute__((warn_unused_result)) int log_archive_compress(int dir_fd, const char *name);

#endif
