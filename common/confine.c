// SPDX-License-Identifier: MIT
#include "common/confine.h"

#include "common/home.h"
#include "common/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define HTTP_PORT 80 // of a URL without one
#define DNS_PORT 53  // of an answer that is too long for UDP

// What the C library and libzmq look at, to resolve a name, to write a time, or to load the parts
// of the C library that do so.
static const struct process_right of_everybody[] = {
    { "/dev/null", SANDBOX_DEVICE },
    { "/dev/urandom", SANDBOX_READ },
    { "/etc/gai.conf", SANDBOX_READ },
    { "/etc/host.conf", SANDBOX_READ },
    { "/etc/hosts", SANDBOX_READ },
    { "/etc/ld.so.cache", SANDBOX_READ },
    { "/etc/localtime", SANDBOX_READ },
    { "/etc/nsswitch.conf", SANDBOX_READ },
    { "/etc/protocols", SANDBOX_READ },
    { "/etc/resolv.conf", SANDBOX_READ },
    { "/etc/services", SANDBOX_READ },
    { "/lib", SANDBOX_READ },
    { "/lib64", SANDBOX_READ },
    { "/run/systemd/resolve", SANDBOX_READ }, // resolv.conf may be a link to there
    { "/sys/devices/system/cpu", SANDBOX_READ },
    { "/usr/lib", SANDBOX_READ },
    { "/usr/lib64", SANDBOX_READ },
    { "/usr/share/zoneinfo", SANDBOX_READ },
    { "run", SANDBOX_SOCKETS },
    { NULL, 0 },
};

// What a sanitizer reads and starts to name the lines of its report.
static const struct process_right of_sanitizers[] = {
    { "/lib", SANDBOX_RUN },
    { "/lib64", SANDBOX_RUN },
    { "/proc/self/exe", SANDBOX_RUN },
    { "/usr", SANDBOX_RUN },
    { NULL, 0 },
};

// --- Paths

// A directory to write in is made first: a rule needs something that is there.
static int allow(struct sandbox *s, const char *home, const struct process_right *right)
{
    char path[PATH_MAX];
    bool absolute = right->path[0] == '/';
    bool directory = right->right == SANDBOX_WRITE || right->right == SANDBOX_SOCKETS;
    int n = snprintf(path, sizeof path, "%s%s%s%s", absolute ? "" : home, absolute ? "" : "/",
                     right->path, directory ? "/." : "");
    if (n < 0 || (size_t)n >= sizeof path) {
        return -ENAMETOOLONG;
    }
    int rc = directory && !absolute ? home_make_parents(path) : 0;
    return rc ? rc : sandbox_allow_path(s, path, right->right);
}

static int allow_all(struct sandbox *s, const char *home, const struct process_right *rights)
{
    int rc = 0;
    for (; rc == 0 && rights && rights->path; rights++) {
        rc = allow(s, home, rights);
    }
    return rc;
}

// The process's own entry in /proc. A rule lives with the entry's inode, and that as long as
// somebody has it open: this descriptor stays.
static int allow_own_proc(struct sandbox *s)
{
    static int kept = -1;
    if (kept < 0) {
        kept = open("/proc/self", O_PATH | O_CLOEXEC);
    }
    return sandbox_allow_path(s, "/proc/self", SANDBOX_READ);
}

// The directory of a path that was configured.
static int allow_directory_of(struct sandbox *s, const char *path, size_t n,
                              enum sandbox_right right)
{
    char directory[PATH_MAX];
    const char *slash = memrchr(path, '/', n);
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof directory - 1) {
        return -ENAMETOOLONG;
    }
    (void)snprintf(directory, sizeof directory, "%.*s", slash ? (int)length + 1 : 1,
                   slash ? path : ".");
    return sandbox_allow_path(s, directory, right);
}

// --- Endpoints

// The port of tcp://host:port, http://host:port/path or host:port. Negative: it has none.
static int64_t find_port(const char *p, size_t n)
{
    static const char http[] = "http://";
    int64_t port = -1;
    char text[8];
    if (n > sizeof http - 1 && memcmp(p, http, sizeof http - 1) == 0) {
        p += sizeof http - 1;
        n = strcspn(p, "/,");
        port = HTTP_PORT;
    }
    const char *colon = n > 0 && p[n - 1] == ']' ? NULL : memrchr(p, ':', n);
    size_t digits = colon ? n - (size_t)(colon + 1 - p) : 0;
    if (digits == 0 || digits >= sizeof text) {
        return port;
    }
    (void)snprintf(text, sizeof text, "%.*s", (int)digits, colon + 1);
    return config_parse_number(CONFIG_INTEGER, text, &port) ? -1 : port;
}

// ipc:///path, tcp://host:port, unix:/path, unix:NAME (in run/), http://host:port/path or host:port.
static int allow_endpoint(struct sandbox *s, const char *p, size_t n, bool listens)
{
    static const char *const prefixes[] = { "ipc://", "unix:" };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t prefix = strlen(prefixes[i]);
        if (n > prefix && memcmp(p, prefixes[i], prefix) == 0) {
            s->abstract = s->abstract || p[prefix] == '@';
            return p[prefix] != '/' ? 0
                                    : allow_directory_of(s, p + prefix, n - prefix,
                                                         listens ? SANDBOX_SOCKETS : SANDBOX_LIST);
        }
    }
    int64_t port = find_port(p, n);
    if (port < 0 || port > UINT16_MAX) {
        return 0; // who opens it will say what is wrong
    }
    int rc = sandbox_allow_port(s, (uint16_t)port, listens);
    return rc || listens ? rc : sandbox_allow_port(s, DNS_PORT, false);
}

static int allow_endpoints(struct sandbox *s, const char *list, bool listens)
{
    int rc = 0;
    for (const char *p = list; rc == 0;) {
        size_t n = strcspn(p, ",");
        rc = allow_endpoint(s, p, n, listens);
        if (p[n] == '\0') {
            break;
        }
        p += n + 1;
    }
    return rc;
}

// --- Configuration

static int allow_option(struct sandbox *s, const struct config_option *o, const void *config)
{
    if (o->names == CONFIG_NAMES_NOTHING) {
        return 0;
    }
    assert(o->kind == CONFIG_STRING);
    const char *value = *(char *const *)((const char *)config + o->offset);
    if (!value) {
        return 0;
    }
    switch (o->names) {
    case CONFIG_NAMES_LISTENER:
        return allow_endpoints(s, value, true);
    case CONFIG_NAMES_PEER:
        return allow_endpoints(s, value, false);
    case CONFIG_NAMES_FILE: // which may be replaced while the process runs
        return allow_directory_of(s, value, strlen(value), SANDBOX_READ);
    default:
        return sandbox_allow_path(s, value, SANDBOX_WRITE);
    }
}

static int gather(struct sandbox *s, const struct config_option *table,
                  const struct process_config *config, const struct process_right *rights)
{
    const char *notify = getenv("NOTIFY_SOCKET");
    s->abstract = notify && *notify == '@';
    int rc = allow_all(s, config->home, of_everybody);
    rc = rc ? rc : allow_own_proc(s);
    rc = rc ? rc : allow_all(s, config->home, rights);
    rc = rc || !sandbox_is_sanitized() ? rc : allow_all(s, config->home, of_sanitizers);
    for (const struct config_option *o = table; rc == 0 && o->name; o++) {
        rc = allow_option(s, o, config);
    }
    return rc;
}

// --- Entering

static void name_parts(unsigned parts, char text[CONFINE_TEXT_SIZE])
{
    size_t n = 0;
    (void)snprintf(text, CONFINE_TEXT_SIZE, "none");
    for (int i = 0; i < SANDBOX_PARTS; i++) {
        if (parts & 1u << i) {
            n += (size_t)snprintf(text + n, CONFINE_TEXT_SIZE - n, "%s%s", n ? " " : "",
                                  sandbox_part_name(i));
            assert(n < CONFINE_TEXT_SIZE);
        }
    }
}

void confine_text(const char *mode, unsigned wanted, unsigned parts, char text[CONFINE_TEXT_SIZE])
{
    name_parts(parts, text);
    if (wanted & ~parts && strcmp(mode, "off") != 0) {
        char missing[CONFINE_TEXT_SIZE];
        name_parts(wanted & ~parts, missing);
        size_t n = strlen(text);
        (void)snprintf(text + n, CONFINE_TEXT_SIZE - n, "; not on this kernel or in this build: %s",
                       missing);
    }
}

static int enter(const struct sandbox *s, enum sandbox_kind kind, const char *mode, unsigned wanted,
                 unsigned *ret_parts, char error[CONFIG_ERROR_SIZE])
{
    int rc = sandbox_enter(s, kind, ret_parts);
    if (rc) {
        (void)snprintf(error, CONFIG_ERROR_SIZE,
                       "cannot enter the sandbox: %s; SLUICE_SANDBOX=off does without it",
                       strerror(-rc));
        return rc;
    }
    unsigned missing = wanted & ~*ret_parts;
    if (missing && strcmp(mode, "require") == 0) {
        char text[CONFINE_TEXT_SIZE];
        name_parts(missing, text);
        (void)snprintf(error, CONFIG_ERROR_SIZE,
                       "SLUICE_SANDBOX is \"require\", but this kernel or build cannot protect: "
                       "%s; allowed: on, which does what it can, and off",
                       text);
        return -ENOTSUP;
    }
    return 0;
}

int confine_enter(const struct config_option *table, const struct process_config *config,
                  const struct process_right *rights, unsigned *ret_parts,
                  char error[CONFIG_ERROR_SIZE])
{
    *ret_parts = 0;
    if (strcmp(config->sandbox, "off") == 0) {
        return 0;
    }
    struct sandbox s;
    sandbox_init(&s);
    int rc = gather(&s, table, config, rights);
    if (rc) {
        (void)snprintf(error, CONFIG_ERROR_SIZE, "cannot prepare the sandbox: %s", strerror(-rc));
    } else {
        rc = enter(&s, SANDBOX_SERVICE, config->sandbox, CONFINE_SERVICE, ret_parts, error);
    }
    sandbox_fini(&s);
    return rc;
}

// Without a file.
static int enter_bare(enum sandbox_kind kind, const char *mode, unsigned wanted,
                      unsigned *ret_parts, char error[CONFIG_ERROR_SIZE])
{
    *ret_parts = 0;
    if (strcmp(mode, "off") == 0) {
        return 0;
    }
    struct sandbox s;
    sandbox_init(&s);
    return enter(&s, kind, mode, wanted, ret_parts, error);
}

int confine_supervisor(const char *mode, unsigned *ret_parts, char error[CONFIG_ERROR_SIZE])
{
    return enter_bare(SANDBOX_SUPERVISOR, mode, CONFINE_SUPERVISOR, ret_parts, error);
}

int confine_companion(const char *mode, unsigned *ret_parts, char error[CONFIG_ERROR_SIZE])
{
    return enter_bare(SANDBOX_SERVICE, mode, CONFINE_SERVICE, ret_parts, error);
}

int confine_log_writer(const char *mode, const char *directory, unsigned *ret_parts,
                       char error[CONFIG_ERROR_SIZE])
{
    *ret_parts = 0;
    if (strcmp(mode, "off") == 0) {
        return 0;
    }
    struct sandbox s;
    sandbox_init(&s);
    int rc = sandbox_allow_path(&s, directory, SANDBOX_WRITE);
    if (rc) {
        (void)snprintf(error, CONFIG_ERROR_SIZE, "cannot prepare the sandbox: %s", strerror(-rc));
    } else {
        rc = enter(&s, SANDBOX_LOG_WRITER, mode, CONFINE_SERVICE, ret_parts, error);
    }
    sandbox_fini(&s);
    return rc;
}
