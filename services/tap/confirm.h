// SPDX-License-Identifier: MIT
// Asks before something is changed. One place decides for all commands who is asked, and what
// happens where there is nobody to ask.
#ifndef TAP_CONFIRM_H
#define TAP_CONFIRM_H

#include "services/tap/tap.h"

// "Retry 12 dead letters of billing?" -1: go on. Otherwise the exit status, after a message:
// --dry-run ends here (TAP_OK), as do a no (TAP_NOTHING) and a command that must be asked for without
// a terminal (TAP_USAGE).
__attribute__((format(printf, 2, 3), warn_unused_result)) int confirm(struct tap *t,
                                                                      const char *format, ...);

#endif
