// SPDX-License-Identifier: MIT
#include "services/tap/commands.h"

#define B(id) (UINT64_C(1) << (id))
#define EVERY (~UINT64_C(0))
#define READING (B(TAP_TAIL_EVENTS) | B(TAP_CAT) | B(TAP_EXPORT) | B(TAP_REPLAY))
#define DEAD_PICK (B(TAP_DLQ_LS) | B(TAP_DLQ_RETRY) | B(TAP_DLQ_DROP) | B(TAP_DLQ_EXPORT))
#define SHOWING (B(TAP_TAIL_EVENTS) | B(TAP_CAT) | B(TAP_GET) | B(TAP_DLQ_LS) | B(TAP_DLQ_SHOW))
#define BENCH (B(TAP_BENCH_PUB) | B(TAP_BENCH_CONSUME) | B(TAP_BENCH_E2E))
#define ASKING                                                                                     \
    (B(TAP_GROUP_DELETE) | B(TAP_DLQ_RETRY) | B(TAP_DLQ_DROP) | B(TAP_REPLAY) | B(TAP_SEEK) |      \
     B(TAP_BENCH_PUB) | B(TAP_BENCH_E2E))
#define CHANGING                                                                                   \
    (ASKING | B(TAP_PUB) | B(TAP_IMPORT) | B(TAP_GROUP_SET) | B(TAP_PAUSE) | B(TAP_RESUME))

const char *const families[N_FAMILIES] = { "Look at events", "See the state", "Groups",
                                           "Dead letters",   "Act",           "Trust" };

// clang-format off
const struct command commands[TAP_N_COMMANDS] = {
    [TAP_LS] = { "ls", "", "topics with their counts", NULL, FAMILY_LOOK, RISK_NONE, 0, 0, look_ls },
    [TAP_INFO] = { "info", "", "state of the queue: sizes, limits, producers, readers, damage", NULL,
                   FAMILY_LOOK, RISK_NONE, 0, 0, look_info },
    [TAP_TAIL_EVENTS] = { "tail", "[FILTER...]", "the last events, and with -f those that come", NULL,
                          FAMILY_LOOK, RISK_NONE, 0, 16, read_tail },
    [TAP_CAT] = { "cat", "[FILTER...]", "events of a range; ends by itself", NULL,
                  FAMILY_LOOK, RISK_NONE, 0, 16, read_cat },
    [TAP_GET] = { "get", "SEQ", "one event", NULL, FAMILY_LOOK, RISK_NONE, 1, 1, read_get },
    [TAP_LAG] = { "lag", "[GROUP]", "how far behind each group is", "With -w it is shown again and again.",
                  FAMILY_STATE, RISK_NONE, 0, 1, lag_show },
    [TAP_PENDING] = { "pending", "GROUP", "events that a group has not settled, and who has them", NULL,
                      FAMILY_STATE, RISK_NONE, 1, 1, lag_pending },
    [TAP_TOP] = { "top", "", "topics, groups and members on the whole screen; q quits", NULL,
                  FAMILY_STATE, RISK_NONE, 0, 0, top_run },
    [TAP_OPS] = { "ops", "[GROUP]", "who publishes, gets and settles what, as it happens",
                  "Without -f it ends after --interval (default 1s), or with -n after so many.",
                  FAMILY_STATE, RISK_NONE, 0, 1, ops_run },
    [TAP_TRACE] = { "trace", "ID", "what became of an event, a trace or an entity, group by group",
                    "ID is an event's sequence or id, a trace id or traceparent, a key or a subject. Of a trace, its "
                    "spans in the processes of $SLUICE_HOME are drawn first.",
                    FAMILY_STATE, RISK_NONE, 1, 1, trace_run },
    [TAP_GROUP_LS] = { "group ls", "[GROUP]", "groups with all their settings", NULL,
                       FAMILY_GROUPS, RISK_NONE, 0, 1, group_ls },
    [TAP_GROUP_SET] = { "group set", "GROUP", "makes a group, or changes what is given",
                        "The same call again changes nothing.",
                        FAMILY_GROUPS, RISK_ADDS, 1, 1, group_set },
    [TAP_GROUP_DELETE] = { "group delete", "GROUP", "deletes a group with its cursor",
                           "Its dead letters stay in the log, but in no list.",
                           FAMILY_GROUPS, RISK_ASKS, 1, 1, group_delete },
    [TAP_DLQ_LS] = { "dlq ls", "GROUP", "a group's dead letters: why, how often, what", NULL,
                     FAMILY_DEAD, RISK_NONE, 1, 1, dead_ls },
    [TAP_DLQ_SHOW] = { "dlq show", "GROUP SEQ", "one dead letter with its event", NULL,
                       FAMILY_DEAD, RISK_NONE, 2, 2, dead_show },
    [TAP_DLQ_RETRY] = { "dlq retry", "GROUP [SEQ...]", "brings dead letters back to the group",
                        "With --to a copy of the event is published there, and the dead letter dropped. "
                        "SEQ, --where or --all says which ones.",
                        FAMILY_DEAD, RISK_ASKS, 1, 1000, dead_retry },
    [TAP_DLQ_DROP] = { "dlq drop", "GROUP [SEQ...]", "takes dead letters off the list",
                       "SEQ, --where or --all says which ones. The log keeps the copies until retention removes them.",
                       FAMILY_DEAD, RISK_ASKS, 1, 1000, dead_drop },
    [TAP_DLQ_EXPORT] = { "dlq export", "GROUP [FILE]", "dead letters as NDJSON, in the form that import reads", NULL,
                         FAMILY_DEAD, RISK_NONE, 1, 2, dead_export },
    [TAP_PUB] = { "pub", "TOPIC [DATA|-]", "publishes an event; DATA is JSON", NULL,
                  FAMILY_ACT, RISK_ADDS, 1, 2, publish_run },
    [TAP_IMPORT] = { "import", "[FILE|-]", "publishes events from NDJSON, as export wrote it",
                     "All lines are checked before the first is stored. The same content again stores nothing "
                     "twice: the producer's name is made of it, unless --producer gives one.",
                     FAMILY_ACT, RISK_ADDS, 0, 1, import_run },
    [TAP_EXPORT] = { "export", "[FILE]", "events as NDJSON to a file or standard output",
                     "A file appears under its name when it is complete.",
                     FAMILY_ACT, RISK_NONE, 0, 1, export_run },
    [TAP_REPLAY] = { "replay", "", "delivers a range again to a group, or publishes copies to a topic",
                     "--to names the group if there is one of that name, else the topic.",
                     FAMILY_ACT, RISK_ASKS, 0, 0, replay_run },
    [TAP_SEEK] = { "seek", "GROUP", "moves a group's cursor", "--to says where: SEQ, @TIME, start or end.",
                   FAMILY_ACT, RISK_ASKS, 1, 1, group_seek },
    [TAP_PAUSE] = { "pause", "GROUP", "stops deliveries to a group", NULL,
                    FAMILY_ACT, RISK_ADDS, 1, 1, group_pause },
    [TAP_RESUME] = { "resume", "GROUP", "lets deliveries go on", NULL,
                     FAMILY_ACT, RISK_ADDS, 1, 1, group_resume },
    [TAP_VERIFY] = { "verify", "[DIR]", "checks the log: of the running queue, or of a directory",
                     "With --deep the queue reads all of its log again. A directory is always read whole, and with "
                     "--archive that of its archived segments too, without changing or locking anything.",
                     FAMILY_TRUST, RISK_NONE, 0, 1, verify_run },
    [TAP_BENCH_PUB] = { "bench pub", "", "publishes -n events and tells how fast they were on disk", NULL,
                        FAMILY_TRUST, RISK_ASKS, 0, 0, bench_publish },
    [TAP_BENCH_CONSUME] = { "bench consume", "", "reads -n events and tells how fast they came", NULL,
                            FAMILY_TRUST, RISK_NONE, 0, 0, bench_consume },
    [TAP_BENCH_E2E] = { "bench e2e", "", "publishes and reads, and tells how long events took", NULL,
                        FAMILY_TRUST, RISK_ASKS, 0, 0, bench_e2e },
};

const struct option_line option_lines[] = {
    { "topic", OPT_TOPIC, "FILTER", "only these topics; * is one token, a last > the rest; may be repeated. For bench: the topic",
      NULL, "subject", READING | B(TAP_LS) | B(TAP_GROUP_SET) | BENCH },
    { "key", 'k', "KEY", "only this key; for pub: the event's key", NULL, NULL, READING | B(TAP_PUB) },
    { "where", OPT_WHERE, "EXPRESSION", "only events that this takes: '.data.total.amount > 1000 and .topic starts \"orders.\"'",
      NULL, NULL, READING | DEAD_PICK },
    { "since", OPT_SINCE, "TIME", "from 10m, 2h, 2026-11-23T10:00Z ... on", NULL, NULL, READING | B(TAP_TRACE) },
    { "range", OPT_RANGE, "A:B", "5:10  -100:  :end  @-1h:  @2026-11-23T10:00Z:5m  (the end is not included)",
      NULL, NULL, B(TAP_CAT) | B(TAP_EXPORT) | B(TAP_REPLAY) },
    { "number", 'n', "N", "how many; tail: default 10, pending and trace: 1000, bench: 10000", NULL, NULL,
      B(TAP_TAIL_EVENTS) | B(TAP_CAT) | B(TAP_EXPORT) | B(TAP_PENDING) | B(TAP_OPS) | B(TAP_TRACE) | BENCH },
    { "follow", 'f', NULL, "goes on with what comes", NULL, NULL, B(TAP_TAIL_EVENTS) | B(TAP_OPS) },
    { "output", 'o', "FORMAT", "pretty (default), json, ndjson; of events also raw, hex, fields; of bench also csv",
      "pretty json ndjson raw hex fields csv", NULL, EVERY },
    { "format", OPT_FORMAT, "TEXT", "%s sequence, %t topic, %k key, %v data, %i id, %e subject, %o source, %p traceparent, %T time of storing",
      NULL, NULL, SHOWING },
    { "no-body", OPT_NO_BODY, NULL, "without the data", NULL, NULL, SHOWING | B(TAP_EXPORT) },
    { "max-body", OPT_MAX_BODY, "BYTES", "cuts longer data; json and ndjson leave it out and say how long it is", NULL, NULL, SHOWING },
    { "body-only", OPT_BODY_ONLY, NULL, "only the data, one line each", NULL, NULL, SHOWING },
    { "timestamps", 't', NULL, "each event begins with its time of storing", NULL, NULL, SHOWING },
    { "delta", 'd', NULL, "each event begins with the time since the one before", NULL, NULL, SHOWING },
    { "watch", 'w', NULL, "shows it again each --interval, in place", NULL, NULL, B(TAP_LAG) },
    { "interval", OPT_INTERVAL, "TIME", "between two looks, default 1s", NULL, NULL, B(TAP_LAG) | B(TAP_TOP) | B(TAP_OPS) },
    { "limit", OPT_LIMIT, "N", "changes at most so many", NULL, NULL, CHANGING | DEAD_PICK },
    { "all", OPT_ALL, NULL, "all dead letters of the group", NULL, NULL, B(TAP_DLQ_RETRY) | B(TAP_DLQ_DROP) },
    { "rate", OPT_RATE, "N/s", "at most so many events a second", NULL, NULL,
      B(TAP_DLQ_RETRY) | B(TAP_REPLAY) | B(TAP_IMPORT) | B(TAP_BENCH_PUB) | B(TAP_BENCH_E2E) },
    { "original-speed", OPT_ORIGINAL_SPEED, NULL, "with the pauses that there were", NULL, NULL, B(TAP_REPLAY) },
    { "to", OPT_TO, "WHERE", "seek: SEQ, @TIME, start or end; replay: a group or topic; dlq retry: a topic",
      "start end", NULL, B(TAP_SEEK) | B(TAP_REPLAY) | B(TAP_DLQ_RETRY) },
    { "dry-run", OPT_DRY_RUN, NULL, "says what would be changed, and changes nothing", NULL, NULL, CHANGING },
    { "yes", 'y', NULL, "does not ask", NULL, NULL, CHANGING },
    { "lines", 'l', NULL, "each line of standard input is one event", NULL, NULL, B(TAP_PUB) },
    { "producer", OPT_PRODUCER, "NAME", "its events are numbered by line: what this producer has stored is left out",
      NULL, NULL, B(TAP_IMPORT) },
    { "from", OPT_FROM, "WHERE", "where a new group begins: start, end (default), SEQ or @TIME", "start end", NULL, B(TAP_GROUP_SET) },
    { "order", OPT_ORDER, "ORDER", "key (default), none or all", "key none all", NULL, B(TAP_GROUP_SET) },
    { "ack-wait", OPT_ACK_WAIT, "TIME", "until a delivery that is not settled counts as failed, default 30s", NULL, NULL, B(TAP_GROUP_SET) },
    { "max-deliveries", OPT_MAX_DELIVERIES, "N", "failures until an event is a dead letter, default 10", NULL, NULL, B(TAP_GROUP_SET) },
    { "backoff", OPT_BACKOFF, "TIME", "pause after the first failure, then twice as long each time, default 1s", NULL, NULL, B(TAP_GROUP_SET) },
    { "backoff-max", OPT_BACKOFF_MAX, "TIME", "longest such pause, default 60s", NULL, NULL, B(TAP_GROUP_SET) },
    { "max-pending", OPT_MAX_PENDING, "N", "events looked at and not settled, default 16384", NULL, NULL, B(TAP_GROUP_SET) },
    { "deep", OPT_DEEP, NULL, "reads all of the log again", NULL, NULL, B(TAP_VERIFY) },
    { "archive", OPT_ARCHIVE, "ARCHIVE", "with DIR: where its archived segments are ($SLUICE_QUEUE_ARCHIVE of its queue)",
      NULL, NULL, B(TAP_VERIFY) },
    { "size", OPT_SIZE, "BYTES", "of the data of each event, default 256", NULL, NULL, B(TAP_BENCH_PUB) | B(TAP_BENCH_E2E) },
    { "batch", OPT_BATCH, "N", "events in one frame, default 1", NULL, NULL, B(TAP_BENCH_PUB) },
    { "in-flight", OPT_IN_FLIGHT, "N", "frames on their way, 1 to 64, default 32", NULL, NULL, B(TAP_BENCH_PUB) },
    { "queue", OPT_QUEUE, "ENDPOINT", "where the queue is; default $SLUICE_QUEUE, else ipc://$SLUICE_HOME/run/queue.sock",
      NULL, NULL, EVERY },
    { "timeout", OPT_TIMEOUT, "TIME", "how long to wait for the queue, default 3s", NULL, NULL, EVERY },
    { "no-color", OPT_NO_COLOR, NULL, "no colours, also without a terminal or with NO_COLOR", NULL, NULL, EVERY },
    { "man", OPT_MAN, NULL, "the manual page, for man -l", NULL, NULL, 0 },
    { "completion", OPT_COMPLETION, "SHELL", "the completion for bash or zsh, to be sourced", "bash zsh", NULL, 0 },
    { "help", 'h', NULL, "this text, or that of the command", NULL, NULL, EVERY },
    { "version", 'V', NULL, "the version", NULL, NULL, EVERY },
};
const size_t n_option_lines = sizeof option_lines / sizeof *option_lines;

const struct command_alias command_aliases[] = {
    { "sub", TAP_TAIL_EVENTS, true },
    { "consume", TAP_CAT, false },
    { "requeue", TAP_DLQ_RETRY, false },
};
const size_t n_command_aliases = sizeof command_aliases / sizeof *command_aliases;
// clang-format on
