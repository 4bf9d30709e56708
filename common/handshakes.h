// SPDX-License-Identifier: MIT
// Handshakes of encrypted links that failed, on either side: counted
// (sluice_curve_handshake_failures_total, by reason), and reported in a line. libzmq itself says
// nothing: who has the wrong key would wait for ever and nobody would know why.
#ifndef COMMON_HANDSHAKES_H
#define COMMON_HANDSHAKES_H

#define HANDSHAKES_TEXT_SIZE 512

enum handshake_failure {
    HANDSHAKE_AUTH,     // the server does not know the client's key
    HANDSHAKE_PROTOCOL, // what came is not CURVE, or is sealed for another key
    HANDSHAKE_CLOSED,   // the other side hung up, or said nothing for 3 s
    HANDSHAKE_FAILURES
};

// Registers the metrics, and says who prints reports (thread-safe, and with a limit on floods);
// NULL: nobody. Before there are threads.
void handshakes_open(void (*print)(const char *text));
void handshakes_close(void);

// Thread-safe.
void handshakes_count(enum handshake_failure failure);
void handshakes_report(const char *text);

#endif
