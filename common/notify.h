// SPDX-License-Identifier: MIT
// Tells whoever started this process how it is: one datagram to $NOTIFY_SOCKET, as sd_notify(3)
// describes. The supervisor `sluice` and systemd both understand it. Without the variable nothing
// happens.
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stdint.h>

// state is newline-separated assignments: "READY=1", "STOPPING=1", "STATUS=text"; also "READY=0",
// not ready any more, which systemd ignores. Failures are ignored on purpose: a process must not
// die of its parent's deafness, and waits for it at most one second, once.
void notify_send(const char *state);

// How long whoever started this process waits for a sign of life before it takes it for stuck, as
// WATCHDOG_USEC says; 0: it does not wait for any.
int64_t notify_watchdog_ms(void);

// A sign of life (WATCHDOG=1). Never waits: the next one comes soon.
void notify_alive(void);

// This process knows that it is stuck (WATCHDOG=trigger): it is to be replaced now. Never waits: say
// it again, and give no signs of life meanwhile.
void notify_stuck(void);

#endif
