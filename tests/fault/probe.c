// SPDX-License-Identifier: MIT
// Preloaded into the processes under test: what could somebody do who has taken one over? A thread
// of the process, made when its loop starts to run, waits for SIGRTMIN+5, then tries what no process
// has a use for, and writes a line with the errno of each attempt (0: it worked) and at last "end"
// to a file in $PROBE_DIR that was opened when the program started. Nothing that works does harm. The log
// writer, which is forked from the supervisor and closes its files, has the thread from its first poll(2)
// on, and needs a $PROBE_DIR where it may make files.
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define TRIGGER (SIGRTMIN + 5)

static sem_t asked;
static FILE *answers;
static pid_t pid_of_answers;
static const char *home;
static int port;

static void say(const char *what, long result)
{
    (void)fprintf(answers, "%s %d\n", what, result < 0 ? errno : 0);
}

// --- Files

static void try_open(const char *what, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    say(what, fd);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (fd >= 0 && flags & O_CREAT) {
        (void)unlink(path);
    }
}

static void try_in_home(const char *relative, int flags)
{
    char path[4096], what[256];
    (void)snprintf(path, sizeof path, "%s/%s", home, relative);
    (void)snprintf(what, sizeof what, "%s:%s", flags & O_CREAT ? "write" : "read", relative);
    try_open(what, path, flags);
}

static void try_files(void)
{
    static const char *const readable[] = { "db/users/users.db",
                                            "db/orders/orders.db",
                                            "db/search/search.db",
                                            "queue/lease",
                                            "secrets/signing/token.key",
                                            "secrets/admin-password",
                                            "secrets/admin-token",
                                            "secrets/cursor.key",
                                            "secrets/public/jwks.json",
                                            "secrets/curve/gateway.key_secret",
                                            "secrets/curve/queue.key_secret",
                                            "secrets/curve/users.key_secret",
                                            "secrets/curve/orders.key_secret",
                                            "run/supervisor.lock" };
    static const char *const writable[] = { "made",           "db/made",        "db/users/made",
                                            "db/orders/made", "db/search/made", "queue/made",
                                            "secrets/made",   "run/made" };
    char path[64];
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
        try_in_home(readable[i], O_RDONLY);
    }
    for (size_t i = 0; i < sizeof writable / sizeof *writable; i++) {
        try_in_home(writable[i], O_WRONLY | O_CREAT);
    }
    try_open("read:/etc/shadow", "/etc/shadow", O_RDONLY);
    try_open("read:/bin/true", "/bin/true", O_RDONLY);
    try_open("write:/tmp", "/tmp/sluice-probe-made", O_WRONLY | O_CREAT);
    (void)snprintf(path, sizeof path, "/proc/%d/environ", (int)getppid());
    try_open("read:/proc/parent", path, O_RDONLY);
    try_open("read:/proc/self", "/proc/self/stat", O_RDONLY);
    try_open("read:/etc/hosts", "/etc/hosts", O_RDONLY);
}

// --- Processes

static void try_processes(void)
{
    char *none[] = { NULL };
    char byte;
    struct iovec here = { &byte, 1 }, there = { &byte, 1 };
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    say("fork", pid);
    if (pid > 0) {
        (void)waitpid(pid, NULL, 0);
    }
    pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        _exit(0);
    }
    say("clone", pid);
    say("clone3", syscall(SYS_clone3, NULL, 0));
    say("execve", execve("/no/such/program", none, none)); // one that exists would end the process
    say("ptrace", ptrace(PTRACE_PEEKDATA, getppid(), NULL, NULL) == -1 && errno ? -1 : 0);
    say("kill", kill(getppid(), 0));
    errno = EPERM;
    say("dumpable", prctl(PR_GET_DUMPABLE) ? 0 : -1);
    say("process_vm_readv", process_vm_readv(getppid(), &here, 1, &there, 1, 0));
}

// --- The kernel

static void try_kernel(void)
{
    say("mount", mount("none", "/mnt", "tmpfs", MS_BIND, NULL));
    say("unshare", unshare(CLONE_FS));
    say("bpf", syscall(SYS_bpf, 0, NULL, 0));
    say("io_uring_setup", syscall(SYS_io_uring_setup, 1, NULL));
    say("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
    say("perf_event_open", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
    say("userfaultfd", syscall(SYS_userfaultfd, 0));
    say("init_module", syscall(SYS_init_module, NULL, 0, ""));
    say("setuid", syscall(SYS_setuid, getuid())); // to what it is already
}

// --- Sockets

static void try_socket(const char *what, int domain, int type, int protocol)
{
    int fd = socket(domain, type | SOCK_CLOEXEC, protocol);
    say(what, fd);
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void try_tcp(const char *what, bool binds)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)(binds ? 0 : port)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    say(what, binds ? bind(fd, (struct sockaddr *)&at, sizeof at)
                    : connect(fd, (struct sockaddr *)&at, sizeof at));
    (void)close(fd);
}

static void try_sockets(void)
{
    struct addrinfo *found = NULL;
    try_socket("packet", AF_PACKET, SOCK_RAW, 0);
    try_socket("raw", AF_INET, SOCK_RAW, IPPROTO_ICMP);
    try_socket("vsock", 40, SOCK_STREAM, 0);
    try_socket("netlink-audit", AF_NETLINK, SOCK_RAW, 9);
    try_socket("netlink-route", AF_NETLINK, SOCK_RAW, 0);
    try_socket("udp", AF_INET6, SOCK_DGRAM, 0);
    try_tcp("connect", false);
    try_tcp("bind", true);
    errno = EHOSTUNREACH;
    say("resolve", getaddrinfo("localhost", "80", NULL, &found) ? -1 : 0);
    if (found) {
        freeaddrinfo(found);
    }
}

// --- In the process

static void *probe(void *unused)
{
    while (sem_wait(&asked) == 0 || errno == EINTR) {
        try_files();
        try_processes();
        try_kernel();
        try_sockets();
        (void)fputs("end\n", answers);
        (void)fflush(answers);
    }
    return unused;
}

static void on_trigger(int number)
{
    (void)number;
    (void)sem_post(&asked);
}

__attribute__((constructor)) static void open_answers(void)
{
    const char *dir = getenv("PROBE_DIR"), *to = getenv("PROBE_PORT");
    char path[4096];
    home = getenv("PROBE_HOME");
    if (!dir || !home || !to || strncmp(program_invocation_short_name, "sluice", 6) != 0) {
        return;
    }
    port = (int)strtol(to, NULL, 10);
    pid_of_answers = getpid();
    (void)snprintf(path, sizeof path, "%s/%d", dir, (int)pid_of_answers);
    answers = fopen(path, "we");
    (void)sem_init(&asked, 0, 0);
}

static void start(void)
{
    pthread_t thread;
    struct sigaction action = { .sa_handler = on_trigger, .sa_flags = SA_RESTART };
    if (answers && sigaction(TRIGGER, &action, NULL) == 0) {
        (void)pthread_create(&thread, NULL, probe, NULL);
    }
}

int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    static int (*next)(struct pollfd *, nfds_t, int);
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "poll");
    }
    if (answers && getpid() != pid_of_answers) {
        open_answers();
        start();
    }
    return next(fds, n, timeout_ms);
}

// The moment from which the process serves: the thread is as confined as those that serve.
int uv_run(uv_loop_t *loop, uv_run_mode mode)
{
    static int (*next)(uv_loop_t *, uv_run_mode);
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "uv_run");
        start();
    }
    return next(loop, mode);
}
