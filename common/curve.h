// SPDX-License-Identifier: MIT
// CURVE keys of one deployment. Every TCP link is encrypted and both ends prove that they hold a
// key of this deployment; ipc sockets are guarded by the permissions of their directory instead.
// Keys are czmq certificates: secrets/curve/<name>.key_secret (0600) and
// secrets/curve/public/<name>.key; names are "gateway", "queue" and "client" (workers, consumers,
// tap). A server accepts exactly the keys in public/.
#ifndef COMMON_CURVE_H
#define COMMON_CURVE_H

struct curve;

// Loads the keys below dir. A server (is_server) also starts the ZAP handler, once per process,
// before any bind. Returns -ENOENT when a key is missing, -EACCES when a secret key is readable by
// others, -ENAMETOOLONG when the path of a secret key has more than 255 bytes.
__attribute__((warn_unused_result)) int curve_open(const char *dir, const char *own_name, int is_server,
                                                   struct curve **ret_curve);
void curve_close(struct curve **c);

// Applies the keys to a libzmq socket before bind (server) or connect (client of server_name). 0 or
// -errno.
__attribute__((warn_unused_result)) int curve_apply_server(struct curve *c, void *zmq_socket);
__attribute__((warn_unused_result)) int curve_apply_client(struct curve *c, void *zmq_socket,
                                                           const char *server_name);

// Makes the three key pairs below dir that are not there yet (directories 0700, secrets 0600). 0 or
// -errno.
__attribute__((warn_unused_result)) int curve_make_keys(const char *dir);

#endif
