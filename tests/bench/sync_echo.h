// SPDX-License-Identifier: MIT
// The least that a ZeroMQ service can do which acknowledges after fdatasync: one thread that writes what it
// receives to a file that was allocated before, syncs it, and answers. No queue over ZeroMQ that keeps the same
// promise, one publish at a time, can be faster than this on the same disk.
#ifndef TESTS_BENCH_SYNC_ECHO_H
#define TESTS_BENCH_SYNC_ECHO_H

#include <stddef.h>
#include <sys/types.h>

struct sync_echo {
    void *socket;
    pid_t pid;
};

// Starts one as a process of its own with its file and its endpoint in directory. Returns 0 or -errno.
__attribute__((warn_unused_result)) int sync_echo_start(struct sync_echo *e, void *context,
                                                        const char *directory);
// Sends n bytes and waits for the answer. Returns 0 or -errno.
__attribute__((warn_unused_result)) int sync_echo_round(struct sync_echo *e, const void *bytes,
                                                        size_t n);
void sync_echo_stop(struct sync_echo *e);

// Creates path with its blocks allocated and written, as a segment of the log has them; for the bare disk too.
// Returns the descriptor or -errno.
__attribute__((warn_unused_result)) int sync_echo_file(const char *path);

#endif
