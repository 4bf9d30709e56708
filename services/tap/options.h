// SPDX-License-Identifier: MIT
// The command line of the tap, parsed by the tables of commands.h and checked: what a command finds
// in here is well-formed.
#ifndef TAP_OPTIONS_H
#define TAP_OPTIONS_H

#include "services/tap/commands.h"
#include "services/tap/range.h"
#include "services/tap/render.h"

#define TAP_OK 0
#define TAP_NOTHING 1 // nothing matched
#define TAP_USAGE 2
#define TAP_UNREACHABLE 3 // the queue does not answer
#define TAP_DAMAGE 4      // a range of the log is lost
#define TAP_INTERRUPTED 130

#define TAP_TIMEOUT_MS 3000
#define TAP_TAIL 10        // events that tail shows
#define TAP_LIST 1000      // that pending and trace show
#define TAP_BENCH 10000    // events of a bench
#define TAP_MAX_SIZE 65536 // bytes of the data of an event of a bench

struct options {
    enum command_id command;
    const char *queue; // endpoint; NULL: of the home
    int64_t timeout_ms;
    // Which events
    struct str filters[QUEUE_MAX_FILTERS];
    size_t n_filters;
    const char *key, *where; // NULL: all
    bool has_range;
    struct range range;
    int64_t since_ms; // -1: not given
    int64_t number;   // -n; -1: not given
    int64_t limit;    // -1: none
    bool follow, all;
    uint64_t seq; // operand of get and dlq show
    char **seqs;  // operands of dlq retry and drop: checked numbers
    size_t n_seqs;
    const char *target;  // operand: a topic (pub), group, id (trace), directory (verify)
    const char *archive; // directory of verify's archived segments; NULL: none
    const char *data;    // of pub; NULL or "-": standard input
    const char *file;    // of import and export; NULL or "-": standard input or output
    // How they are shown
    struct render_style style;
    bool csv;
    bool color;
    bool watch;
    int64_t interval_ms;
    // How something is changed
    bool lines, dry_run, yes, deep, original_speed;
    int64_t rate;      // events a second; 0: as fast as they go
    const char *to;    // of seek, replay and dlq retry
    struct range from; // of group set and seek: from and value
    bool has_from;
    const char *producer;
    const char *order; // these: NULL or -1 when not given
    int64_t ack_wait_ms, max_deliveries, backoff_ms, backoff_max_ms, max_pending;
    int64_t size, batch, in_flight;
};

// Fills in *ret_options. Returns -1 to go on, or the exit status when all is said (help, version, a
// mistake).
int options_parse(int argc, char **argv, struct options *ret_options);

#endif
