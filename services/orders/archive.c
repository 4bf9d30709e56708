// SPDX-License-Identifier: MIT
#include "services/orders/archive.h"

#include "common/arena.h"
#include "common/outbox.h"
#include "proto/timestamp.h"
#include "services/orders/orders_store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define MONTH_TEXT 7       // "2026-11"
#define FILE_NAME_BYTES 24 // "/orders-2026-11.ndjson" and a NUL

static struct {
    char parent[PATH_BYTES];    // $SLUICE_HOME/db/orders
    char directory[PATH_BYTES]; // and in it archive
    int64_t keep_ms;            // 0: not configured
} archive;

int archive_configure(const char *home, int64_t keep_ms)
{
    assert(keep_ms > 0);
    int n = snprintf(archive.parent, sizeof archive.parent, "%s/db/orders", home);
    int m = snprintf(archive.directory, sizeof archive.directory, "%s/db/orders/archive", home);
    if (n < 0 || m < 0 || m + FILE_NAME_BYTES > PATH_BYTES) {
        return -ENAMETOOLONG;
    }
    archive.keep_ms = keep_ms;
    return 0;
}

// --- Files

static int sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = fsync(fd) ? -errno : 0;
    (void)close(fd); // it was only read
    return rc;
}

static int make_directory(const char *parent, const char *path)
{
    if (mkdir(path, 0700)) {
        return errno == EEXIST ? 0 : -errno;
    }
    return sync_directory(parent);
}

// Where the file's last whole line ends. Behind it is what a crash left of a write; the orders in
// it are in the store still.
static int end_of_lines(int fd, off_t size, off_t *ret_end)
{
    char block[4096];
    while (size > 0) {
        size_t n = size < (off_t)sizeof block ? (size_t)size : sizeof block;
        ssize_t got = pread(fd, block, n, size - (off_t)n);
        if (got != (ssize_t)n) {
            return got < 0 ? -errno : -EIO;
        }
        const char *newline = memrchr(block, '\n', n);
        if (newline) {
            *ret_end = size - (off_t)n + (newline - block) + 1;
            return 0;
        }
        size -= (off_t)n;
    }
    *ret_end = 0;
    return 0;
}

static int write_all(int fd, struct str bytes, off_t at)
{
    while (bytes.n) {
        ssize_t n = pwrite(fd, bytes.p, bytes.n, at);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            return -EIO;
        }
        if (n > 0) {
            bytes.p += n;
            bytes.n -= (size_t)n;
            at += n;
        }
    }
    return 0;
}

static int append_lines(int fd, struct str lines)
{
    struct stat st;
    off_t end = 0;
    int rc = fstat(fd, &st) ? -errno : end_of_lines(fd, st.st_size, &end);
    if (!rc && ftruncate(fd, end)) {
        rc = -errno;
    }
    rc = rc ? rc : write_all(fd, lines, end);
    if (!rc && fdatasync(fd)) {
        rc = -EIO; // what is on disk now is unknown; the next run writes these lines anew
    }
    return rc;
}

// Appends lines to the file of a month and returns when they are on disk.
static int append_to_month(const char month[MONTH_TEXT + 1], struct str lines)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%.*s/orders-%s.ndjson", PATH_BYTES - FILE_NAME_BYTES,
                   archive.directory, month);
    int rc = make_directory(archive.parent, archive.directory);
    if (rc) {
        return rc;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    rc = append_lines(fd, lines);
    if (close(fd) && !rc) {
        rc = -errno;
    }
    return rc ? rc : sync_directory(archive.directory); // the file may be new
}

// --- A run

struct run {
    struct db *db;
    struct arena memory;         // of the order at hand
    struct stored_order order;   // at hand
    struct archived_order line;  // what is written of it
    char month[MONTH_TEXT + 1];  // of the lines
    struct buf lines;            // not yet in their file
    int64_t rows[ARCHIVE_BATCH]; // to delete
    size_t n_rows;
    size_t written_bytes;
};

static int flush(struct run *r)
{
    int rc = r->lines.len ? append_to_month(r->month, buf_str(&r->lines)) : 0;
    r->written_bytes += r->lines.len;
    buf_reset(&r->lines);
    return rc;
}

static int publish(struct run *r)
{
    const struct event_kind *kind = &orders_events[EVENT_ORDER_ARCHIVED];
    struct order *o = &r->order.order;
    struct buf data;
    o->version++; // above every version that was seen: to readers of the events it is one more change
    buf_init(&data, QUEUE_MAX_EVENT_BYTES - 2048); // the rest of an event is far below 2 KiB
    message_pack(kind->message, o, &data);
    struct event e = { .topic = str_of(kind->topic),
                       .key = o->id,
                       .subject = o->id,
                       .source = STR("/sluice/orders"),
                       .data = buf_str(&data) };
    int rc = buf_error(&data) ? buf_error(&data) : outbox_add(r->db, &e);
    buf_fini(&data);
    return rc;
}

static int take_order(struct run *r)
{
    char time[TIMESTAMP_SIZE];
    (void)timestamp_format(r->order.order.updated_at, time);
    if (memcmp(time, r->month, MONTH_TEXT) != 0) {
        int rc = flush(r);
        if (rc) {
            return rc;
        }
        memcpy(r->month, time, MONTH_TEXT);
    }
    struct order_history history = { 0 };
    int rc = orders_store_history(&r->order, &history);
    if (rc) {
        return rc;
    }
    r->line.order = r->order.order;
    r->line.n_history = history.n_items;
    memcpy(r->line.history, history.items, sizeof history.items);
    message_json(&archived_order_message, &r->line, &r->lines);
    buf_append_char(&r->lines, '\n');
    r->rows[r->n_rows++] = r->order.row;
    return buf_ok(&r->lines) ? publish(r) : buf_error(&r->lines);
}

static int take_orders(struct run *r, int64_t before_ms)
{
    struct db_rows rows;
    int rc = orders_store_finished(r->db, before_ms, ARCHIVE_BATCH, &rows);
    if (rc) {
        return rc;
    }
    while (r->written_bytes + r->lines.len < ARCHIVE_MAX_BYTES &&
           (rc = orders_store_next_order(&rows, &r->memory, &r->order)) > 0) {
        rc = take_order(r);
        arena_reset(&r->memory);
        if (rc) {
            break;
        }
    }
    db_rows_close(&rows);
    return rc < 0 ? rc : 0;
}

int archive_run(struct db *db, int64_t now_ms, void *data)
{
    (void)data;
    assert(archive.keep_ms);
    struct run *r = calloc(1, sizeof *r);
    if (!r) {
        return -ENOMEM;
    }
    r->db = db;
    arena_init(&r->memory, 1024 * 1024);        // one order is below 64 KiB
    buf_init(&r->lines, 2 * ARCHIVE_MAX_BYTES); // the last line may begin just below the limit
    int rc = take_orders(r, now_ms - archive.keep_ms);
    rc = rc ? rc : flush(r);
    for (size_t i = 0; !rc && i < r->n_rows; i++) {
        rc = orders_store_remove(db, r->rows[i]);
    }
    buf_fini(&r->lines);
    arena_fini(&r->memory);
    free(r);
    return rc;
}
