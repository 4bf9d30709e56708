// SPDX-License-Identifier: MIT
#include "deploy/usage.h"

#include "common/process.h"
#include "common/roff.h"
#include "common/shell_completion.h"
#include "deploy/commands.h"
#include "deploy/services.h"

#include <stdio.h>
#include <string.h>

// --- Help and manual

void usage_help(void)
{
    puts("Runs a Sluice suite on this machine: the queue, the workers and the gateway, as one.\n\n"
         "  sluice up --detach             start in the background\n"
         "  sluice status                  see how it is\n"
         "  sluice scale users=3 orders=2  more processes, while it runs\n"
         "  sluice down                    stop it\n\n"
         "Commands:");
    for (size_t i = 0; i < commands_n; i++) {
        printf("  %-12s %s\n", commands[i].name, commands[i].summary);
    }
    puts("\n`sluice COMMAND --help` has its options; `sluice up --help` also the environment "
         "variables.");
}

void usage_command_help(const struct command *c)
{
    printf("sluice %s %s\n\n%s\n\n%s", c->name, c->synopsis, c->summary, c->help);
    if (c->takes_settings) {
        puts("\nThe programs get the environment, too: `sluice-gateway --help` and so on list "
             "theirs.\n");
        config_help(services_options, stdout);
    }
}

static void manual_command(const struct command *c)
{
    printf(".SS ");
    roff_text(c->name, stdout);
    fputs("\n.B sluice ", stdout);
    roff_text(c->name, stdout);
    fputs("\n", stdout);
    roff_text(c->synopsis, stdout);
    fputs("\n.PP\n", stdout);
    roff_text(c->summary, stdout);
    fputs(".\n.PP\n.nf\n", stdout); // as --help has it
    roff_text(c->help, stdout);
    fputs(".fi\n", stdout);
}

void usage_manual(void)
{
    roff_begin("sluice", "runs a Sluice suite on this machine", stdout);
    puts(".SH SYNOPSIS\n.B sluice\n\\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIWORD\\fR]...\n.SH "
         "DESCRIPTION\n"
         "Starts the queue, the workers and the gateway of one home, keeps them running, scales, "
         "restarts, backs up "
         "and stops them, and makes the keys of deployments.\nWhere systemd or containers run the "
         "processes, "
         "only\n.BR init ,\n.BR keys ,\n.B backup\nand\n.B restore\nare of use.\n.SH COMMANDS");
    for (size_t i = 0; i < commands_n; i++) {
        manual_command(&commands[i]);
    }
    puts(".SH OPTIONS");
    roff_entry("--help", "The commands in short; after a command, what that takes.", stdout);
    roff_entry("--version", "The version.", stdout);
    roff_entry("--man", "This page, for man -l.", stdout);
    roff_entry("--completion SHELL", "The completion for bash or zsh, to be sourced.", stdout);
    roff_environment(services_options, stdout);
    puts(".PP\nThe processes get the environment, too: their pages have what they take from "
         "it.\n.SH FILES");
    roff_entry("$SLUICE_HOME", "Where run/, db/, queue/ and secrets/ are.", stdout);
    roff_entry("/usr/share/sluice/env", "The environments of --env.", stdout);
    puts(".SH EXIT STATUS");
    roff_entry("0", "It is done.", stdout);
    roff_entry("1", "It failed, runs already, or (status) not everything is ready.", stdout);
    roff_entry("3", "Nothing is running.", stdout);
    roff_entry("64", "The command line is wrong.", stdout);
    roff_entry("78", "The configuration is wrong, or home or port cannot be used.", stdout);
    roff_see_also("sluice", stdout);
}

// --- Completion

static const char words_of_values[] =
    "    case $2 in\n"
    "        --env) found=\"development staging production\"; return;;\n"
    "        --output|-o) found=\"table json\"; return;;\n"
    "        --home|--env-file|--port) return;;\n"
    "    esac\n";
static void print_command_words(const struct command *c)
{
    printf("        %s) found=\"", c->name);
    fputs(c->completes ? c->completes : "", stdout);
    for (int s = 0; c->takes_services && s < SERVICES; s++) {
        printf("%s ", services[s].name);
    }
    for (const struct option *o = command_line_options; o->name; o++) {
        if (strchr(c->options, o->val)) {
            printf("--%s ", o->name);
        }
    }
    puts("--help\";;");
}

int usage_completion(const char *shell)
{
    if (!shell_completion_begin("sluice", shell)) {
        return command_line_error(NULL, "--completion: name bash or zsh");
    }
    printf("%s    case $1 in\n        '') found=\"", words_of_values);
    for (size_t i = 0; i < commands_n; i++) {
        printf("%s ", commands[i].name);
    }
    puts("--help --version --man --completion\";;\n        --completion) found=\"bash zsh\";;");
    for (size_t i = 0; i < commands_n; i++) {
        print_command_words(&commands[i]);
    }
    puts("    esac");
    shell_completion_end("sluice", shell, true);
    return EXIT_OK;
}
