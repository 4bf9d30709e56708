// SPDX-License-Identifier: MIT
// $SLUICE_HOME, the directory in which every process finds everything: made when it is missing,
// named by its absolute path, so that nobody depends on a working directory.
#ifndef COMMON_HOME_H
#define COMMON_HOME_H

// Makes the directory (0700, with its parents) unless it is there, and checks that this user can
// read and write it. Returns 0 and the absolute path, which the caller frees; or a negative errno.
__attribute__((warn_unused_result)) int home_open(const char *path, char **ret_path);

// The absolute path of a home that must be there already; for tools that only look. As home_open().
__attribute__((warn_unused_result)) int home_find(const char *path, char **ret_path);

// Makes the directories (0700) above the file at path that are missing. Returns 0 or a negative
// errno.
__attribute__((warn_unused_result)) int home_make_parents(const char *path);

#endif
