// SPDX-License-Identifier: MIT
#include "common/watched_file.h"

#include "common/clock.h"

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid;
}

bool watched_file_begin(struct watched_file *w, const char *path)
{
    *w = (struct watched_file){ .path = path };
    return stat(path, &w->seen) == 0;
}

bool watched_file_changed(struct watched_file *w)
{
    struct stat now;
    if (w->again_ms && clock_mono_ms() < w->again_ms) {
        return false;
    }
    if (stat(w->path, &now) < 0 || same_file(&now, &w->seen)) {
        return false;
    }
    w->seen = now;
    return true;
}

void watched_file_again(struct watched_file *w, int64_t wait_ms)
{
    w->seen = (struct stat){ .st_ino = 0 }; // as if it had not been there
    w->again_ms = wait_ms > 0 ? clock_mono_ms() + wait_ms : 0;
}
