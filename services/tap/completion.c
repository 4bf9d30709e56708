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

static void print_option_names(const struct option_line *o, FILE *out)
{
    (void)fprintf(out, "--%s", o->name);
    if (o->id < 256) {
        (void)fprintf(out, "|-%c", o->id);
    }
}

// Which options have a value behind them: it is no word of the command.
static void print_takers(FILE *out)
{
    const char *bar = "";
    (void)fputs("_sluice_tap_has_value() { # option\n    case $1 in\n        ", out);
    for (size_t i = 0; i < n_option_lines; i++) {
        if (option_lines[i].value) {
            (void)fputs(bar, out);
            print_option_names(&option_lines[i], out);
            bar = "|";
        }
    }
    (void)fputs(") return 0;;\n    esac\n    return 1\n}\n", out);
}

static void print_values(FILE *out)
{
    (void)fputs("    case $before in\n", out);
    for (size_t i = 0; i < n_option_lines; i++) {
        if (option_lines[i].words) {
            (void)fputs("        ", out);
            print_option_names(&option_lines[i], out);
            (void)fprintf(out, ") found=\"%s\";;\n", option_lines[i].words);
        }
    }
    (void)fputs("    esac\n    if _sluice_tap_has_value \"$before\"; then return; fi\n", out);
}

static void print_commands(FILE *out)
{
    const char *before = "";
    (void)fputs("    case $command in\n", out);
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
    (void)fputs("        '') found=\"", out);
    print_first_words(out);
    (void)fputs(" --help --version --man --completion\";;\n    esac\n", out);
}

// What both shells understand: a function that sets the variable found to the words that may stand
// after these; to none where a file or a free text may.
static void print_words(FILE *out)
{
    print_takers(out);
    (void)fputs("_sluice_tap_words() { # command, before\n"
                "    local command=${1#help } before=$2\n"
                "    found=\n",
                out);
    print_values(out);
    print_commands(out);
    (void)fputs("}\n", out);
}

static const char bash_head[] =
    "# bash completion of sluice-tap, made by sluice-tap --completion bash\n";
// bash makes three words of a:b and of a=b.
static const char bash_tail[] =
    "_sluice_tap() {\n"
    "    local found at=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    local i word command= skip=\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ $word == [:=]* ]]; then skip=1\n"
    "        elif [[ $skip ]]; then skip=\n"
    "        elif _sluice_tap_has_value \"$word\"; then skip=1\n"
    "        elif [[ $word != -* ]]; then command+=\"$word \"\n"
    "        fi\n"
    "    done\n"
    "    if [[ $at == = ]]; then at=\n"
    "    elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n"
    "    _sluice_tap_words \"$command\" \"$before\"\n"
    "    COMPREPLY=($(compgen -W \"$found\" -- \"$at\"))\n"
    "}\n"
    "complete -o default -F _sluice_tap sluice-tap\n";
static const char zsh_head[] =
    "#compdef sluice-tap\n"
    "# zsh completion of sluice-tap, made by sluice-tap --completion zsh\n";
// Sourced, it says what it is for; found in fpath as _sluice-tap, it is called at the first Tab.
static const char zsh_tail[] = "_sluice_tap() {\n"
                               "    local found before=${words[CURRENT-1]} command= skip= word\n"
                               "    for word in ${words[2,CURRENT-1]}; do\n"
                               "        if [[ -n $skip ]]; then skip=\n"
                               "        elif _sluice_tap_has_value \"$word\"; then skip=1\n"
                               "        elif [[ $word != -* ]]; then command+=\"$word \"\n"
                               "        fi\n"
                               "    done\n"
                               "    if [[ ${words[CURRENT]} == --*=* ]]; then\n"
                               "        before=${words[CURRENT]%%=*}\n"
                               "        compset -P '*='\n"
                               "    fi\n"
                               "    _sluice_tap_words \"$command\" \"$before\"\n"
                               "    compadd -- ${=found} || _files\n"
                               "}\n"
                               "if [[ ${funcstack[1]} == _sluice-tap ]]; then _sluice_tap \"$@\"; "
                               "else compdef _sluice_tap sluice-tap; fi\n";

int completion_print(const char *shell, FILE *out)
{
    bool bash = strcmp(shell, "bash") == 0;
    if (!bash && strcmp(shell, "zsh") != 0) {
        return -EINVAL;
    }
    (void)fputs(bash ? bash_head : zsh_head, out);
    print_words(out);
    (void)fputs(bash ? bash_tail : zsh_tail, out);
    return 0;
}
