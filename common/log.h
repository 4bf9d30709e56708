// SPDX-License-Identifier: MIT
// Log lines on stdout: one JSON object each (field names of OpenTelemetry), or a human form on a
// terminal. Only processes log, once per event, where they decide what to do about it; modules of
// common/ and proto/ return errors instead. A line is one write(2), so lines of threads and
// processes do not mix.
//
// A message that comes over and over, from a loop or in a flood, neither fills the disk nor holds the
// process up: each statement that logs has a token bucket of its own. What it leaves out is counted,
// and said with the next line of that statement (the field `suppressed`), or soon after the flood.
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/trace.h"
#include "proto/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// Not LOG_INFO and the like: those are syslog.h's macros, which czmq.h brings along.
enum log_level { LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN, LEVEL_ERROR, LEVEL_FATAL };

enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT }; // auto: text on a terminal

// Where standard output is a pipe that does not block (deploy/log_writer.h) and is full, a line waits
// for so long; then it is lost, and those after it do not wait until one was taken again. So a log
// that nobody reads holds up a process once, by this.
#define LOG_WAIT_MS 1000

// The names of LEVEL_DEBUG to LEVEL_ERROR, which are those that can be set, for texts about them.
#define LOG_LEVEL_NAMES "debug, info, warn and error"

// Longest line, its newline included: what a pipe takes as a whole (PIPE_BUF). A longer message or
// value is cut, and ends in "...".
#define LOG_MAX_LINE 4096

// What one statement may write: so many lines at once, and then one more in each interval. A whole
// suite of workers may come and go, and what goes on for ever is 86400 lines a day, some 30 MB. Who
// sets the level debug wants to see what happens, and has it not for long.
#define LOG_BURST 100
#define LOG_INTERVAL_MS 1000
#define LOG_DEBUG_BURST 1000
#define LOG_DEBUG_INTERVAL_MS 10

// A statement that logs, and what it left out. One that has several subjects, which must not take
// each other's lines away, has one of these for each. Begins as zeros; static, because a list of
// those that leave something out goes through them until the process ends. Its members are log.c's.
struct log_site {
    _Atomic int64_t full_us;     // monotonic: when its bucket is full again
    _Atomic uint64_t suppressed; // lines since the last one
    _Atomic bool listed;
    enum log_level level;  // of its lines, once listed
    const char *message;   // as it stands in the statement, once listed
    struct log_site *next; // in the list
};

// Sets what every line carries. service and instance are copied, and cut at 63 bytes. Before this
// call lines go out as JSON with neither. Call while there is one thread.
void log_init(const char *service, const char *instance, enum log_level level,
              enum log_format format);

// The level that a name ("debug", "info", "warn", "error") is of, or -EINVAL.
__attribute__((warn_unused_result)) int log_level_parse(struct str name);

// The name of a level; of LEVEL_FATAL as well.
const char *log_level_name(enum log_level level);

// The level that is set.
enum log_level log_level(void);

// Sets another one, for every thread, from the next line on; not LEVEL_FATAL. Writes a line that
// says so, whatever the two levels are, unless it is the same. Thread-safe.
void log_set_level(enum log_level level);

extern _Atomic int log_threshold; // an enum log_level; written by log.c alone

// Whether lines of this level are written: to spare building them. One relaxed load.
static inline bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_threshold, memory_order_relaxed);
}

// log_write(level, trace, format, ...): writes a line if level is at or above the set one, and the
// statement's bucket has a token left; LEVEL_FATAL needs none. trace may be NULL. The message is a
// sentence for people; values in it that came from outside are safe (control characters are
// escaped). format is a literal.
//
// log_fields(level, trace, message, fields): the same with fields: name, value pairs of C strings,
// ended by a NULL name, added to the JSON object (or behind the text). A pair with a NULL value is
// left out. A value whose name begins with '#' is written as a JSON number under the rest of the
// name: { "#http.response.status_code", "200" }. Names and message are literals.
//
// log_lines(level, text): writes each line of a text that has several; all of it takes one token.
//
// These are macros, so that each statement has its site, and nothing is computed for a line that is
// not written: arguments are evaluated when the level is enabled only.
#define log_write(level_, trace_, ...)                                                             \
    LOG_HERE(level_, log_write_at(&log_site_, level_, trace_, __VA_ARGS__))
#define log_fields(level_, trace_, message_, fields_)                                              \
    LOG_HERE(level_, log_fields_at(&log_site_, level_, trace_, "" message_, fields_))
#define log_lines(level_, text_) LOG_HERE(level_, log_lines_at(&log_site_, level_, text_))

#define LOG_HERE(level_, call_)                                                                    \
    do {                                                                                           \
        static struct log_site log_site_;                                                          \
        if (log_enabled(level_)) {                                                                 \
            call_;                                                                                 \
        }                                                                                          \
    } while (0)

#define log_debug(...) log_write(LEVEL_DEBUG, NULL, __VA_ARGS__)
#define log_info(...) log_write(LEVEL_INFO, NULL, __VA_ARGS__)
#define log_warn(...) log_write(LEVEL_WARN, NULL, __VA_ARGS__)
#define log_error(...) log_write(LEVEL_ERROR, NULL, __VA_ARGS__)

// The functions behind these, for a caller with a site of its own; NULL: as many lines as come, for
// what is limited elsewhere or must be whole (the access log). Thread-safe; no lock.
__attribute__((format(printf, 4, 5))) void log_write_at(struct log_site *site, enum log_level level,
                                                        const struct trace *trace,
                                                        const char *format, ...);
void log_fields_at(struct log_site *site, enum log_level level, const struct trace *trace,
                   const char *message, const char *const fields[]);
void log_lines_at(struct log_site *site, enum log_level level, struct str text);

// Writes a line for each statement that has left something out and may write again. Call every
// LOG_TELL_MS, from one thread.
#define LOG_TELL_MS 5000
void log_tell_suppressed(void);

// Gathers this thread's lines from now on until log_release(), which writes them; as many as
// LOG_MAX_LINE bytes take are written at once. For lines that come in bursts: who holds them must
// release before it sleeps.
void log_hold(void);
void log_release(void);

// Lines written so far at each level; the metric sluice_log_messages_total reads it.
uint64_t log_count(enum log_level level);

// Those of them that were lost, because nobody took them or the disk was full.
uint64_t log_lost(void);

// Lines that a statement's limit left out, which are not among those; sluice_log_suppressed_total.
uint64_t log_suppressed(enum log_level level);

#endif
