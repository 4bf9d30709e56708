// SPDX-License-Identifier: MIT
// Log lines on stdout: one JSON object each (field names of OpenTelemetry), or a human form on a
// terminal. Only processes log, once per event, where they decide what to do about it; modules of
// common/ and proto/ return errors instead. A line is one write(2), so lines of threads and
// processes do not mix.
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/trace.h"

#include <stdint.h>

// Not LOG_INFO and the like: those are syslog.h's macros, which czmq.h brings along.
enum log_level { LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN, LEVEL_ERROR, LEVEL_FATAL };

enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT }; // auto: text on a terminal

// Longest line, its newline included: what a pipe takes as a whole (PIPE_BUF). A longer message or
// value is cut, and ends in "...".
#define LOG_MAX_LINE 4096

// Sets what every line carries. service and instance are copied, and cut at 63 bytes. Before this
// call lines go out as JSON with neither. Call while there is one thread.
void log_init(const char *service, const char *instance, enum log_level level,
              enum log_format format);

// Writes a line if level is at or above the set one. trace may be NULL. The message is a sentence
// for people; values in it that came from outside are safe (control characters are escaped).
__attribute__((format(printf, 3, 4))) void
log_write(enum log_level level, const struct trace *trace, const char *format, ...);

// Like log_write(), with fields: name, value pairs of C strings, ended by a NULL name, added to the
// JSON object (or behind the text). A pair with a NULL value is left out. A value whose name begins
// with '#' is written as a JSON number under the rest of the name: { "#http.response.status_code",
// "200" }. Names are literals. For the access log and the like.
void log_fields(enum log_level level, const struct trace *trace, const char *message,
                const char *const fields[]);

// Whether lines of this level are written: to spare building them.
bool log_enabled(enum log_level level);

// Gathers this thread's lines from now on until log_release(), which writes them; as many as
// LOG_MAX_LINE bytes take are written at once. For lines that come in bursts: who holds them must
// release before it sleeps.
void log_hold(void);
void log_release(void);

// Lines written so far at each level; the metric sluice_log_messages_total reads it.
uint64_t log_count(enum log_level level);

#define log_debug(...) log_write(LEVEL_DEBUG, NULL, __VA_ARGS__)
#define log_info(...) log_write(LEVEL_INFO, NULL, __VA_ARGS__)
#define log_warn(...) log_write(LEVEL_WARN, NULL, __VA_ARGS__)
#define log_error(...) log_write(LEVEL_ERROR, NULL, __VA_ARGS__)

#endif
