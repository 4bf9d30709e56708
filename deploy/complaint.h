// SPDX-License-Identifier: MIT
// How the commands of `sluice` say what is wrong.
#ifndef DEPLOY_COMPLAINT_H
#define DEPLOY_COMPLAINT_H

// Prints "who: ..." as one line on stderr and returns status, for callers to return.
__attribute__((format(printf, 3, 4))) int complain(const char *who, int status, const char *format,
                                                   ...);

#endif
