// SPDX-License-Identifier: MIT
// What the two halves of the admin listener share: admin.c accepts, reads and answers, and
// admin_request.c is what handlers see of a connection.
#ifndef COMMON_ADMIN_IMPL_H
#define COMMON_ADMIN_IMPL_H

#include "common/admin.h"

#include <llhttp.h>
#include <sys/types.h>

#define HEAD_SIZE 1536 // of an answer: a fixed set of headers, and what a handler adds

struct page {
    const char *path;
    admin_page_fn *write;         // of a page; else
    admin_handler_fn *on_request; // of a handler
    enum admin_takes takes;       // pages: GET
    void *data;
};

union stream_handle {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
};

//     FREE --accepted--> READING --head complete, or wrong--> ANSWERING --written--> LINGERING
//      ^                    |                                  ^   |                     |
//      |                    +--a handler's--> HANDLING --------+   |                     |
//      |                    |                  |   +--> STREAMING  |                     |
//      |                    |                  |           |       |                     |
//      +------ CLOSING <----+---- peer closed, error, timer, end of the stream, ---------+
//                                 too slow for the stream, admin_close()
enum phase { FREE, READING, HANDLING, STREAMING, ANSWERING, LINGERING, CLOSING };

// A stretch of request[].
struct span {
    size_t at, n;
};

// The name that handlers know it by is struct admin_request.
struct connection {
    struct admin *admin;
    union stream_handle socket;
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    enum phase phase;
    int n_open; // handles that are not closed yet
    llhttp_t parser;
    const struct page *page;     // that was asked for; NULL: there is none, or not known yet
    int refused;                 // status that the head alone is answered with; 0: none
    void (*on_gone)(void *data); // of a handler that has not answered; NULL: nobody minds
    void *on_gone_data;
    struct span target, name, value;   // of the request; name and value are of the field at hand
    struct span body_span;             // what was posted
    struct span fields[ADMIN_FIELDS];  // n == 0: not there, or empty
    bool twice;                        // a field of those was there twice
    int64_t stuck_ms;                  // STREAMING: the peer takes nothing since; 0: it does
    size_t n_request;                  // bytes of request[] in use
    char request[ADMIN_REQUEST_BYTES]; // once answered: what the peer still sends, for nothing
    char head[HEAD_SIZE];
    struct buf body;
};

struct listener {
    struct admin *admin;
    union stream_handle socket;
    bool waiting; // a peer waits for a free connection; libuv accepts no more until it is taken
    char *path;   // of a unix socket, to unlink; owned
    ino_t inode;  // of that path: another process may have replaced it
};

struct admin {
    uv_loop_t *loop;
    size_t n_listeners;
    size_t n_pages;
    size_t n_streams;
    size_t n_open; // handles whose close callback has not run; with the last one this is freed
    bool closing;
    struct listener listeners[ADMIN_MAX_LISTENERS];
    struct page pages[ADMIN_MAX_PAGES];
    struct connection connections[ADMIN_MAX_CONNECTIONS]; // memory is not touched before it is used
};

// Ends the connection, whatever its phase; again does nothing. A handler that waits is told.
void admin_connection_close(struct connection *c);

// Sends head and c->body; without the body for HEAD. status is one that HTTP knows; fields: more
// lines of the head, or "".
void admin_connection_answer(struct connection *c, int status, const char *media_type,
                             const char *fields);

// Answers with a sentence instead.
void admin_connection_refuse(struct connection *c, int status, const char *text);

// A stretch of the request.
static inline struct str admin_connection_text(const struct connection *c, struct span span)
{
    return (struct str){ c->request + span.at, span.n };
}

// The request target's path, and what stands behind its '?'.
struct str admin_connection_path(const struct connection *c, struct str *ret_query);

#endif
