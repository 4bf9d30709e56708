// SPDX-License-Identifier: MIT
// The command line of the tap: one table of commands and one of options; --help comes from both.
#ifndef TAP_OPTIONS_H
#define TAP_OPTIONS_H

#include "services/tap/range.h"
#include "services/tap/render.h"

#define TAP_OK 0
#define TAP_NOTHING 1     // nothing matched
#define TAP_USAGE 2
#define TAP_UNREACHABLE 3 // the queue does not answer
#define TAP_DAMAGE 4      // a range of the log is lost

#define TAP_TIMEOUT_MS 3000
#define TAP_TAIL 10 // events that tail shows

enum tap_command { TAP_LS, TAP_INFO, TAP_TAIL_EVENTS, TAP_CAT, TAP_GET, TAP_PUB };

struct options {
    enum tap_command command;
    const char *queue;   // endpoint; NULL: of the home
    int64_t timeout_ms;
    struct str filters[QUEUE_MAX_FILTERS];
    size_t n_filters;
    const char *key;
    bool has_range;
    struct range range;
    int64_t since_ms;    // -1: not given
    int64_t last;        // -n; -1: not given
    bool follow, lines, color;
    enum render_format format;
    uint64_t seq;        // of get
    const char *topic;   // of pub
    const char *data;    // of pub; NULL or "-": standard input
};

// Fills in *ret_options. Returns -1 to go on, or the exit status when all is said (help, version, a
// mistake).
int options_parse(int argc, char **argv, struct options *ret_options);

#endif
