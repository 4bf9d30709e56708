// SPDX-License-Identifier: MIT
// The queue as a process: waits for the right to write the log, opens it, serves clients, keeps
// retention, and stops in good order.
//
//     WAITING --lease--> OPENING --log opened--> SERVING --SIGTERM--> DRAINING --all stored--> CLOSED
//        +------------------+---------------------+--failure, or stopped early-----------------> CLOSED
#ifndef QUEUE_SERVER_H
#define QUEUE_SERVER_H

#include "common/process.h"

#define SERVER_RETENTION_MS 5000      // how often retention is looked at
#define SERVER_ARCHIVE_MS 1000        // how often it is looked for segments to archive
#define SERVER_ARCHIVE_SHARE 3        // a pause of so many times what the last one took
#define SERVER_ARCHIVE_RETRY_MS 30000 // after one that failed
#define SERVER_LINGER_MS 1000         // for answers that are on their way when the process stops

struct retention;

struct server_config {
    struct process_config common;
    char *bind;              // endpoint; NULL: ipc://$SLUICE_HOME/run/queue.sock
    int64_t retention_ms;    // 0: none
    int64_t retention_bytes; // 0: none
    int64_t retention_count; // 0: none
    char *retention_topics;  // rules as retention.h reads them; NULL: none
    int64_t segment_bytes;
    char *archive; // directory; NULL: none
    int64_t archive_after_ms;
    int64_t archive_level;
    int64_t strict;
    // Not from the table: made of the four above; borrowed.
    const struct retention *retention;
};

struct server;

// process and config are borrowed; config must be loaded already.
__attribute__((warn_unused_result)) int server_open(struct process *process,
                                                    const struct server_config *config,
                                                    struct server **ret_server);

// The process's callbacks.
void server_drain(struct server *s);
void server_close(struct server *s);

// Frees everything; after the loop has ended.
void server_destroy(struct server **s);

#endif
