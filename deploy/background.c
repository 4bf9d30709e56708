// SPDX-License-Identifier: MIT
// See background.h.
#include "deploy/background.h"

#include "common/process.h"
#include "deploy/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <yyjson.h>

#define LOG_TAIL_BYTES 65536 // looked at for reasons when a start fails
#define REASON_TRIES 20
#define REASON_WAIT_NS 50000000

// Prints what matters of a line: errors, each once if they are repeated, and what is not one of our JSON lines (a
// program's last words). Returns whether it did.
static bool show_log_line(const char *line, size_t n)
{
    static char last[512];
    yyjson_doc *doc = yyjson_read(line, n, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    const char *severity = yyjson_get_str(yyjson_obj_get(root, "severity_text"));
    const char *instance = yyjson_get_str(yyjson_obj_get(root, "service.instance.id"));
    const char *body = yyjson_get_str(yyjson_obj_get(root, "body"));
    bool shown = !severity || !instance || !body;
    if (shown) {
        fprintf(stderr, "%.*s\n", (int)n, line);
    } else if ((strcmp(severity, "ERROR") == 0 || strcmp(severity, "FATAL") == 0) &&
               strncmp(body, last, sizeof last - 1) != 0) {
        fprintf(stderr, "%s: %s\n", instance, body);
        snprintf(last, sizeof last, "%s", body);
        shown = true;
    }
    yyjson_doc_free(doc);
    return shown;
}

// Returns whether there was something to show.
static bool show_log_since(int log_fd, off_t start)
{
    static char text[LOG_TAIL_BYTES];
    bool shown = false;
    off_t end = lseek(log_fd, 0, SEEK_END);
    ssize_t n = pread(log_fd, text, sizeof text,
                      end - start > LOG_TAIL_BYTES ? end - LOG_TAIL_BYTES : start);
    const char *line = text, *newline;
    while (n > 0 && (newline = memchr(line, '\n', (size_t)n))) {
        shown = show_log_line(line, (size_t)(newline - line)) || shown;
        n -= newline + 1 - line;
        line = newline + 1;
    }
    return shown;
}

// The reason is on its way to the file when the trouble is told of. Whoever ended has written all of
// it: the log writer keeps the other end of the pipe open until then.
static void show_reason(int log_fd, off_t start)
{
    for (int i = 0; i < REASON_TRIES; i++) {
        nanosleep(&(struct timespec){ .tv_nsec = REASON_WAIT_NS }, NULL);
        if (show_log_since(log_fd, start)) {
            return;
        }
    }
}

// Waits for word from the background. Returns the exit status.
static int wait_for_word(const char *home, pid_t pid, int from, int log_fd, off_t log_start)
{
    char told = 0;
    int status;
    struct pollfd p = { .fd = from, .events = POLLIN };
    bool came = poll(&p, 1, BACKGROUND_READY_MS) > 0;
    if (came && read(from, &told, 1) == 1 && told == BACKGROUND_READY) {
        return EXIT_OK;
    }
    if (told == BACKGROUND_TROUBLE) {
        show_reason(log_fd, log_start);
    } else {
        (void)show_log_since(log_fd, log_start);
    }
    if (came && told == 0 && waitpid(pid, &status, 0) == pid) {
        fprintf(stderr, "sluice: stopped while starting; more is in %s/run/sluice.log\n", home);
        return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_FAILED;
    }
    fprintf(stderr,
            "sluice: not everything is ready, it goes on trying; see `sluice status --home %s` and "
            "%s/run/sluice.log\n",
            home, home);
    return EXIT_FAILED;
}

int background_enter(const char *home, int *ret_status)
{
    int tell[2] = { -1, -1 };
    *ret_status = EXIT_CONFIG;
    int log_fd = rundir_open_log(home);
    if (log_fd < 0) {
        fprintf(stderr, "sluice: %s/run/sluice.log: %s\n", home, strerror(-log_fd));
        return -1;
    }
    off_t log_start = lseek(log_fd, 0, SEEK_END);
    pid_t pid = pipe2(tell, O_CLOEXEC) < 0 ? -1 : fork();
    if (pid < 0) {
        fprintf(stderr, "sluice: cannot go into the background: %s\n", strerror(errno));
        return -1;
    }
    if (pid > 0) {
        (void)close(tell[1]); // so that the end of the child is seen
        *ret_status = wait_for_word(home, pid, tell[0], log_fd, log_start);
        return -1;
    }
    (void)setsid(); // cannot fail in a child
    if (dup2(log_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0) {
        _exit(EXIT_FAILED); // the parent sees that
    }
    return tell[1];
}
