// SPDX-License-Identifier: MIT
// Environment files as deploy/env/*.env: lines of NAME=VALUE that a shell's `.` reads the same way.
// Nothing is expanded or executed; what a shell would expand is an error here, so the two can never
// differ.
#ifndef DEPLOY_ENVFILE_H
#define DEPLOY_ENVFILE_H

#include "common/config.h"

#define ENVFILE_MAX_BYTES 65536 // far above any real file: keeps a wrong path (a log, a disk) from being read
#define ENVFILE_MAX_ENTRIES 256

// Takes one line (without its newline) apart in place. Returns 1 with the name and the value, which
// point into line; 0 for an empty line or a comment; or -EINVAL with *ret_why saying what is wrong.
//
//     line    = [ "export " ] name "=" [ value ] [ blanks "#" comment ]
//     value   = plain characters / 'anything but the quote' / "with \" \\ \$ and \` escaped"
__attribute__((warn_unused_result)) int envfile_line(char *line, char **ret_name, char **ret_value,
                                                     const char **ret_why);

// Puts the file's variables into this process's environment; what is set there already wins.
// Returns 0, or a negative errno with one line in error that names the file and the line.
__attribute__((warn_unused_result)) int envfile_apply(const char *path, char error[CONFIG_ERROR_SIZE]);

// The same; on_set is told of each variable that was taken from the file.
__attribute__((warn_unused_result)) int envfile_apply_and_tell(const char *path,
                                                               void (*on_set)(const char *name, void *data),
                                                               void *data, char error[CONFIG_ERROR_SIZE]);

#endif
