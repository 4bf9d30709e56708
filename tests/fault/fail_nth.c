// SPDX-License-Identifier: MIT
// Preloaded into all processes of a suite: makes one call of one kind fail in one program. The test
// says which in a file that is mapped here, and finds there how many calls there were. The count
// goes on in the next process of that program, so the fault comes once, however often it is started.
// Or the process is killed instead of making that call.
//
//     FAIL_PROGRAM   the program, as "sluice-orders"; in others nothing happens
//     FAIL_CONTROL   the file, with a struct control in it
//
// Writes to regular files count, but for the log. Memory counts that the program itself asks for, or
// a library that can do without (objects[] below): libzmq and libstdc++ end the process when they get
// none, libzxcvbn writes to what it did not get, and libuv ends the process when its table of watched
// descriptors cannot grow, so what libuv reallocates does not count.
#include "tests/fault/preload_control.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { NONE, WRITE, SYNC, OPEN, MEMORY, MAP, KINDS };

#define KILLED UINT32_MAX

struct control {
    uint32_t kind;                  // NONE: nothing is counted
    uint32_t error;                 // errno; 0: a write takes only half; KILLED: no error, the end
    uint64_t at;                    // the number of the call that fails, from 1; 0: none
    _Atomic uint64_t counts[KINDS]; // calls of each kind
    uint64_t fired;                 // 1: it failed
    uint64_t object;                // the caller: an index of objects[]
    uint64_t where;                 // and its place, from the beginning of the object
};

static struct control *control; // NULL: not this program

// Whose memory counts: the program's, whose name dl_iterate_phdr() does not say, and these libraries'.
static struct {
    const char *name;
    uintptr_t from, to;
} objects[] = { { .name = NULL },
                { .name = "/libsqlite3." },
                { .name = "/libyyjson." },
                { .name = "/libsodium." },
                { .name = "/libuv." } };
#define LIBUV 4
#define OBJECTS (sizeof objects / sizeof *objects)

static size_t find_object(const char *path)
{
    size_t i = 1;
    while (i < OBJECTS && !strstr(path, objects[i].name)) {
        i++;
    }
    return i;
}

static int note_object(struct dl_phdr_info *info, size_t size, void *data)
{
    int *number = data;
    size_t i = (*number)++ == 0 ? 0 : find_object(info->dlpi_name);
    (void)size;
    for (int k = 0; i < OBJECTS && k < info->dlpi_phnum; k++) {
        if (info->dlpi_phdr[k].p_type == PT_LOAD) {
            uintptr_t from = info->dlpi_addr + info->dlpi_phdr[k].p_vaddr;
            uintptr_t to = from + info->dlpi_phdr[k].p_memsz;
            objects[i].from = objects[i].from ? objects[i].from : from;
            objects[i].to = to > objects[i].to ? to : objects[i].to;
        }
    }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    void *p = preload_control("FAIL_PROGRAM", "FAIL_CONTROL", sizeof *control);
    int number = 0;
    if (p) {
        (void)dl_iterate_phdr(note_object, &number);
        control = p;
    }
}

// OBJECTS: in none of them.
static size_t object_of(uintptr_t caller)
{
    size_t i = 0;
    while (i < OBJECTS && (caller < objects[i].from || caller >= objects[i].to)) {
        i++;
    }
    return i;
}

// Whether this call is the one.
static bool fails(enum kind kind, const void *caller)
{
    if (!control || control->kind == NONE) {
        return false;
    }
    uint64_t number = atomic_fetch_add(&control->counts[kind], 1) + 1;
    if (control->kind != (uint32_t)kind || number != control->at) {
        return false;
    }
    control->object = object_of((uintptr_t)caller);
    control->where =
        (uintptr_t)caller - (control->object < OBJECTS ? objects[control->object].from : 0);
    control->fired = 1;
    if (control->error == KILLED) {
        (void)raise(SIGKILL); // nothing comes after it
    }
    errno = (int)control->error;
    return true;
}

#define CALLER __builtin_return_address(0)
#define NEXT(name)                                                                                 \
    static __typeof__(&(name)) next;                                                               \
    if (!next) {                                                                                   \
        *(void **)&next = dlsym(RTLD_NEXT, #name);                                                 \
    }

// --- Writes

static bool write_fails(int fd, const void *caller)
{
    struct stat st;
    return control && control->kind != NONE && fd > STDERR_FILENO && fstat(fd, &st) == 0 &&
           S_ISREG(st.st_mode) && fails(WRITE, caller);
}

ssize_t write(int fd, const void *data, size_t n)
{
    NEXT(write)
    if (write_fails(fd, CALLER)) {
        return control->error || n < 2 ? -1 : next(fd, data, n / 2);
    }
    return next(fd, data, n);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
    NEXT(pwrite64)
    if (write_fails(fd, CALLER)) {
        return control->error || n < 2 ? -1 : next(fd, data, n / 2, at);
    }
    return next(fd, data, n, at);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    NEXT(pwrite)
    if (write_fails(fd, CALLER)) {
        return control->error || n < 2 ? -1 : next(fd, data, n / 2, at);
    }
    return next(fd, data, n, at);
}

// Half of the first piece.
static ssize_t write_half(int fd, const struct iovec *pieces, off64_t at)
{
    ssize_t (*next)(int, const void *, size_t, off64_t);
    *(void **)&next = dlsym(RTLD_NEXT, "pwrite64");
    return next(fd, pieces[0].iov_base, pieces[0].iov_len / 2, at);
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int n, off64_t at)
{
    NEXT(pwritev64)
    if (write_fails(fd, CALLER)) {
        return control->error ? -1 : write_half(fd, pieces, at);
    }
    return next(fd, pieces, n, at);
}

ssize_t pwritev(int fd, const struct iovec *pieces, int n, off_t at)
{
    NEXT(pwritev)
    if (write_fails(fd, CALLER)) {
        return control->error ? -1 : write_half(fd, pieces, at);
    }
    return next(fd, pieces, n, at);
}

// --- Syncs

int fdatasync(int fd)
{
    NEXT(fdatasync)
    return fails(SYNC, CALLER) ? -1 : next(fd);
}

int fsync(int fd)
{
    NEXT(fsync)
    return fails(SYNC, CALLER) ? -1 : next(fd);
}

// --- Opening

#define MODE                                                                                       \
    va_list args;                                                                                  \
    va_start(args, flags);                                                                         \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;                        \
    va_end(args);

int open(const char *path, int flags, ...)
{
    MODE NEXT(open) return fails(OPEN, CALLER) ? -1 : next(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE NEXT(open64) return fails(OPEN, CALLER) ? -1 : next(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
    MODE NEXT(openat) return fails(OPEN, CALLER) ? -1 : next(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...)
{
    MODE NEXT(openat64) return fails(OPEN, CALLER) ? -1 : next(directory, path, flags, mode);
}

int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags)
{
    NEXT(open64)
    return fails(OPEN, CALLER) ? -1 : next(path, flags);
}

int __openat64_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags)
{
    NEXT(openat64)
    return fails(OPEN, CALLER) ? -1 : next(directory, path, flags);
}

FILE *fopen(const char *path, const char *mode)
{
    NEXT(fopen)
    return fails(OPEN, CALLER) ? NULL : next(path, mode);
}

DIR *opendir(const char *path)
{
    NEXT(opendir)
    return fails(OPEN, CALLER) ? NULL : next(path);
}

// --- Memory. dlsym() takes some itself, so the library's own names lead there.

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static bool memory_fails(const void *caller)
{
    return control && control->kind != NONE && object_of((uintptr_t)caller) < OBJECTS &&
           fails(MEMORY, caller);
}

void *malloc(size_t n)
{
    return memory_fails(CALLER) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return memory_fails(CALLER) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    bool fails = object_of((uintptr_t)CALLER) != LIBUV && memory_fails(CALLER);
    return fails ? NULL : __libc_realloc(p, n);
}

// What takes memory inside the C library for whoever calls it.

void *reallocarray(void *p, size_t n, size_t size)
{
    NEXT(reallocarray)
    return memory_fails(CALLER) ? NULL : next(p, n, size);
}

char *strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *p = memory_fails(CALLER) ? NULL : __libc_malloc(n);
    return p ? memcpy(p, text, n) : NULL;
}

char *strndup(const char *text, size_t most)
{
    size_t n = strnlen(text, most);
    char *p = memory_fails(CALLER) ? NULL : __libc_malloc(n + 1);
    if (p) {
        memcpy(p, text, n);
        p[n] = '\0';
    }
    return p;
}

int asprintf(char **to, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = memory_fails(CALLER) ? -1 : vasprintf(to, format, args);
    va_end(args);
    return n;
}

__attribute__((format(printf, 3, 4))) int __asprintf_chk(char **to, int flag, const char *format,
                                                         ...);
int __asprintf_chk(char **to, int flag, const char *format, ...)
{
    va_list args;
    (void)flag;
    va_start(args, format);
    int n = memory_fails(CALLER) ? -1 : vasprintf(to, format, args);
    va_end(args);
    return n;
}

char *realpath(const char *path, char *to)
{
    NEXT(realpath)
    return memory_fails(CALLER) ? NULL : next(path, to);
}

DIR *fdopendir(int fd)
{
    NEXT(fdopendir)
    return memory_fails(CALLER) ? NULL : next(fd);
}

void *mmap64(void *at, size_t n, int rights, int flags, int fd, off64_t from)
{
    NEXT(mmap64)
    return fails(MAP, CALLER) ? MAP_FAILED : next(at, n, rights, flags, fd, from);
}

void *mmap(void *at, size_t n, int rights, int flags, int fd, off_t from)
{
    NEXT(mmap)
    return fails(MAP, CALLER) ? MAP_FAILED : next(at, n, rights, flags, fd, from);
}
