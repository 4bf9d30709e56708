// SPDX-License-Identifier: MIT
#include "services/tap/confirm.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define QUESTION_BYTES 256

static bool says_yes(void)
{
    char answer[16];
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

int confirm(struct tap *t, const char *format, ...)
{
    const struct options *o = &t->options;
    const struct command *c = &commands[o->command];
    char question[QUESTION_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(question, sizeof question, format, args); // cut off if it is longer
    va_end(args);
    if (o->dry_run) {
        (void)fprintf(stderr, "%s Nothing is changed: --dry-run.\n", question);
        return TAP_OK;
    }
    if (o->yes) {
        return -1;
    }
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        return c->risk == RISK_ASKS
                   ? tap_fail(t, TAP_USAGE, "%s There is no terminal to ask on: --yes says it.",
                              question)
                   : -1;
    }
    (void)fprintf(stderr, "%s [y/N] ", question);
    if (!says_yes()) {
        (void)fprintf(stderr, "Nothing was changed.\n");
        return TAP_NOTHING;
    }
    return -1;
}
