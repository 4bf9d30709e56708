// SPDX-License-Identifier: MIT
#include "common/sandbox.h"

#include "common/landlock.h"
#include "common/sanitized.h"
#include "common/seccomp.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

const char *sandbox_part_name(int number)
{
    static const char *const names[SANDBOX_PARTS] = { "files", "ports", "signals", "system-calls",
                                                      "memory" };
    assert(number >= 0 && number < SANDBOX_PARTS);
    return names[number];
}

bool sandbox_is_sanitized(void)
{
    return SANITIZED;
}

void sandbox_init(struct sandbox *s)
{
    s->n_paths = 0;
    s->n_ports = 0;
    s->abstract = false;
}

void sandbox_fini(struct sandbox *s)
{
    for (size_t i = 0; i < s->n_paths; i++) {
        (void)close(s->paths[i].fd); // opened with O_PATH: nothing is written
    }
    sandbox_init(s);
}

int sandbox_allow_path(struct sandbox *s, const char *path, enum sandbox_right right)
{
    if (s->n_paths == SANDBOX_MAX_PATHS) {
        return -ENOSPC;
    }
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
    }
    s->paths[s->n_paths].fd = fd;
    s->paths[s->n_paths++].right = right;
    return 0;
}

int sandbox_allow_port(struct sandbox *s, uint16_t port, bool bind)
{
    if (s->n_ports == SANDBOX_MAX_PORTS) {
        return -ENOSPC;
    }
    s->ports[s->n_ports].port = port;
    s->ports[s->n_ports++].bind = bind;
    return 0;
}

static int close_memory(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit)) {
        return -errno;
    }
    limit.rlim_cur = 0;
    return setrlimit(RLIMIT_CORE, &limit) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ? -errno : 0;
}

// The order: what comes later may need what is given up last.
int sandbox_enter(const struct sandbox *s, enum sandbox_kind kind, unsigned *ret_parts)
{
    unsigned parts = 0;
    int rc = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
    if (rc == 0 && !SANITIZED) { // LeakSanitizer traces its own process
        rc = close_memory();
        parts |= rc == 0 ? SANDBOX_MEMORY : 0;
    }
    if (rc == 0 && kind != SANDBOX_SUPERVISOR) {
        int in_force = landlock_enter(s);
        rc = in_force < 0 ? in_force : 0;
        parts |= in_force > 0 ? (unsigned)in_force : 0;
    }
    if (rc == 0) {
        rc = seccomp_enter(kind);
        parts |= rc == 0 ? SANDBOX_SYSTEM_CALLS : 0;
        rc = rc == -ENOSYS ? 0 : rc;
    }
    *ret_parts = parts;
    return rc;
}
