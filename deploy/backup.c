// SPDX-License-Identifier: MIT
// The order makes the copies fit each other (docs/backup.md): search, whose position must not be
// beyond the log; then, while the outboxes keep what the queue takes from them, the log; then all
// other services, whose outboxes have everything that the copy of the log has not.
#include "deploy/backup.h"

#include "common/clock.h"
#include "common/db_copy.h"
#include "common/file.h"
#include "common/home.h"
#include "common/lease.h"
#include "common/process.h"
#include "common/store_metrics.h"
#include "deploy/backup_files.h"
#include "deploy/complaint.h"
#include "deploy/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yyjson.h>

#define MANIFEST "manifest.json"
#define MANIFEST_BYTES (16 * 1024 * 1024)
#define VERSION 1
#define MAX_SEGMENTS 4096
#define MAX_SERVICES 64
#define MAX_SERVICE_NAME 64
#define DERIVED "search" // made from events alone
#define MAX_DAMAGED 4 // exit status of sluice-queue --verify: something is lost, the rest is good

struct segment_file {
    char name[64];
    int fd;
    int64_t end; // of what is copied; -1: not known yet
};

struct backup {
    const char *bin_dir;
    char home[RUNDIR_PATH_SIZE];
    char dir[PATH_MAX]; // where it is written
    struct segment_file *segments;
    size_t n_segments;
    int64_t last_seq;                              // of the copy of the log
    char services[MAX_SERVICES][MAX_SERVICE_NAME]; // that have a store
    int holds[MAX_SERVICES];                       // locks of their outboxes; -1: not held
    size_t n_services;
    int wanted; // status of the verification
};

#define fail(...) complain("sluice", EXIT_FAILED, __VA_ARGS__)

__attribute__((format(printf, 2, 3))) static const char *path_of(char out[PATH_MAX],
                                                                 const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(out, PATH_MAX, format, arguments); // what is cut is not there
    va_end(arguments);
    return out;
}

// --- Stores

static int add_service(struct backup *b, const char *name)
{
    char store[PATH_MAX];
    if (*name == '.' || access(path_of(store, "%s/db/%s/%s.db", b->home, name, name), F_OK) < 0) {
        return EXIT_OK; // it never ran here
    }
    size_t n = strlen(name);
    if (b->n_services == MAX_SERVICES || n >= MAX_SERVICE_NAME) {
        return fail("%s: no more than %d stores can be backed up, with names of up to %d bytes",
                    store, MAX_SERVICES, MAX_SERVICE_NAME - 1);
    }
    memcpy(b->services[b->n_services], name, n + 1);
    b->holds[b->n_services++] = -1;
    return EXIT_OK;
}

static int find_services(struct backup *b)
{
    char path[PATH_MAX];
    const struct dirent *e;
    int status = EXIT_OK;
    DIR *d = opendir(path_of(path, "%s/db", b->home));
    if (!d) {
        return errno == ENOENT ? EXIT_OK : fail("%s: %s", path, strerror(errno));
    }
    while (status == EXIT_OK && (e = readdir(d))) {
        status = add_service(b, e->d_name);
    }
    (void)closedir(d); // it was only read
    return status;
}

static int copy_store(const struct backup *b, const char *name, int64_t last_seq)
{
    char from[PATH_MAX], to[PATH_MAX], error[512];
    path_of(from, "%s/db/%s/%s.db", b->home, name, name);
    path_of(to, "%s/db/%s/%s.db", b->dir, name, name);
    int rc = home_make_parents(to);
    if (rc) {
        return fail("%s: %s", to, strerror(-rc));
    }
    rc = db_copy(from, to, last_seq, error, sizeof error);
    return rc ? fail("%s", error) : EXIT_OK;
}

// Those of the one kind, or of the other.
static int copy_stores(const struct backup *b, bool derived, int64_t last_seq)
{
    int status = EXIT_OK;
    for (size_t i = 0; status == EXIT_OK && i < b->n_services; i++) {
        if ((strcmp(b->services[i], DERIVED) == 0) == derived) {
            status = copy_store(b, b->services[i], last_seq);
        }
    }
    return status;
}

// From here on the outboxes keep what the queue has.
static int hold_outboxes(struct backup *b)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < b->n_services; i++) {
        const char *name = b->services[i];
        int rc = lease_try(path_of(path, "%s/db/%s/%s.db.hold", b->home, name, name), &b->holds[i]);
        if (rc) {
            return rc == -EWOULDBLOCK ? fail("another backup of %s is being made", b->home)
                                      : fail("%s: %s", path, strerror(-rc));
        }
    }
    return EXIT_OK;
}

static void release_outboxes(struct backup *b)
{
    for (size_t i = 0; i < b->n_services; i++) {
        if (b->holds[i] >= 0) {
            (void)close(b->holds[i]); // gives the lock up
        }
        b->holds[i] = -1;
    }
}

// --- The queue's log

static int open_segment(const char *relative, void *data)
{
    struct backup *b = data;
    char path[PATH_MAX];
    size_t n = strlen(relative);
    if (n < 5 || strcmp(relative + n - 4, ".seg") != 0 || strchr(relative, '/')) {
        return 0;
    }
    struct segment_file *s = &b->segments[b->n_segments];
    if (b->n_segments == MAX_SEGMENTS || n >= sizeof s->name) {
        return -EFBIG;
    }
    int fd = open(path_of(path, "%s/queue/%s", b->home, relative), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 0 : -errno; // retention has removed it just now
    }
    memcpy(s->name, relative, n + 1);
    s->fd = fd;
    s->end = -1;
    b->n_segments++;
    return 0;
}

static void note_segment(struct backup *b, const char *line, size_t n)
{
    yyjson_doc *doc = yyjson_read(line, n, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    const char *name = yyjson_get_str(yyjson_obj_get(root, "segment"));
    for (size_t i = 0; name && i < b->n_segments; i++) {
        if (strcmp(b->segments[i].name, name) != 0) {
            continue;
        }
        int64_t next = (int64_t)yyjson_get_uint(yyjson_obj_get(root, "next_seq"));
        b->segments[i].end = (int64_t)yyjson_get_uint(yyjson_obj_get(root, "end"));
        b->last_seq = next - 1 > b->last_seq ? next - 1 : b->last_seq;
    }
    yyjson_doc_free(doc);
}

// Runs sluice-queue --verify on a log, and gives each line to note_segment() if b is wanted.
// Returns its exit status, or -1.
static int verify(const char *bin_dir, const char *log, struct backup *b)
{
    char program[PATH_MAX], *line = NULL;
    size_t size = 0;
    ssize_t n;
    int ends[2], status;
    path_of(program, "%s/sluice-queue", bin_dir);
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO); // both are open
        execl(program, program, "--verify", log, (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]); // the child's
    FILE *out = fdopen(ends[0], "r");
    while (out && pid > 0 && (n = getline(&line, &size, out)) > 0) {
        if (b) {
            note_segment(b, line, (size_t)n);
        }
    }
    free(line);
    if (out) {
        (void)fclose(out); // it was only read
    }
    bool ended = pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status);
    return ended ? WEXITSTATUS(status) : -1;
}

static int copy_segments(struct backup *b)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < b->n_segments; i++) {
        struct segment_file *s = &b->segments[i];
        if (s->end < 0) {
            continue; // it went while the log was read: nobody needs it
        }
        int rc = backup_copy(s->fd, path_of(path, "%s/queue/%s", b->dir, s->name), s->end);
        if (rc) {
            return fail("%s: %s", path, strerror(-rc));
        }
    }
    int status = verify(b->bin_dir, path_of(path, "%s/queue", b->dir), NULL);
    return status == b->wanted ? EXIT_OK : fail("%s: the copy of the log is damaged", path);
}

static int copy_log(struct backup *b)
{
    char log[PATH_MAX];
    path_of(log, "%s/queue", b->home);
    b->segments = calloc(MAX_SEGMENTS, sizeof *b->segments);
    int rc = b->segments ? backup_walk(log, open_segment, b) : -ENOMEM;
    if (rc) {
        return fail("%s: %s", log, strerror(-rc));
    }
    b->wanted = verify(b->bin_dir, log, b);
    if (b->wanted != 0 && b->wanted != MAX_DAMAGED) {
        return fail("%s: the log cannot be read: sluice-queue --verify says why", log);
    }
    if (b->wanted) {
        fprintf(stderr, "sluice: %s is damaged; what is good is copied\n", log);
    }
    return copy_segments(b);
}

// --- Other files

struct tree {
    const char *from, *to;
};

static int copy_file(const char *relative, void *data)
{
    const struct tree *t = data;
    char from[PATH_MAX], to[PATH_MAX];
    return backup_copy_path(path_of(from, "%s/%s", t->from, relative),
                            path_of(to, "%s/%s", t->to, relative));
}

static int copy_tree(const char *from_root, const char *to_root, const char *name)
{
    char from[PATH_MAX], to[PATH_MAX];
    struct tree t = { path_of(from, "%s/%s", from_root, name),
                      path_of(to, "%s/%s", to_root, name) };
    int rc = access(from, F_OK) < 0 ? 0 : backup_walk(from, copy_file, &t);
    return rc ? fail("%s: %s", from, strerror(-rc)) : EXIT_OK;
}

// Orders that are years old leave their store as files.
static int copy_archives(const struct backup *b)
{
    char name[PATH_MAX];
    int status = EXIT_OK;
    for (size_t i = 0; status == EXIT_OK && i < b->n_services; i++) {
        status = copy_tree(b->home, b->dir, path_of(name, "db/%s/archive", b->services[i]));
    }
    return status;
}

// --- The manifest

struct listing {
    const char *root;
    yyjson_mut_doc *doc;
    yyjson_mut_val *files;
};

static int list_file(const char *relative, void *data)
{
    struct listing *l = data;
    char path[PATH_MAX], hash[BACKUP_HASH];
    int64_t bytes;
    int rc = backup_hash(path_of(path, "%s/%s", l->root, relative), hash, &bytes);
    if (rc) {
        return rc;
    }
    yyjson_mut_val *file = yyjson_mut_arr_add_obj(l->doc, l->files);
    return yyjson_mut_obj_add_strcpy(l->doc, file, "path", relative) &&
                   yyjson_mut_obj_add_sint(l->doc, file, "bytes", bytes) &&
                   yyjson_mut_obj_add_strcpy(l->doc, file, "sha256", hash)
               ? 0
               : -ENOMEM;
}

static int write_manifest(const struct backup *b, int64_t started_ms)
{
    char path[PATH_MAX];
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_int(doc, root, "version", VERSION);
    yyjson_mut_obj_add_str(doc, root, "sluice", SLUICE_VERSION);
    yyjson_mut_obj_add_sint(doc, root, "started_ms", started_ms);
    yyjson_mut_obj_add_sint(doc, root, "finished_ms", clock_wall_ms());
    yyjson_mut_obj_add_sint(doc, root, "last_seq", b->last_seq);
    struct listing l = { b->dir, doc, yyjson_mut_obj_add_arr(doc, root, "files") };
    int rc = backup_walk(b->dir, list_file, &l);
    char *text = rc ? NULL : yyjson_mut_write(doc, YYJSON_WRITE_PRETTY, NULL);
    rc = rc     ? rc
         : text ? file_replace(path_of(path, "%s/" MANIFEST, b->dir), str_of(text), 0600)
                : -ENOMEM;
    free(text);
    yyjson_mut_doc_free(doc);
    return rc ? fail("%s/" MANIFEST ": %s", b->dir, strerror(-rc)) : EXIT_OK;
}

static void mark_stores(const struct backup *b)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < b->n_services; i++) {
        path_of(path, "%s/db/%s/" STORE_BACKUP_MARK, b->home, b->services[i]);
        int rc = file_replace(path, STR("backed up\n"), 0600);
        (void)rc; // the backup is good without its mark; the alert says that there is none
    }
}

// --- Making one

static int write_backup(struct backup *b, bool with_secrets)
{
    int64_t started_ms = clock_wall_ms();
    int status = find_services(b);
    status = status ? status : copy_stores(b, true, INT64_MAX);
    status = status ? status : hold_outboxes(b);
    status = status ? status : copy_log(b);
    status = status ? status : copy_stores(b, false, b->last_seq);
    release_outboxes(b);
    status = status ? status : copy_archives(b);
    status = status || !with_secrets ? status : copy_tree(b->home, b->dir, "secrets");
    return status ? status : write_manifest(b, started_ms);
}

int backup_make(const char *home, const char *dir, const char *bin_dir, bool with_secrets)
{
    struct backup b = { .bin_dir = bin_dir };
    char error[CONFIG_ERROR_SIZE], path[PATH_MAX];
    (void)umask(077); // returns the old one
    if (rundir_open(home, false, b.home, error) < 0) {
        return fail("%s", error);
    }
    if (getenv("SLUICE_QUEUE_ARCHIVE") && *getenv("SLUICE_QUEUE_ARCHIVE")) {
        return fail("a log with an archive (SLUICE_QUEUE_ARCHIVE) cannot be backed up");
    }
    if (access(dir, F_OK) == 0) {
        return fail("%s is there already: name a new directory", dir);
    }
    path_of(b.dir, "%s.partial", dir);
    if (mkdir(b.dir, 0700)) {
        return fail("%s: %s%s", b.dir, strerror(errno),
                    errno == EEXIST ? "; a backup was cut off, remove it" : "");
    }
    int status = write_backup(&b, with_secrets);
    for (size_t i = 0; i < b.n_segments; i++) {
        (void)close(b.segments[i].fd); // it was only read
    }
    free(b.segments);
    if (status) {
        return fail("the backup is not complete: remove %s", b.dir);
    }
    if (rename(b.dir, dir) || backup_sync_dir(path_of(path, "%s/..", dir))) {
        return fail("%s: %s", dir, strerror(errno));
    }
    mark_stores(&b);
    printf("backed up to %s, events up to %" PRId64 "\n", dir, b.last_seq);
    return EXIT_OK;
}

// --- Restoring

struct restore {
    const char *dir;
    char staging[PATH_MAX];
};

// A manifest is what makes a directory a backup: each file is compared with it.
static int check_file(yyjson_val *file, const struct restore *r)
{
    char path[PATH_MAX], hash[BACKUP_HASH];
    int64_t bytes;
    const char *relative = yyjson_get_str(yyjson_obj_get(file, "path"));
    const char *wanted = yyjson_get_str(yyjson_obj_get(file, "sha256"));
    if (!relative || !wanted || *relative == '/' || strstr(relative, "..")) {
        return fail("%s/" MANIFEST ": an entry is not a file of a backup", r->dir);
    }
    int rc = backup_hash(path_of(path, "%s/%s", r->dir, relative), hash, &bytes);
    if (rc) {
        return fail("%s: %s", path, strerror(-rc));
    }
    return strcmp(hash, wanted) ? fail("%s is not as it was backed up", path) : EXIT_OK;
}

static int stage_file(yyjson_val *file, const struct restore *r)
{
    char from[PATH_MAX], to[PATH_MAX];
    const char *relative = yyjson_get_str(yyjson_obj_get(file, "path"));
    int rc = backup_copy_path(path_of(from, "%s/%s", r->dir, relative),
                              path_of(to, "%s/%s", r->staging, relative));
    return rc ? fail("%s: %s", to, strerror(-rc)) : EXIT_OK;
}

static int each_file(const struct restore *r, int (*run)(yyjson_val *, const struct restore *))
{
    char path[PATH_MAX];
    struct buf text;
    size_t i, n;
    yyjson_val *file;
    buf_init(&text, MANIFEST_BYTES);
    int rc = file_read(path_of(path, "%s/" MANIFEST, r->dir), MANIFEST_BYTES, &text);
    yyjson_doc *doc = rc ? NULL : yyjson_read(text.data, text.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *files = yyjson_obj_get(root, "files");
    int status = EXIT_OK;
    if (rc || !yyjson_is_arr(files) || yyjson_get_int(yyjson_obj_get(root, "version")) != VERSION) {
        status = fail("%s: %s", path, rc ? strerror(-rc) : "not a backup that this version knows");
    } else {
        yyjson_arr_foreach(files, i, n, file)
        {
            status = status ? status : run(file, r);
        }
    }
    yyjson_doc_free(doc);
    buf_fini(&text);
    return status;
}

// Puts one directory of the backup in the place of the home's, which is kept.
static int exchange(const char *home, const struct restore *r, const char *name, int64_t now_ms)
{
    char from[PATH_MAX], to[PATH_MAX], kept[PATH_MAX];
    path_of(from, "%s/%s", r->staging, name);
    path_of(to, "%s/%s", home, name);
    path_of(kept, "%s/%s.before-%" PRId64, home, name, now_ms);
    if (access(from, F_OK) < 0 && strcmp(name, "secrets") == 0) {
        return EXIT_OK; // a backup without them leaves the home's own
    }
    if (rename(to, kept) && errno != ENOENT) {
        return fail("%s: %s", to, strerror(errno));
    }
    return rename(from, to) && errno != ENOENT ? fail("%s: %s", to, strerror(errno)) : EXIT_OK;
}

static int put_in_place(const char *home, const struct restore *r)
{
    static const char *const names[] = { "db", "queue", "secrets" };
    char mark[PATH_MAX];
    int64_t now_ms = clock_wall_ms();
    path_of(mark, "%s/" BACKUP_UNFINISHED, home);
    int rc = file_replace(mark, STR("see sluice restore --help\n"), 0600);
    int status = rc ? fail("%s: %s", mark, strerror(-rc)) : EXIT_OK;
    for (size_t i = 0; status == EXIT_OK && i < 3; i++) {
        status = exchange(home, r, names[i], now_ms);
    }
    rc = status ? 0 : backup_sync_dir(home);
    status = status || !rc ? status : fail("%s: %s", home, strerror(-rc));
    if (status == EXIT_OK && (unlink(mark) || backup_sync_dir(home))) {
        status = fail("%s: %s", mark, strerror(errno));
    }
    return status;
}

static bool has_data(const char *home)
{
    char db[PATH_MAX], queue[PATH_MAX], mark[PATH_MAX];
    return access(path_of(db, "%s/db", home), F_OK) == 0 ||
           access(path_of(queue, "%s/queue", home), F_OK) == 0 ||
           access(path_of(mark, "%s/" BACKUP_UNFINISHED, home), F_OK) == 0;
}

int backup_restore(const char *home, const char *dir, const char *bin_dir, bool force)
{
    struct restore r = { .dir = dir };
    char absolute[RUNDIR_PATH_SIZE], error[CONFIG_ERROR_SIZE], queue[PATH_MAX];
    pid_t pid;
    (void)umask(077); // returns the old one
    if (rundir_open(home, true, absolute, error) < 0) {
        return fail("%s", error);
    }
    int lock = rundir_lock(absolute, &pid);
    int children = lock < 0 ? -1 : rundir_lock_children(absolute, NULL);
    if (lock < 0 || children < 0) {
        return fail("something runs in %s: stop it with `sluice down`", absolute);
    }
    if (has_data(absolute) && !force) {
        return fail("%s has data: with --force it is kept beside the restored", absolute);
    }
    path_of(r.staging, "%s/restore.%" PRId64, absolute, clock_wall_ms());
    int status = each_file(&r, check_file);
    status = status ? status : each_file(&r, stage_file);
    int found = status ? 0 : verify(bin_dir, path_of(queue, "%s/queue", r.staging), NULL);
    if (found != 0 && found != MAX_DAMAGED) {
        status = fail("%s: the log cannot be read", queue);
    }
    status = status ? status : put_in_place(absolute, &r);
    (void)rmdir(r.staging); // empty, or of a restore that failed
    if (status == EXIT_OK) {
        printf("restored %s from %s\n", absolute, dir);
    }
    return status; // the locks end with the process
}
