// SPDX-License-Identifier: MIT
#include "services/tap/manual.h"

#include "common/roff.h"

#include <string.h>

#define LEFT_BYTES 48

static const char exit_status[] = "Exit status: 0 done, 1 nothing matched, 2 wrong usage, 3 the "
                                  "queue does not answer or a log cannot be read, "
                                  "4 part of the log is lost.\n";

static const struct {
    const char *line, *what;
} examples[] = {
    { "sluice-tap tail -f 'orders.>'", "what happens to orders, as it happens" },
    { "sluice-tap cat --range @-1h: --where '.data.total.amount > 1000' -o ndjson",
      "large ones of the last hour" },
    { "sluice-tap lag -w", "who is behind" },
    { "sluice-tap dlq retry billing --all --rate 100/s", "after the mend" },
    { "sluice-tap trace 01a20aaa-033e-7412-bd0b-43964cbf397e", "where is this order" },
};
#define N_EXAMPLES (sizeof examples / sizeof *examples)

static void left_of(const struct option_line *o, char left[LEFT_BYTES])
{
    bool letter = o->id < 256;
    (void)snprintf(left, LEFT_BYTES, "%c%c%c --%s%s%s", letter ? '-' : ' ', letter ? o->id : ' ',
                   letter ? ',' : ' ', o->name, o->value ? " " : "", o->value ? o->value : "");
}

static void print_option(const struct option_line *o, FILE *out)
{
    char left[LEFT_BYTES];
    left_of(o, left);
    (void)fprintf(out, "  %-24s %s\n", left, o->help);
}

static const char *risk_text(const struct command *c)
{
    return c->risk == RISK_ASKS   ? "It asks first; without a terminal it wants --yes."
           : c->risk == RISK_ADDS ? "It asks on a terminal, unless --yes is given."
                                  : NULL;
}

void manual_command(const struct command *c, FILE *out)
{
    (void)fprintf(out, "sluice-tap %s: %s.\n", c->name, c->help);
    if (c->more) {
        (void)fprintf(out, "%s\n", c->more);
    }
    if (risk_text(c)) {
        (void)fprintf(out, "%s\n", risk_text(c));
    }
    (void)fprintf(out, "\nUsage: sluice-tap %s%s%s [OPTIONS]\n\nOptions:\n", c->name,
                  *c->arguments ? " " : "", c->arguments);
    for (size_t i = 0; i < n_option_lines; i++) {
        if (option_lines[i].commands & UINT64_C(1) << (c - commands)) {
            print_option(&option_lines[i], out);
        }
    }
    (void)fprintf(out, "\n%s", exit_status);
}

void manual_help(FILE *out)
{
    (void)fprintf(out, "sluice-tap looks into the event queue. Looking changes nothing there.\n\n"
                       "Usage: sluice-tap COMMAND [OPTIONS]\n"
                       "       sluice-tap help COMMAND\n\nExamples:\n");
    for (size_t i = 0; i < N_EXAMPLES; i++) {
        (void)fprintf(out, "  %s\n", examples[i].line);
    }
    for (size_t f = 0; f < N_FAMILIES; f++) {
        (void)fprintf(out, "\n%s:\n", families[f]);
        for (size_t i = 0; i < TAP_N_COMMANDS; i++) {
            char left[LEFT_BYTES];
            (void)snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].arguments);
            if (commands[i].family == f) {
                (void)fprintf(out, "  %-26s %s\n", left, commands[i].help);
            }
        }
    }
    (void)fprintf(out, "\nAliases:");
    for (size_t i = 0; i < n_command_aliases; i++) {
        (void)fprintf(out, "%s %s = %s%s", i ? "," : "", command_aliases[i].name,
                      commands[command_aliases[i].command].name,
                      command_aliases[i].follow ? " -f" : "");
    }
    (void)fprintf(out, "\n\nOptions:\n");
    for (size_t i = 0; i < n_option_lines; i++) {
        print_option(&option_lines[i], out);
    }
    (void)fprintf(out, "\n%s", exit_status);
}

static void roff_option(const struct option_line *o, FILE *out)
{
    (void)fputs(".TP\n\\fB", out);
    if (o->id < 256) {
        (void)fprintf(out, "\\-%c\\fR, \\fB", o->id);
    }
    (void)fputs("\\-\\-", out);
    roff_text(o->name, out);
    (void)fputs("\\fR", out);
    if (o->value) {
        (void)fputs(" \\fI", out);
        roff_text(o->value, out);
        (void)fputs("\\fR", out);
    }
    (void)fputc('\n', out);
    roff_text(o->help, out);
    if (o->alias) {
        (void)fprintf(out, "; also \\-\\-%s", o->alias);
    }
    (void)fputs(".\n", out);
}

static void roff_command(const struct command *c, FILE *out)
{
    (void)fprintf(out, ".TP\n\\fB%s\\fR \\fI", c->name);
    roff_text(c->arguments, out);
    (void)fputs("\\fR\n", out);
    roff_text(c->help, out);
    (void)fputs(".\n", out);
    if (c->more) {
        roff_text(c->more, out);
        (void)fputc('\n', out);
    }
    if (risk_text(c)) {
        roff_text(risk_text(c), out);
        (void)fputc('\n', out);
    }
    (void)fputs("Options:", out);
    for (size_t i = 0; i < n_option_lines; i++) {
        // those that every command takes are not told of again
        if (option_lines[i].commands & UINT64_C(1) << (c - commands) &&
            option_lines[i].commands != ~UINT64_C(0)) {
            (void)fputs(" \\fB\\-\\-", out);
            roff_text(option_lines[i].name, out);
            (void)fputs("\\fR", out);
        }
    }
    (void)fputs(" and those of all commands.\n", out);
}

void manual_page(FILE *out)
{
    roff_begin("sluice-tap", "looks into the event queue", out);
    (void)fputs(".SH SYNOPSIS\n"
                ".B sluice\\-tap\n.I COMMAND\n[\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n"
                "Shows what is in the event queue, who reads it and what failed, and acts on "
                "it.\nLooking acknowledges nothing, moves no cursor and leaves nothing behind "
                "in the queue.\n",
                out);
    for (size_t f = 0; f < N_FAMILIES; f++) {
        (void)fprintf(out, ".SS %s\n", families[f]);
        for (size_t i = 0; i < TAP_N_COMMANDS; i++) {
            if (commands[i].family == f) {
                roff_command(&commands[i], out);
            }
        }
    }
    (void)fputs(".SH OPTIONS\n", out);
    for (size_t i = 0; i < n_option_lines; i++) {
        roff_option(&option_lines[i], out);
    }
    (void)fputs(".SH EXIT STATUS\n", out);
    roff_text(exit_status, out);
    (void)fputs(".SH ENVIRONMENT\n.TP\n.B SLUICE_QUEUE\nWhere the queue is.\n.TP\n.B SLUICE_HOME\n"
                "The directory of the suite, by default ./var.\n.TP\n.B NO_COLOR\nNo colours.\n"
                ".SH EXAMPLES\n",
                out);
    for (size_t i = 0; i < N_EXAMPLES; i++) {
        roff_entry(examples[i].line, examples[i].what, out);
    }
    roff_see_also("sluice-tap", out);
}
