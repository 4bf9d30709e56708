// SPDX-License-Identifier: MIT
// The one table of commands and the one of options. --help, the man page, the completion of bash
// and zsh and the parser all come from them: what is not here does not exist.
//
// A new command: its number in the enum, its line in commands.c, its bit at the options that it
// takes, its function in the file of its family, a line in docs/tap.md, a test in
// tests/system/test_tap.py.
#ifndef TAP_COMMANDS_H
#define TAP_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tap;

enum command_id {
    TAP_LS,
    TAP_INFO,
    TAP_TAIL_EVENTS,
    TAP_CAT,
    TAP_GET,
    TAP_LAG,
    TAP_PENDING,
    TAP_TOP,
    TAP_OPS,
    TAP_TRACE,
    TAP_GROUP_LS,
    TAP_GROUP_SET,
    TAP_GROUP_DELETE,
    TAP_DLQ_LS,
    TAP_DLQ_SHOW,
    TAP_DLQ_RETRY,
    TAP_DLQ_DROP,
    TAP_DLQ_EXPORT,
    TAP_PUB,
    TAP_IMPORT,
    TAP_EXPORT,
    TAP_REPLAY,
    TAP_SEEK,
    TAP_PAUSE,
    TAP_RESUME,
    TAP_VERIFY,
    TAP_BENCH_PUB,
    TAP_BENCH_CONSUME,
    TAP_BENCH_E2E,
    TAP_N_COMMANDS
};

enum command_family {
    FAMILY_LOOK,
    FAMILY_STATE,
    FAMILY_GROUPS,
    FAMILY_DEAD,
    FAMILY_ACT,
    FAMILY_TRUST,
    N_FAMILIES
};

// How a command that changes something does without a terminal to ask on.
enum command_risk {
    RISK_NONE, // changes nothing
    RISK_ADDS, // adds, or can be taken back: goes ahead
    RISK_ASKS, // refuses without --yes
};

struct command {
    const char *name; // one or two words
    const char *arguments;
    const char *help; // a line
    const char *more; // what else there is to know; NULL: nothing
    enum command_family family;
    enum command_risk risk;
    int min, max;              // operands
    int (*run)(struct tap *t); // returns the exit status
};

// By enum command_id.
extern const struct command commands[TAP_N_COMMANDS];

// What a family of commands is called in --help.
extern const char *const families[N_FAMILIES];

enum option_id {
    OPT_TOPIC = 256,
    OPT_WHERE,
    OPT_SINCE,
    OPT_RANGE,
    OPT_FORMAT,
    OPT_NO_BODY,
    OPT_MAX_BODY,
    OPT_BODY_ONLY,
    OPT_INTERVAL,
    OPT_LIMIT,
    OPT_ALL,
    OPT_RATE,
    OPT_ORIGINAL_SPEED,
    OPT_TO,
    OPT_DRY_RUN,
    OPT_PRODUCER,
    OPT_FROM,
    OPT_ORDER,
    OPT_ACK_WAIT,
    OPT_MAX_DELIVERIES,
    OPT_BACKOFF,
    OPT_BACKOFF_MAX,
    OPT_MAX_PENDING,
    OPT_DEEP,
    OPT_ARCHIVE,
    OPT_SIZE,
    OPT_BATCH,
    OPT_IN_FLIGHT,
    OPT_QUEUE,
    OPT_TIMEOUT,
    OPT_NO_COLOR,
    OPT_MAN,
    OPT_COMPLETION
};

struct option_line {
    const char *name;
    int id;            // of enum option_id, or its letter
    const char *value; // what stands behind it; NULL: nothing does
    const char *help;  // a line
    const char *words; // allowed values, separated by blanks, for completion; NULL: free
    const char *alias; // another name; NULL: none
    uint64_t commands; // bits of the commands that take it
};

extern const struct option_line option_lines[];
extern const size_t n_option_lines;

struct command_alias {
    const char *name;
    enum command_id command;
    bool follow; // as with -f
};

// Words for habits from elsewhere.
extern const struct command_alias command_aliases[];
extern const size_t n_command_aliases;

// The commands' own functions, in the files of their families.
int look_ls(struct tap *t);
int look_info(struct tap *t);
int read_tail(struct tap *t);
int read_cat(struct tap *t);
int read_get(struct tap *t);
int lag_show(struct tap *t);
int lag_pending(struct tap *t);
int top_run(struct tap *t);
int ops_run(struct tap *t);
int trace_run(struct tap *t);
int group_ls(struct tap *t);
int group_set(struct tap *t);
int group_delete(struct tap *t);
int group_seek(struct tap *t);
int group_pause(struct tap *t);
int group_resume(struct tap *t);
int dead_ls(struct tap *t);
int dead_show(struct tap *t);
int dead_retry(struct tap *t);
int dead_drop(struct tap *t);
int dead_export(struct tap *t);
int publish_run(struct tap *t);
int import_run(struct tap *t);
int export_run(struct tap *t);
int replay_run(struct tap *t);
int verify_run(struct tap *t);
int bench_publish(struct tap *t);
int bench_consume(struct tap *t);
int bench_e2e(struct tap *t);

#endif
