// SPDX-License-Identifier: MIT
// Completion scripts. Both are one function that looks at the words so far; the tables are written
// into it as the lists that it chooses from.
#include "services/tap/manual.h"

#include <errno.h>
#include <string.h>

// The first words of commands, each once.
static void print_first_words(FILE *out)
{
    const char *before = "";
    size_t before_n = 0;
    for (size_t i = 0; i < TAP_N_COMMANDS; i++) {
        size_t n = strcspn(commands[i].name, " ");
        if (n != before_n || memcmp(commands[i].name, before, n) != 0) {
            (void)fprintf(out, "%.*s ", (int)n, commands[i].name);
        }
        before = commands[i].name;
        before_n = n;
    }
    for (size_t i = 0; i < n_command_aliases; i++) {
        (void)fprintf(out, "%s ", command_aliases[i].name);
    }
    (void)fputs("help", out);
}

static void print_second_words(const char *first, size_t n, FILE *out)
{
    for (size_t i = 0; i < TAP_N_COMMANDS; i++) {
        const char *name = commands[i].name;
        if (strncmp(name, first, n) == 0 && name[n] == ' ') {
            (void)fprintf(out, "%s ", name + n + 1);
        }
    }
}

static void print_options(size_t command, FILE *out)
{
    for (size_t i = 0; i < n_option_lines; i++) {
        if (option_lines[i].commands & UINT64_C(1) << command) {
            (void)fprintf(out, "--%s ", option_lines[i].name);
        }
    }
}

// Both shells understand these cases, of the variables that the functions below set.
static void print_cases(FILE *out)
{
    const char *before = "";
    (void)fputs("    case $before in\n", out);
    for (size_t i = 0; i < n_option_lines; i++) {
        if (option_lines[i].words) {
            (void)fprintf(out, "        --%s", option_lines[i].name);
            if (option_lines[i].id < 256) {
                (void)fprintf(out, "|-%c", option_lines[i].id);
            }
            (void)fprintf(out, ") found=\"%s\"; return;;\n", option_lines[i].words);
        }
    }
    (void)fputs("    esac\n    case $command in\n", out);
    for (size_t i = 0; i < TAP_N_COMMANDS; i++) {
        size_t n = strcspn(commands[i].name, " ");
        if (commands[i].name[n] && strncmp(before, commands[i].name, n) != 0) {
            (void)fprintf(out, "        '%.*s ') found=\"", (int)n, commands[i].name);
            print_second_words(commands[i].name, n, out);
            (void)fputs("\";;\n", out);
        }
        before = commands[i].name;
        (void)fprintf(out, "        '%s '*) found=\"", commands[i].name);
        print_options(i, out);
        (void)fputs("\";;\n", out);
    }
    for (size_t i = 0; i < n_command_aliases; i++) {
        (void)fprintf(out, "        '%s '*) found=\"", command_aliases[i].name);
        print_options(command_aliases[i].command, out);
        (void)fputs("\";;\n", out);
    }
    (void)fputs("        ''|'help '*) found=\"", out);
    print_first_words(out);
    (void)fputs(" --help --version --man --completion\";;\n    esac\n", out);
}

static const char bash_head[] =
    "# bash completion of sluice-tap, made by sluice-tap --completion bash\n"
    "_sluice_tap_words() { # command, before\n"
    "    local command=$1 before=$2\n"
    "    found=\n";
static const char bash_tail[] =
    "}\n"
    "_sluice_tap() {\n"
    "    local found at=${COMP_WORDS[COMP_CWORD]} i command=\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        [[ ${COMP_WORDS[i]} == -* ]] || command+=\"${COMP_WORDS[i]} \"\n"
    "    done\n"
    "    _sluice_tap_words \"$command\" \"${COMP_WORDS[COMP_CWORD - 1]}\"\n"
    "    COMPREPLY=($(compgen -W \"$found\" -- \"$at\"))\n"
    "}\n"
    "complete -o default -F _sluice_tap sluice-tap\n";
static const char zsh_head[] =
    "#compdef sluice-tap\n"
    "# zsh completion of sluice-tap, made by sluice-tap --completion zsh\n"
    "_sluice_tap_words() { # command, before\n"
    "    local command=$1 before=$2\n"
    "    found=\n";
static const char zsh_tail[] =
    "}\n"
    "_sluice_tap() {\n"
    "    local found command= word\n"
    "    for word in ${words[2,CURRENT-1]}; do\n"
    "        [[ $word == -* ]] || command+=\"$word \"\n"
    "    done\n"
    "    _sluice_tap_words \"$command\" \"${words[CURRENT-1]}\"\n"
    "    if [[ -n $found ]]; then compadd -- ${=found}; else _files; fi\n"
    "}\n"
    "if [[ ${funcstack[1]} == _sluice_tap ]]; then _sluice_tap \"$@\"; "
    "else compdef _sluice_tap sluice-tap; fi\n";

int completion_print(const char *shell, FILE *out)
{
    bool bash = strcmp(shell, "bash") == 0;
    if (!bash && strcmp(shell, "zsh") != 0) {
        return -EINVAL;
    }
    (void)fputs(bash ? bash_head : zsh_head, out);
    print_cases(out);
    (void)fputs(bash ? bash_tail : zsh_tail, out);
    return 0;
}
