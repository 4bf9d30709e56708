// SPDX-License-Identifier: MIT
// What a process gives up before it serves, so that whoever takes it over gets little: files and
// TCP ports that it has no use for (Landlock), system calls that it has no use for (seccomp), core
// files, other processes' looks into its memory, and privileges by exec.
//
// Files and ports are an allow list: what was not named beforehand is refused with EACCES, reading
// included. System calls are a list of what is refused, with EPERM (clone3 with ENOSYS, so that
// glibc takes clone, whose flags a filter can see): programs, other processes, namespaces and
// mounts, the kernel's administration, io_uring, and sockets that are neither unix, nor TCP or UDP,
// nor NETLINK_ROUTE. Why not an allow list there: docs/adr/0006.
//
// Each part is as strong as the kernel: Landlock from 5.13 on, its TCP ports from 6.7, its signals
// from 6.12. A build with AddressSanitizer or ThreadSanitizer leaves out what their reports need:
// such a process may be traced, and may start a symbolizer. An inherited descriptor is not touched.
#ifndef COMMON_SANDBOX_H
#define COMMON_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SANDBOX_MAX_PATHS 64
#define SANDBOX_MAX_PORTS 64 // gateways are the most: an endpoint has a port

// What may be done at and below a path.
enum sandbox_right {
    SANDBOX_READ = 1, // files read, directories listed
    SANDBOX_WRITE,    // as well: files made, written, renamed and removed; directories made
    SANDBOX_SOCKETS,  // unix sockets made and removed, directories made and listed; no file is read
    SANDBOX_LIST,     // directories listed
    SANDBOX_DEVICE,   // one device read and written
    SANDBOX_RUN       // files read and executed; sanitized builds only
};

// Parts that may be in force, as bits.
enum sandbox_part {
    SANDBOX_FILES = 1,
    SANDBOX_PORTS = 2,
    SANDBOX_SIGNALS = 4,      // none to processes outside
    SANDBOX_SYSTEM_CALLS = 8, //
    SANDBOX_MEMORY = 16       // no core file, no tracing, /proc/PID/environ and mem for root alone
};
#define SANDBOX_PARTS 5

enum sandbox_kind {
    SANDBOX_SERVICE,    // never starts a program
    SANDBOX_LOG_WRITER, // forks, and ends what it forked; never starts a program
    SANDBOX_SUPERVISOR  // forks and executes; its files are those of all that it starts
};

// Of a part, by number (0..SANDBOX_PARTS-1), for logs and labels: "files".
const char *sandbox_part_name(int number);

// Whether the build is a sanitized one.
bool sandbox_is_sanitized(void);

struct sandbox {
    struct {
        int fd; // O_PATH
        enum sandbox_right right;
    } paths[SANDBOX_MAX_PATHS];
    size_t n_paths;
    struct {
        uint16_t port;
        bool bind; // or else connect
    } ports[SANDBOX_MAX_PORTS];
    size_t n_ports;
    bool abstract; // abstract unix sockets of other processes may be connected to
};

void sandbox_init(struct sandbox *s);
void sandbox_fini(struct sandbox *s);

// A path that is not there is left out: nothing is there to be used. A symbolic link is followed
// now. The file or directory is meant, not its name: what is put in its place by a rename later is
// not allowed. Returns 0 or a negative errno, -ENOSPC over SANDBOX_MAX_PATHS.
__attribute__((warn_unused_result)) int sandbox_allow_path(struct sandbox *s, const char *path,
                                                           enum sandbox_right right);
// -ENOSPC over SANDBOX_MAX_PORTS.
__attribute__((warn_unused_result)) int sandbox_allow_port(struct sandbox *s, uint16_t port,
                                                           bool bind);

// Gives up the rest, for good, for the calling thread and those that it makes: call it while there
// is one. *ret_parts is what is in force. What the kernel lacks is no error. Returns 0, or a
// negative errno when the kernel has something and refuses it; then what was done before stays.
__attribute__((warn_unused_result)) int sandbox_enter(const struct sandbox *s,
                                                      enum sandbox_kind kind, unsigned *ret_parts);

#endif
