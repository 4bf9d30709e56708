// SPDX-License-Identifier: MIT
#include "deploy/command_line.h"

#include "common/process.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct option command_line_options[] = {
    { "home", required_argument, NULL, 'd' },
    { "port", required_argument, NULL, 'p' },
    { "env", required_argument, NULL, 'e' },
    { "env-file", required_argument, NULL, 'f' },
    { "output", required_argument, NULL, 'o' },
    { "detach", no_argument, NULL, 'b' },
    { "json", no_argument, NULL, 'j' },
    { "with-secrets", no_argument, NULL, 's' },
    { "force", no_argument, NULL, 'F' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

int command_line_error(const struct command *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("sluice: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "; see sluice %s%s--help\n", c ? c->name : "", c ? " " : "");
    return EXIT_USAGE;
}

static const char *option_name(int letter)
{
    const struct option *o = command_line_options;
    while (o->name && o->val != letter) {
        o++;
    }
    return o->name;
}

int command_line_parse(const struct command *c, int argc, char **argv, struct arguments *a)
{
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":ho:", command_line_options, NULL)) != -1) {
        if (option == 'h') {
            return 1;
        }
        if (option == ':') {
            return command_line_error(c, "%s needs a value", argv[optind - 1]), -EINVAL;
        }
        if (option == '?') {
            return command_line_error(c, "%s: no such option", argv[optind - 1]), -EINVAL;
        }
        if (!strchr(c->options, option)) {
            return command_line_error(c, "%s has no option --%s", c->name, option_name(option)),
                   -EINVAL;
        }
        switch (option) {
        case 'd':
            a->home = optarg;
            break;
        case 'p':
            a->port = optarg;
            break;
        case 'e':
            a->env = optarg;
            break;
        case 'f':
            a->env_file = optarg;
            break;
        case 'o':
            a->output = optarg;
            break;
        case 'b':
            a->detach = true;
            break;
        case 'j':
            a->json = true;
            break;
        case 's':
            a->secrets = true;
            break;
        case 'F':
            a->force = true;
            break;
        }
    }
    a->words = argv + optind;
    a->n_words = argc - optind;
    if (a->n_words > c->max_words) {
        return command_line_error(c, "%s: not expected here", a->words[c->max_words]), -EINVAL;
    }
    return 0;
}
