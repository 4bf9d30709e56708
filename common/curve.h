// SPDX-License-Identifier: MIT
// CURVE on sockets. Every TCP link is encrypted and both ends prove that they hold a key of this
// deployment (common/key_pairs.h says which there are); ipc sockets are guarded by the permissions
// of their directory instead. A server accepts exactly the keys in public/ and learns whose they are
// (common/zap.h).
//
// libzmq encrypts a copy of each message, which it frees as it is. So in a program with these sockets
// `operator delete` overwrites what it frees.
#ifndef COMMON_CURVE_H
#define COMMON_CURVE_H

#include <stdbool.h>

struct curve;

#define CURVE_ERROR_SIZE 512

// Loads the pair of own_name below dir; where there is none, the legacy one (curve_is_legacy()). A
// server (is_server) also starts the ZAP thread, once per process, before any bind. Returns -ENOENT
// when a key is missing, -EACCES when a secret key is readable by others, -EBADMSG when it is none,
// -ENAMETOOLONG when its path has PATH_MAX bytes or more; with one line in error. The process has the
// secret key as bytes alone, here and in the sockets; curve_close() overwrites the one here.
__attribute__((warn_unused_result)) int curve_open(const char *dir, const char *own_name, int is_server,
                                                   char error[CURVE_ERROR_SIZE],
                                                   struct curve **ret_curve);

// The same for a process, of the keys below its home; it fails with that line.
struct process;
__attribute__((warn_unused_result)) int curve_open_for(struct process *p, const char *own_name,
                                                       int is_server, struct curve **ret_curve);
void curve_close(struct curve **c);

// Whether it uses the key that all clients of older deployments shared.
bool curve_is_legacy(const struct curve *c);

// Applies the keys to a libzmq socket before bind (server) or connect (client of server_name). 0 or
// -errno. old: expects the key that the server had before its last change; -ENOENT: there is none.
__attribute__((warn_unused_result)) int curve_apply_server(struct curve *c, void *zmq_socket);
__attribute__((warn_unused_result)) int curve_apply_client(struct curve *c, void *zmq_socket,
                                                           const char *server_name, bool old);

#endif
