// SPDX-License-Identifier: MIT
// `sluice backup` and `sluice restore`; docs/backup.md says what a backup has and what it is good for.
// Each prints what it did or what is wrong, and returns an exit status.
#ifndef DEPLOY_BACKUP_H
#define DEPLOY_BACKUP_H

#include <stdbool.h>

// Writes a backup of home, whose suite may run, into the new directory dir.
int backup_make(const char *home, const char *dir, const char *bin_dir, bool with_secrets);

// Puts the backup in dir into home, where nothing may run. force: what is there is kept beside it.
int backup_restore(const char *home, const char *dir, const char *bin_dir, bool force);

// A restore that was cut off has left this below the home; nothing starts on such a home.
#define BACKUP_UNFINISHED "restore-unfinished"

#endif
