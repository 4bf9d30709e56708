// SPDX-License-Identifier: MIT
#include "deploy/log_backlog.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

struct range {
    uint32_t from, end;
};

// A process is killed between two instructions, and what those before it have stored is there: only
// the compiler must not change their order.
static void keep_order(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

static struct range range_of(const struct log_backlog *b)
{
    uint64_t both = atomic_load_explicit(&b->range, memory_order_relaxed);
    return (struct range){ (uint32_t)(both >> 32), (uint32_t)both };
}

static void set_range(struct log_backlog *b, uint32_t from, uint32_t end)
{
    keep_order();
    atomic_store_explicit(&b->range, (uint64_t)from << 32 | end, memory_order_relaxed);
    keep_order();
}

static void set_size(struct log_backlog *b, int64_t size)
{
    keep_order();
    atomic_store_explicit(&b->size, size, memory_order_relaxed);
    keep_order();
}

struct str log_backlog_content(const struct log_backlog *b)
{
    struct range r = range_of(b);
    return (struct str){ b->bytes + r.from, r.end - r.from };
}

// Moves the content to the begin. At every instruction the range has the content, and there is a
// zero behind it: first the copy, which the range does not know yet, with zeros up to the old one.
static void compact(struct log_backlog *b)
{
    struct range r = range_of(b);
    uint32_t n = r.end - r.from;
    if (r.from == 0 || n >= r.from) {
        return; // the copy would reach the original; more room will come
    }
    memcpy(b->bytes, b->bytes + r.from, n);
    memset(b->bytes + n, 0, r.from - n);
    set_range(b, 0, n);
    memset(b->bytes + r.from, 0, n);
}

char *log_backlog_room(struct log_backlog *b, size_t *ret_room)
{
    compact(b);
    struct range r = range_of(b);
    *ret_room = LOG_BACKLOG_BYTES - r.end;
    return b->bytes + r.end;
}

void log_backlog_add(struct log_backlog *b, size_t n)
{
    struct range r = range_of(b);
    assert(n <= LOG_BACKLOG_BYTES - r.end);
    set_range(b, r.from, r.end + (uint32_t)n);
}

void log_backlog_begin_write(struct log_backlog *b, const struct log_file *f)
{
    struct stat status;
    if (fstat(f->fd, &status) < 0) {
        return; // what is written is written twice, if this is the moment of its end
    }
    b->device = status.st_dev;
    b->inode = status.st_ino;
    b->from = range_of(b).from;
    set_size(b, status.st_size + 1);
}

void log_backlog_end_write(struct log_backlog *b, size_t n)
{
    struct range r = range_of(b);
    assert(n <= r.end - r.from);
    set_range(b, r.from + (uint32_t)n, r.end);
    set_size(b, 0);
}

// What a write has done whose end nobody saw.
static void resume_write(struct log_backlog *b, const struct log_file *f)
{
    struct range r = range_of(b);
    int64_t size = atomic_load_explicit(&b->size, memory_order_relaxed) - 1;
    struct stat status;
    if (size >= 0 && fstat(f->fd, &status) == 0 && status.st_dev == b->device &&
        status.st_ino == b->inode && status.st_size > size &&
        status.st_size - size <= r.end - b->from) {
        set_range(b, b->from + (uint32_t)(status.st_size - size), r.end);
    }
    set_size(b, 0);
}

void log_backlog_resume(struct log_backlog *b, const struct log_file *f)
{
    struct range r = range_of(b);
    set_range(b, r.from, r.end + (uint32_t)strnlen(b->bytes + r.end, LOG_BACKLOG_BYTES - r.end));
    resume_write(b, f);
}
