// SPDX-License-Identifier: MIT
// Who may connect to a server of this process (ZAP 1.0, https://rfc.zeromq.org/spec/27/): clients
// that prove by CURVE that they hold a key of secrets/curve/public. A connection carries the name of
// its identity as libzmq's "User-Id". libzmq asks a thread of this module once for each handshake;
// it reads the directory again when it has changed, so keys that are added count at once, and keys
// that are removed with the next handshake: a connection that is open stays open.
#ifndef COMMON_ZAP_H
#define COMMON_ZAP_H

struct zap;

#define ZAP_DOMAIN "sluice"
#define ZAP_MAX_KEYS 256 // an old and a new one of each identity (KEY_PAIRS_MAX)

// Starts the thread, before any bind; a process has one. -ENOENT and the like: the directory cannot
// be read; -EADDRINUSE: there is one already.
__attribute__((warn_unused_result)) int zap_start(const char *public_dir, struct zap **ret_zap);
void zap_stop(struct zap **zap);

#endif
