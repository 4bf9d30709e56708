// SPDX-License-Identifier: MIT
// The command `sluice`: finds the command that is meant and has it run.
#include "common/process.h"
#include "deploy/commands.h"
#include "deploy/usage.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct arguments a = { 0 };
    if (argc < 2) {
        return command_line_error(NULL, "name a command: %s", commands_names(" or "));
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        return usage_help(), EXIT_OK;
    }
    if (strcmp(argv[1], "--man") == 0) {
        return usage_manual(), EXIT_OK;
    }
    if (strcmp(argv[1], "--completion") == 0) {
        return usage_completion(argv[2]); // argv ends in NULL
    }
    if (strcmp(argv[1], "--version") == 0) {
        return puts("sluice " SLUICE_VERSION), EXIT_OK;
    }
    const struct command *command = commands_find(argv[1]);
    if (!command) {
        return command_line_error(NULL, "%s: no such command; there are %s", argv[1],
                                  commands_names(" and "));
    }
    int r = command_line_parse(command, argc - 1, argv + 1, &a);
    if (r > 0) {
        return usage_command_help(command), EXIT_OK;
    }
    return r < 0 ? EXIT_USAGE : command->run(command, &a);
}
