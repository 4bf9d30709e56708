// SPDX-License-Identifier: MIT
#include "deploy/log_writer.h"

#include "common/clock.h"
#include "common/confine.h"
#include "common/log.h"
#include "common/metrics.h"
#include "deploy/log_archive.h"
#include "deploy/log_backlog.h"
#include "deploy/log_file.h"
#include "deploy/rundir.h"
#include "deploy/spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_NAME "sluice.log"
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_IDLE (3 << 13) // of the disk, what nobody else wants
#define LOWEST_PRIORITY 19

// What the process counts for the supervisor's metrics.
struct counts {
    _Atomic int64_t written_bytes, lost_lines, rotations, rotation_failures, compressions,
        compression_failures, archives, archive_bytes, removed;
    _Atomic int64_t alive_ms; // monotonic time of its last turn
    _Atomic int trouble;      // errno of the last write; 0: it went well
};

// In memory that the supervisor and each of the processes have, one after the other.
struct shared {
    struct counts counts;
    struct log_backlog backlog;
};

// Who reads all of the pipe has room for it, beside a line that is not complete.
_Static_assert(LOG_BACKLOG_BYTES >= LOG_WRITER_PIPE_BYTES + 2 * LOG_WRITER_LINE_BYTES,
               "the backlog is smaller than the pipe");

enum { N_METRICS = 11 };

struct log_writer {
    struct log_writer_options options;
    int read_fd;
    struct shared *shared;
    pid_t pid; // 0: none
    uv_signal_t sigchld;
    uv_timer_t again;
    int open_handles;
    bool watched;
    _Atomic int64_t restarts;
    struct metric metrics[N_METRICS];
};

// --- The process: what it has

struct writing {
    struct log_writer *writer;
    struct counts *counts;
    struct log_backlog *backlog;
    struct log_file file;
    int own_fd;           // where its own lines come from
    int64_t lost_lines;   // that the log does not tell of yet
    int lost_error;       // why the first of them was lost
    pid_t compression;    // 0: none runs
    int64_t compress_ms;  // monotonic time before which none is tried
    int64_t look_ms;      // monotonic time of the next look
    int64_t archives_ms;  // and at the archives
    bool archives_change; // look at them at once
    int nowhere;          // errno: run/sluice.log is gone and cannot be made anew; 0: it is there
    bool told_rotation;   // that it fails
};

static void count(_Atomic int64_t *counter, int64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void rotate(struct writing *w)
{
    int r = log_file_rotate(&w->file, clock_wall_ms());
    if (r < 0) {
        count(&w->counts->rotation_failures, 1);
        if (!w->told_rotation) {
            log_warn("cannot move run/" LOG_NAME
                     " away: %s; it grows, and this is tried again every "
                     "%d s",
                     strerror(-r), LOG_FILE_RETRY_MS / 1000);
        }
        w->told_rotation = true;
        return;
    }
    w->told_rotation = false;
    count(&w->counts->rotations, 1);
    w->archives_change = true;
}

static int64_t count_lines(struct str s)
{
    int64_t n = 0;
    for (const char *p = s.p; (p = memchr(p, '\n', (size_t)(s.p + s.n - p))); p++) {
        n++;
    }
    return n;
}

static void set_trouble(struct writing *w, int error)
{
    atomic_store_explicit(&w->counts->trouble, error, memory_order_relaxed);
}

// Lines, as far as they go: the first ones of the backlog, if it is given. What is left is lost;
// returns 0 or why.
static int append(struct writing *w, struct str *lines, struct log_backlog *backlog)
{
    while (lines->n > 0) {
        size_t n = 0;
        if (log_file_is_due(&w->file, clock_wall_ms())) {
            rotate(w);
        }
        if (backlog) {
            log_backlog_begin_write(backlog, &w->file);
        }
        int r = log_file_append(&w->file, *lines, &n);
        if (backlog) {
            log_backlog_end_write(backlog, n);
        }
        count(&w->counts->written_bytes, (int64_t)n);
        *lines = (struct str){ lines->p + n, lines->n - n };
        if (r < 0) {
            return r;
        }
        if (lines->n > 0) {
            rotate(w); // it is full; if that fails, it takes the rest
        }
    }
    return 0;
}

// Its own lines, and those of a compression, wait in a pipe of their own, so that they are written
// like others: whole, or not at all.
static int append_own(struct writing *w)
{
    char bytes[2 * LOG_MAX_LINE];
    size_t n = 0;
    ssize_t more;
    while ((more = read(w->own_fd, bytes + n, sizeof bytes - n)) > 0) {
        n += (size_t)more;
    }
    struct str lines = { bytes, n };
    return n > 0 && bytes[n - 1] == '\n' ? append(w, &lines, NULL) : 0;
}

// Says what was lost, where it was; false: there still is no room, not even for that.
static bool tell_of_losses(struct writing *w)
{
    if (w->lost_lines == 0) {
        return true;
    }
    (void)append_own(w); // those before it, if there is room
    log_error("%" PRId64 " lines were lost here: run/" LOG_NAME " could not be written: %s",
              w->lost_lines, strerror(w->lost_error));
    if (append_own(w) < 0) {
        return false;
    }
    w->lost_lines = 0;
    return true;
}

// Of the backlog.
static void lose(struct writing *w, struct str lines, int error)
{
    int64_t n = count_lines(lines);
    log_backlog_end_write(w->backlog, lines.n);
    count(&w->counts->lost_lines, n);
    w->lost_error = w->lost_lines ? w->lost_error : error;
    w->lost_lines += n;
    set_trouble(w, error);
}

// Whole lines, the first ones of the backlog.
static void write_lines(struct writing *w, struct str lines)
{
    if (!tell_of_losses(w)) {
        lose(w, lines, w->lost_error);
        return;
    }
    int r = append(w, &lines, w->backlog);
    if (r < 0) {
        lose(w, lines, -r);
        return;
    }
    set_trouble(w, w->nowhere);
    (void)append_own(w); // about a move; without room it is said again
}

// --- Compression

__attribute__((noreturn)) static void compress(struct writing *w, const char *name)
{
    (void)prctl(PR_SET_NAME, "sluice-log-zstd");
    (void)setpriority(PRIO_PROCESS, 0, LOWEST_PRIORITY); // lower is always allowed
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
    int r = log_archive_compress(w->file.dir_fd, name);
    if (r < 0) {
        log_warn("cannot compress run/%s: %s; it stays as it is, and this is tried again in %d s",
                 name, strerror(-r), LOG_WRITER_COMPRESS_AGAIN_MS / 1000);
    }
    _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void begin_compression(struct writing *w, const char *name)
{
    pid_t pid = spawn_fork(SIGKILL); // what it leaves is put in order by the next writer
    if (pid == 0) {
        compress(w, name);
    }
    w->compression = pid > 0 ? pid : 0;
    if (pid < 0) {
        count(&w->counts->compression_failures, 1);
        w->compress_ms = clock_mono_ms() + LOG_WRITER_COMPRESS_AGAIN_MS;
    }
}

static void end_compression(struct writing *w)
{
    int status;
    if (w->compression == 0 || waitpid(w->compression, &status, WNOHANG) != w->compression) {
        return;
    }
    bool done = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
    count(done ? &w->counts->compressions : &w->counts->compression_failures, 1);
    w->compression = 0;
    w->compress_ms = done ? 0 : clock_mono_ms() + LOG_WRITER_COMPRESS_AGAIN_MS;
    w->archives_change = true;
}

static void look_at_archives(struct writing *w)
{
    struct log_file_archives archives;
    int r = log_file_prune(&w->file, &archives);
    w->archives_change = false;
    if (r < 0) {
        return; // the disk says so elsewhere, and it is tried again
    }
    count(&w->counts->removed, r);
    atomic_store_explicit(&w->counts->archives, archives.files, memory_order_relaxed);
    atomic_store_explicit(&w->counts->archive_bytes, archives.bytes, memory_order_relaxed);
    if (archives.has_raw && w->compression == 0 && clock_mono_ms() >= w->compress_ms) {
        begin_compression(w, archives.raw);
    }
}

// What is to be done now and then.
static void look(struct writing *w)
{
    int64_t now_ms = clock_mono_ms();
    end_compression(w);
    (void)append_own(w);
    if (now_ms < w->look_ms && !w->archives_change) {
        return;
    }
    w->look_ms = now_ms + LOG_WRITER_LOOK_MS;
    int r = log_file_follow(&w->file, clock_wall_ms());
    if (r > 0) {
        log_warn("run/" LOG_NAME " was removed or moved by somebody else; it was made anew");
    }
    w->nowhere = r < 0 ? -r : 0; // what is written then is nowhere to be found
    if (w->nowhere) {
        set_trouble(w, w->nowhere);
    }
    if (log_file_is_due(&w->file, clock_wall_ms())) {
        rotate(w);
    }
    if (w->archives_change || now_ms >= w->archives_ms) {
        look_at_archives(w);
        w->archives_ms = now_ms + LOG_WRITER_ARCHIVES_MS;
    }
}

// --- Reading

// Writes the whole lines of the backlog; at the end, or when there is no end of a line, all of it.
static void flush(struct writing *w, bool all)
{
    struct str content = log_backlog_content(w->backlog);
    const char *end = content.n > 0 ? memrchr(content.p, '\n', content.n) : NULL;
    if (end) {
        write_lines(w, (struct str){ content.p, (size_t)(end + 1 - content.p) });
        content = log_backlog_content(w->backlog);
    }
    if (content.n > 0 && (all || content.n > LOG_WRITER_LINE_BYTES)) {
        size_t room;
        *log_backlog_room(w->backlog, &room) = '\n'; // there is room for much more
        log_backlog_add(w->backlog, 1);
        write_lines(w, log_backlog_content(w->backlog));
    }
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

static void read_to_end(struct writing *w)
{
    struct pollfd p = { .fd = w->writer->read_fd, .events = POLLIN };
    flush(w, false); // what a process that was killed has read
    for (;;) {
        look(w);
        atomic_store_explicit(&w->counts->alive_ms, clock_mono_ms(), memory_order_relaxed);
        // While something is compressed its end is waited for by looking.
        int ready = poll(&p, 1, w->compression ? LOG_WRITER_LOOK_MS / 10 : LOG_WRITER_LOOK_MS);
        if (ready <= 0) {
            continue;
        }
        size_t room;
        char *to = log_backlog_room(w->backlog, &room);
        ssize_t n = read(p.fd, to, room);
        if (n == 0) {
            break;
        }
        if (n > 0) {
            log_backlog_add(w->backlog, (size_t)n);
            flush(w, false);
        }
        // Many small lines are worth a moment; many large ones fill the pipe.
        if (n < LOG_WRITER_PIPE_BYTES / 4) {
            pause_ms(LOG_WRITER_GATHER_MS);
        }
    }
    flush(w, true);
    (void)tell_of_losses(w); // or nobody will
    if (w->compression) {
        (void)kill(w->compression, SIGKILL); // the next writer begins it anew
        (void)waitpid(w->compression, NULL, 0);
        log_file_put_in_order(&w->file); // so that no line is there twice meanwhile
    }
    (void)append_own(w);
}

// --- The process: its life

// It has what it needs, and nothing of the supervisor's sockets.
static void close_others(const struct log_writer *w)
{
    int keep[] = { w->read_fd, w->options.children_fd, w->options.tell_fd };
    for (unsigned from = STDERR_FILENO + 1;;) {
        unsigned next = UINT_MAX;
        for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
            if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next) {
                next = (unsigned)keep[i];
            }
        }
        if (next > from) {
            (void)close_range(from, next == UINT_MAX ? UINT_MAX : next - 1, 0);
        }
        if (next == UINT_MAX) {
            return;
        }
        from = next + 1;
    }
}

// Its own standard output and error; log.h writes to it, and never waits: see append_own().
static int open_own(struct writing *w)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -errno;
    }
    (void)dup2(ends[1], STDOUT_FILENO); // both are open
    (void)dup2(ends[1], STDERR_FILENO);
    (void)close(ends[1]); // nothing was written
    w->own_fd = ends[0];
    return 0;
}

static enum log_format format_of(const struct supervisor_config *config)
{
    return strcmp(config->log_format, "text") == 0 ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
}

__attribute__((noreturn)) static void run(struct log_writer *writer)
{
    static struct writing w; // there is one
    static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGXFSZ };
    const struct supervisor_config *config = writer->options.config;
    const struct log_file_limits limits = { .rotate_bytes = config->log_rotate_bytes,
                                            .rotate_age_ms = config->log_rotate_age_ms,
                                            .keep_files = config->log_keep_files,
                                            .keep_bytes = config->log_keep_bytes };
    char directory[RUNDIR_PATH_SIZE], error[CONFIG_ERROR_SIZE];
    unsigned parts;
    // Who ends everything by a signal to all wants to read how it went; and a limit on the size of
    // files (SIGXFSZ) is a full disk like others.
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        (void)signal(ignored[i], SIG_IGN); // these signals can be ignored
    }
    (void)prctl(PR_SET_NAME, "sluice-log");
    close_others(writer);
    rundir_path(writer->options.home, "run", directory);
    w.writer = writer;
    w.counts = &writer->shared->counts;
    w.backlog = &writer->shared->backlog;
    w.archives_change = true;
    int r = log_file_open(directory, LOG_NAME, &limits, clock_wall_ms(), &w.file);
    if (r < 0) {
        set_trouble(&w, -r);
        _exit(EXIT_FAILURE); // the supervisor tries again; the pipe has the lines
    }
    log_backlog_resume(w.backlog, &w.file);
    if (open_own(&w) < 0) {
        _exit(EXIT_FAILURE); // likewise
    }
    log_init("sluice", "log-writer", LEVEL_INFO, format_of(config));
    if (confine_log_writer(config->sandbox, directory, &parts, error) < 0) {
        log_warn("%s", error); // the supervisor decides what becomes of that
    }
    read_to_end(&w);
    _exit(EXIT_SUCCESS);
}

static int start(struct log_writer *w)
{
    pid_t pid = spawn_fork(0); // it goes on when the supervisor dies
    if (pid == 0) {
        run(w);
    }
    w->pid = pid > 0 ? pid : 0;
    return pid < 0 ? (int)pid : 0;
}

// --- The supervisor's side

static void on_again(uv_timer_t *timer)
{
    struct log_writer *w = timer->data;
    count(&w->restarts, 1);
    if (start(w) == 0) {
        (void)uv_timer_stop(timer); // cannot fail
    }
}

static void on_sigchld(uv_signal_t *handle, int signum)
{
    struct log_writer *w = handle->data;
    int status;
    (void)signum;
    if (w->pid == 0 || waitpid(w->pid, &status, WNOHANG) != w->pid) {
        return;
    }
    w->pid = 0;
    // Read by the next one: the pipe keeps it, and the backlog what was read.
    log_error("the log writer ended (%s %d); starting another one",
              WIFSIGNALED(status) ? "signal" : "status",
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    // Until it is there. Fails only for a closing handle.
    (void)uv_timer_start(&w->again, on_again, LOG_WRITER_AGAIN_MS, LOG_WRITER_AGAIN_MS);
}

static int64_t read_count(void *data)
{
    return atomic_load_explicit((_Atomic int64_t *)data, memory_order_relaxed);
}

static int64_t read_trouble(void *data)
{
    return log_writer_trouble(data) != 0;
}

static void register_metrics(struct log_writer *w)
{
    static const char rotations[] = "sluice_supervisor_log_rotations_total",
                      compressions[] = "sluice_supervisor_log_compressions_total",
                      moved[] = "Times that run/sluice.log was moved away, or could not be.",
                      compressed[] = "Logs that were compressed, or could not be.";
    struct counts *c = &w->shared->counts;
    // clang-format off
    const struct metric all[N_METRICS] = {
        METRIC_COUNTER_INIT("sluice_supervisor_log_written_bytes_total", "Bytes of lines written to run/sluice.log.", NULL),
        METRIC_COUNTER_INIT("sluice_supervisor_log_lost_lines_total", "Lines that could not be written to run/sluice.log.", NULL),
        METRIC_COUNTER_INIT(rotations, moved, "result=\"done\""),
        METRIC_COUNTER_INIT(rotations, moved, "result=\"failed\""),
        METRIC_COUNTER_INIT(compressions, compressed, "result=\"done\""),
        METRIC_COUNTER_INIT(compressions, compressed, "result=\"failed\""),
        METRIC_GAUGE_INIT("sluice_supervisor_log_archives", "Older logs that are kept.", NULL),
        METRIC_GAUGE_INIT("sluice_supervisor_log_archive_bytes", "Bytes of the older logs that are kept.", NULL),
        METRIC_COUNTER_INIT("sluice_supervisor_log_archives_removed_total", "Older logs that were removed, as there were too many.", NULL),
        METRIC_COUNTER_INIT("sluice_supervisor_log_writer_restarts_total", "Times that the log writer ended and was started again.", NULL),
        METRIC_GAUGE_INIT("sluice_supervisor_log_trouble", "Whether run/sluice.log cannot be written (1 or 0).", NULL),
    };
    // clang-format on
    void *const data[N_METRICS] = { &c->written_bytes,
                                    &c->lost_lines,
                                    &c->rotations,
                                    &c->rotation_failures,
                                    &c->compressions,
                                    &c->compression_failures,
                                    &c->archives,
                                    &c->archive_bytes,
                                    &c->removed,
                                    &w->restarts,
                                    w };
    for (int i = 0; i < N_METRICS; i++) {
        w->metrics[i] = all[i];
        w->metrics[i].read = i + 1 < N_METRICS ? read_count : read_trouble;
        w->metrics[i].data = data[i];
        metrics_register(&w->metrics[i]);
    }
}

// The lines of all processes, and none of them waits for long: common/log.h says how long.
static int make_pipe(struct log_writer *w, int *ret_write_fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    (void)fcntl(ends[1], F_SETPIPE_SZ, LOG_WRITER_PIPE_BYTES); // a smaller one does, too
    if (fcntl(ends[1], F_SETFL, O_NONBLOCK) < 0) {
        int error = errno;
        (void)close(ends[0]); // nothing was written
        (void)close(ends[1]);
        return -error;
    }
    w->read_fd = ends[0];
    *ret_write_fd = ends[1];
    return 0;
}

int log_writer_open(const struct log_writer_options *options, struct log_writer **ret_writer)
{
    struct log_writer *w = calloc(1, sizeof *w);
    int write_fd = -1;
    if (!w) {
        return -ENOMEM;
    }
    w->options = *options;
    void *shared =
        mmap(NULL, sizeof *w->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int r = shared == MAP_FAILED ? -errno : 0;
    if (r == 0) {
        w->shared = shared;
        atomic_store_explicit(&w->shared->counts.alive_ms, clock_mono_ms(), memory_order_relaxed);
    }
    r = r < 0 ? r : make_pipe(w, &write_fd);
    r = r < 0 ? r : start(w);
    // From here on the process is there; the program ends if this fails, and it with it.
    if (r == 0 && (dup2(write_fd, STDOUT_FILENO) < 0 || dup2(write_fd, STDERR_FILENO) < 0)) {
        r = -errno;
    }
    if (write_fd >= 0) {
        (void)close(write_fd); // nothing was written
    }
    w->options.tell_fd = -1; // only the first one keeps it
    *ret_writer = w;         // on failure the program ends
    return r;
}

int log_writer_watch(struct log_writer *w, uv_loop_t *loop)
{
    int r = uv_signal_init(loop, &w->sigchld);
    r = r < 0 ? r : uv_timer_init(loop, &w->again);
    w->again.data = w->sigchld.data = w;
    r = r < 0 ? r : uv_signal_start(&w->sigchld, on_sigchld, SIGCHLD);
    if (r == 0) {
        register_metrics(w);
        w->watched = true;
        w->open_handles = 2;
        on_sigchld(&w->sigchld, SIGCHLD); // it may have ended before
    }
    return r;
}

int log_writer_trouble(const struct log_writer *w)
{
    if (!w) {
        return 0;
    }
    int64_t alive_ms = atomic_load_explicit(&w->shared->counts.alive_ms, memory_order_relaxed);
    return clock_mono_ms() - alive_ms > LOG_WRITER_SILENT_MS
               ? ETIMEDOUT
               : atomic_load_explicit(&w->shared->counts.trouble, memory_order_relaxed);
}

static void on_closed(uv_handle_t *handle)
{
    struct log_writer *w = handle->data;
    if (--w->open_handles == 0) {
        (void)munmap(w->shared, sizeof *w->shared); // it is one mapping
        free(w);
    }
}

void log_writer_close(struct log_writer **writer)
{
    struct log_writer *w = *writer;
    *writer = NULL;
    if (!w || !w->watched) {
        return;
    }
    for (int i = 0; i < N_METRICS; i++) {
        metrics_unregister(&w->metrics[i]);
    }
    uv_close((uv_handle_t *)&w->sigchld, on_closed);
    uv_close((uv_handle_t *)&w->again, on_closed);
}
