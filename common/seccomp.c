// SPDX-License-Identifier: MIT
// Calls are found by their names, when the program runs: libseccomp knows the numbers of each
// architecture, and a call that it or the architecture does not have needs no rule.
#include "common/seccomp.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/socket.h>

#if defined(__s390__) || defined(__s390x__)
#define CLONE_FLAGS 1 // which argument of clone they are
#else
#define CLONE_FLAGS 0
#endif

#define SOCKET_TYPE_MASK 0xF // without SOCK_CLOEXEC and SOCK_NONBLOCK
#define NETLINK_ROUTE_PROTOCOL 0

// Of no use to any process.
static const char *const of_nobody[] = {
    // mounts and namespaces
    "mount", "umount", "umount2", "mount_setattr", "move_mount", "open_tree", "fsopen", "fsmount",
    "fsconfig", "fspick", "pivot_root", "chroot", "unshare", "setns",
    // the machine
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
    "swapon", "swapoff", "syslog", "acct", "quotactl", "quotactl_fd", "settimeofday",
    "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex", "stime",
    "sethostname", "setdomainname", "ioperm", "iopl", "vhangup", "nfsservctl", "_sysctl",
    // parts of the kernel with a history
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "keyctl", "add_key", "request_key", "modify_ldt", "vm86", "vm86old",
    "lookup_dcookie", "uselib", "ustat", "open_by_handle_at", "mknod", "mknodat",
    // other users
    "setuid", "setuid32", "setgid", "setgid32", "setreuid", "setreuid32", "setregid", "setregid32",
    "setresuid", "setresuid32", "setresgid", "setresgid32", "setgroups", "setgroups32", "setfsuid",
    "setfsuid32", "setfsgid", "setfsgid32", "capset",
    // other processes' memory and descriptors
    "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp", NULL
};

// Of no use to a process that starts no programs; and to one that does not even fork.
static const char *const of_supervisors[] = { "execve", "execveat", "pidfd_send_signal", NULL };
static const char *const of_parents[] = { "fork", "vfork", "kill", NULL };

static int refuse(scmp_filter_ctx filter, const char *name)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) {
        return 0;
    }
    int rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
    return rc == -EDOM || rc == -EACCES ? 0 : rc; // not of this architecture
}

static int refuse_all(scmp_filter_ctx filter, const char *const *names)
{
    int rc = 0;
    for (; rc == 0 && *names; names++) {
        rc = refuse(filter, *names);
    }
    return rc;
}

static struct scmp_arg_cmp is(unsigned argument, enum scmp_compare how, scmp_datum_t value)
{
    return (struct scmp_arg_cmp){ .arg = argument, .op = how, .datum_a = value };
}

// Its bits in mask are value's.
static struct scmp_arg_cmp has(unsigned argument, scmp_datum_t mask, scmp_datum_t value)
{
    return (struct scmp_arg_cmp){
        .arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value
    };
}

static int refuse_if(scmp_filter_ctx filter, int number, struct scmp_arg_cmp condition)
{
    return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), number, 1, &condition);
}

static int refuse_if_both(scmp_filter_ctx filter, int number, struct scmp_arg_cmp one,
                          struct scmp_arg_cmp other)
{
    const struct scmp_arg_cmp conditions[] = { one, other };
    return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), number, 2, conditions);
}

// New processes, unless it forks, and namespaces in any case. The flags of clone3 are in memory, where
// a filter cannot look. CLONE_NEWTIME is not among them: clone takes that bit for a signal's, and only
// unshare and clone3 know it.
static int refuse_clones(scmp_filter_ctx filter, bool forks)
{
    static const scmp_datum_t namespaces[] = { CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET,
                                               CLONE_NEWNS,     CLONE_NEWPID, CLONE_NEWUSER,
                                               CLONE_NEWUTS };
    int rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; rc == 0 && i < sizeof namespaces / sizeof *namespaces; i++) {
        rc = refuse_if(filter, SCMP_SYS(clone), has(CLONE_FLAGS, namespaces[i], namespaces[i]));
    }
    return rc || forks ? rc : refuse_if(filter, SCMP_SYS(clone), has(CLONE_FLAGS, CLONE_THREAD, 0));
}

// The domain is an int of which a filter sees 64 bits: what is above the largest number that is
// allowed is refused with its upper half.
static int refuse_domains(scmp_filter_ctx filter)
{
    const scmp_datum_t largest = AF_NETLINK;
    int rc = refuse_if(filter, SCMP_SYS(socket), is(0, SCMP_CMP_GT, largest));
    for (scmp_datum_t domain = 0; rc == 0 && domain < largest; domain++) {
        if (domain != AF_UNIX && domain != AF_INET && domain != AF_INET6) {
            rc = refuse_if(filter, SCMP_SYS(socket), is(0, SCMP_CMP_EQ, domain));
        }
    }
    return rc;
}

static int refuse_sockets(scmp_filter_ctx filter)
{
    static const scmp_datum_t internet[] = { AF_INET, AF_INET6 };
    int rc = refuse_domains(filter);
    for (size_t i = 0; rc == 0 && i < 2; i++) {
        rc = refuse_if_both(filter, SCMP_SYS(socket), is(0, SCMP_CMP_EQ, internet[i]),
                            has(1, SOCKET_TYPE_MASK, SOCK_RAW));
    }
    return rc ? rc
              : refuse_if_both(filter, SCMP_SYS(socket), is(0, SCMP_CMP_EQ, AF_NETLINK),
                               is(2, SCMP_CMP_NE, NETLINK_ROUTE_PROTOCOL));
}

static int add_rules(scmp_filter_ctx filter, enum sandbox_kind kind)
{
    bool executes = kind == SANDBOX_SUPERVISOR || sandbox_is_sanitized();
    bool forks = executes || kind == SANDBOX_LOG_WRITER;
    int rc = refuse_all(filter, of_nobody);
    if (rc == 0 && !sandbox_is_sanitized()) {
        rc = refuse(filter, "ptrace");
        rc = rc ? rc : refuse(filter, "personality"); // sanitizers start anew without randomisation
    }
    rc = rc || executes ? rc : refuse_all(filter, of_supervisors);
    rc = rc || forks ? rc : refuse_all(filter, of_parents);
    rc = rc ? rc : refuse_clones(filter, forks);
    return rc ? rc : refuse_sockets(filter);
}

int seccomp_enter(enum sandbox_kind kind)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter) {
        return -ENOMEM;
    }
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    rc = rc ? rc : seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    rc = rc ? rc : add_rules(filter, kind);
    rc = rc ? rc : seccomp_load(filter);
    seccomp_release(filter);
    return rc == -EINVAL || rc == -EOPNOTSUPP ? -ENOSYS
                                              : rc; // how a kernel without filters says it
}
