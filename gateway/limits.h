// SPDX-License-Identifier: MIT
// Every limit of the gateway that is not configurable, with its reason. What happens at the limit
// stands behind the arrow. Configurable limits are in the table of options.c.
#ifndef GATEWAY_LIMITS_H
#define GATEWAY_LIMITS_H

// --- One request

#define HTTP_MAX_LINE 8192          // RFC 9112 section 3 asks for at least 8000 -> 414
#define HTTP_MAX_FIELDS_BYTES 16384 // all header fields; twice what browsers send -> 431
#define HTTP_MAX_FIELDS 100         // header fields -> 431
#define HTTP_MAX_TRAILER_BYTES 4096 // trailer fields, which are ignored, and their end -> 431
#define HTTP_MAX_TRAILERS 16        // trailer fields -> 431
#define HTTP_MAX_CHUNK_LINE 274     // 16 digits, 256 bytes of extensions, the line end -> 400
#define HTTP_MAX_SEGMENTS 16        // of a path; no pattern has more (PROTOCOL.md 2.2) -> 404
#define HTTP_MAX_BLANK_LINES 2      // before a request, of old clients -> 400
#define TOKEN_MAX_BYTES 4096        // access token -> 401

// What chunked framing may cost until a chunk begins: 8 bytes for each byte of the body before (a
// chunk of one byte takes 6), and this -> 400
#define HTTP_CHUNK_SLACK 4096

// --- One answer

#define RESPONSE_HEAD_BYTES 16384           // status line and fields -> 500
#define RESPONSE_MAX_BODY (8 * 1024 * 1024) // JSON of a 2 MiB frame full of escapes -> 500

// --- One connection

#define READ_BUFFER_BYTES 65536  // one, shared by all connections; bounds one read
#define PIPELINE_READ_BYTES 4096 // read ahead while a request is in flight -> not read any more
#define HALF_CLOSE_GRACE_MS 250  // a client that closed may still be reading: so long for an answer
#define LINGER_MS 1000           // after the last answer: reads on, so that no reset eats it
#define KEPT_BODY_BYTES 65536    // a request's body buffer above this is freed after use
#define SPARE_EXCHANGES 256      // request objects kept for reuse; a burst's others are freed

// --- All connections

#define DRAIN_IDLE_MS 1000 // after SIGTERM: so long for a request that is on its way
#define DRAIN_MAX_MS 8000  // after SIGTERM: for everything -> closed, before the process is ended
#define DRAIN_WAIT_MAX_MS 5000 // of these at most with the port open (SLUICE_DRAIN_WAIT)
#define PENDING_OUT_BYTES (64 * 1024 * 1024) // answers that slow clients have not read -> closed
#define LISTEN_BACKLOG 1024

// --- Workers

#define WORKERS_MAX 1024  // PROTOCOL.md section 1 -> REFUSED too-many-workers
#define SERVICES_MAX 32   // different services -> REFUSED too-many-workers
#define TABLES_MAX 4      // schema versions of one service at once -> REFUSED too-many-workers
#define ROUTES_MAX 1024   // different routes in the life of the process -> REFUSED too-many-workers
#define FLIGHTS_MAX 65536 // requests at workers: all connections, and those given up -> 503
#define RETURNS_MAX 8     // times that workers may hand a request back -> 503
#define STATUSES_MAX 16   // different statuses counted for a route -> counted as "other"
#define HEARTBEAT_TICK_MS 25  // half of the shortest heartbeat
#define MISSED_HEARTBEATS 3   // PROTOCOL.md 2.9 -> the worker is lost
#define ABSENCE_GRACE_MS 5000 // requests wait so long for the first worker of a service -> 503

// Requests that may be sent again after their worker was lost -> 502
#define RETRY_PERCENT 10      // of the recent ones
#define RETRY_FLOOR 100       // but so many always: a small system must survive a crash, too
#define RETRY_WINDOW_MS 10000 // what "recent" means

#endif
