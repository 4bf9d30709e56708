// SPDX-License-Identifier: MIT
// `sluice up --detach`: the supervisor goes into the background, and the command returns when it is
// known how the start went.
#ifndef DEPLOY_BACKGROUND_H
#define DEPLOY_BACKGROUND_H

#define BACKGROUND_READY_MS 30000 // a start that takes longer is reported as a failure

// What the process in the background writes into its pipe, once.
#define BACKGROUND_READY 'r'
#define BACKGROUND_TROUBLE 't' // not everything is ready, and that may take

// Returns in two processes. In the one in the background: a descriptor to write to; its output goes
// to run/sluice.log. In the command's: -1 with the exit status in *ret_status; a failure is
// explained on stderr.
__attribute__((warn_unused_result)) int background_enter(const char *home, int *ret_status);

#endif
