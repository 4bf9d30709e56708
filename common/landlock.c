// SPDX-License-Identifier: MIT
// The structure and the bits are written out here: the headers of Debian 12 know version 2 only,
// and the kernel may be newer than they are.
#include "common/landlock.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1
#define RULE_NET_PORT 2

// Versions that brought something.
#define VERSION_REFER 2
#define VERSION_TRUNCATE 3
#define VERSION_NET 4
#define VERSION_IOCTL_DEV 5
#define VERSION_SCOPE 6

enum {
    EXECUTE = 1u << 0,
    WRITE_FILE = 1u << 1,
    READ_FILE = 1u << 2,
    READ_DIR = 1u << 3,
    REMOVE_DIR = 1u << 4,
    REMOVE_FILE = 1u << 5,
    MAKE_DIR = 1u << 7,
    MAKE_REG = 1u << 8,
    MAKE_SOCK = 1u << 9,
    REFER = 1u << 13,
    TRUNCATE = 1u << 14,
    IOCTL_DEV = 1u << 15,
    ALL_OF_VERSION_1 = (1u << 13) - 1,
    OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV, // the others: directories
    BIND_TCP = 1u << 0,
    CONNECT_TCP = 1u << 1,
    SCOPE_ABSTRACT_UNIX_SOCKET = 1u << 0,
    SCOPE_SIGNAL = 1u << 1,
};

struct ruleset {
    uint64_t handled_access_fs;
    uint64_t handled_access_net; // from VERSION_NET on
    uint64_t scoped;             // from VERSION_SCOPE on
};

struct path_beneath {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));

struct net_port {
    uint64_t allowed_access;
    uint64_t port;
};

static const uint32_t rights[] = {
    [SANDBOX_READ] = READ_FILE | READ_DIR,
    [SANDBOX_WRITE] = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | MAKE_REG | REMOVE_FILE |
                      MAKE_DIR | REMOVE_DIR,
    [SANDBOX_SOCKETS] = READ_DIR | MAKE_SOCK | REMOVE_FILE | MAKE_DIR,
    [SANDBOX_LIST] = READ_DIR,
    [SANDBOX_DEVICE] = READ_FILE | WRITE_FILE,
    [SANDBOX_RUN] = READ_FILE | READ_DIR | EXECUTE,
};

int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    return version > 0 ? (int)version : 0;
}

// What is refused unless a rule allows it: everything that the kernel knows.
static struct ruleset handled(const struct sandbox *rules, int version)
{
    struct ruleset r = { .handled_access_fs = ALL_OF_VERSION_1 };
    r.handled_access_fs |= version >= VERSION_REFER ? REFER : 0;
    r.handled_access_fs |= version >= VERSION_TRUNCATE ? TRUNCATE : 0;
    r.handled_access_fs |= version >= VERSION_IOCTL_DEV ? IOCTL_DEV : 0;
    r.handled_access_net = version >= VERSION_NET ? BIND_TCP | CONNECT_TCP : 0;
    if (version >= VERSION_SCOPE) {
        r.scoped = SCOPE_SIGNAL | (rules->abstract ? 0 : SCOPE_ABSTRACT_UNIX_SOCKET);
    }
    return r;
}

// Older kernels refuse a longer structure only when what they do not know is not 0.
static int add_rules(int fd, const struct sandbox *rules, const struct ruleset *r)
{
    for (size_t i = 0; i < rules->n_paths; i++) {
        struct stat st;
        if (fstat(rules->paths[i].fd, &st)) {
            return -errno;
        }
        uint64_t access = rights[rules->paths[i].right] & r->handled_access_fs;
        struct path_beneath rule = { S_ISDIR(st.st_mode) ? access : access & OF_FILES,
                                     rules->paths[i].fd };
        if (rule.allowed_access &&
            syscall(SYS_landlock_add_rule, fd, RULE_PATH_BENEATH, &rule, 0)) {
            return -errno;
        }
    }
    for (size_t i = 0; r->handled_access_net && i < rules->n_ports; i++) {
        struct net_port rule = { rules->ports[i].bind ? BIND_TCP : CONNECT_TCP,
                                 rules->ports[i].port };
        if (syscall(SYS_landlock_add_rule, fd, RULE_NET_PORT, &rule, 0)) {
            return -errno;
        }
    }
    return 0;
}

int landlock_enter(const struct sandbox *rules)
{
    int version = landlock_version();
    if (version == 0) {
        return 0;
    }
    struct ruleset r = handled(rules, version);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &r, sizeof r, 0);
    if (fd < 0) {
        return -errno;
    }
    int rc = add_rules(fd, rules, &r);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, fd, 0)) {
        rc = -errno;
    }
    (void)close(fd); // the rules are the thread's now
    return rc ? rc
              : SANDBOX_FILES | (r.handled_access_net ? SANDBOX_PORTS : 0) |
                    (r.scoped ? SANDBOX_SIGNALS : 0);
}
