// SPDX-License-Identifier: MIT
// Sends kept spans (common/traces.h) to a collector as OTLP/HTTP in JSON, from a thread of its own,
// so that a collector that is slow or gone costs requests nothing: what does not fit into the ring
// meanwhile is dropped and counted. As the OTLP specification asks, 429, 502, 503 and 504 and
// connections that fail are tried again, with growing pauses; any other refusal drops the batch, and
// so does a batch of which the collector refuses a part for that part. Retry-After is not looked at.
//
// Plain http only: TLS is a collector's or a proxy's business beside the process.
#ifndef COMMON_OTLP_EXPORTER_H
#define COMMON_OTLP_EXPORTER_H

#include "common/span.h"

#define OTLP_EXPORTER_BATCH 512               // spans in one request
#define OTLP_EXPORTER_BYTES (4 * 1024 * 1024) // of its body
#define OTLP_EXPORTER_PERIOD_MS 200           // between two looks at the ring
#define OTLP_EXPORTER_PAUSE_MS 1000           // after a first failure; doubled with each one
#define OTLP_EXPORTER_PAUSE_MAX_MS 30000      // and no longer than that
#define OTLP_EXPORTER_TRIES 6                 // then the batch is dropped
#define OTLP_EXPORTER_FLUSH_MS 1000           // at the end, for what is left
#define OTLP_EXPORTER_REPORT_MS 60000         // at most one log line in so long
#define OTLP_EXPORTER_ANSWER_BYTES 65536      // of what the collector says
#define OTLP_EXPORTER_HEADERS_BYTES 4096      // of the additional fields

struct otlp_exporter;

struct otlp_options {
    const char *endpoint; // "http://HOST[:PORT][/PATH]"; all of it
    const char *headers;  // OTEL_EXPORTER_OTLP_HEADERS: "name=value,..."; NULL: none
    int timeout_ms;       // of one request
    const struct span_resource *resource; // its strings are borrowed until otlp_exporter_close()
};

// Starts the thread; after traces_open(). The other strings are copied. -EINVAL with one line in
// error when a string is not as above. Registers the metrics.
#define OTLP_EXPORTER_ERROR_SIZE 256
__attribute__((warn_unused_result)) int otlp_exporter_open(const struct otlp_options *options,
                                                           struct otlp_exporter **ret_exporter,
                                                           char error[OTLP_EXPORTER_ERROR_SIZE]);

// Sends what is left, for at most OTLP_EXPORTER_FLUSH_MS, a request under way included, and ends the
// thread. What could not be sent is logged. A thread that hangs in a name server is left to the end
// of the process: call it last.
void otlp_exporter_close(struct otlp_exporter **exporter);

#endif
