// SPDX-License-Identifier: MIT
// Secrets of the supervisor's environment. Each is given to the processes of the service that it is
// for, and to no other; the supervisor keeps it, for processes that start later, but not where
// /proc/PID/environ shows it.
#ifndef DEPLOY_SECRETS_H
#define DEPLOY_SECRETS_H

// Takes them out of the environment and overwrites them there. Call it once, before the first
// process is started. Returns 0 or -ENOMEM.
__attribute__((warn_unused_result)) int secrets_take(void);

// Puts those of a service (its index) into the environment: for a child, before exec. Returns 0 or
// -ENOMEM.
__attribute__((warn_unused_result)) int secrets_give(int service);

#endif
