// SPDX-License-Identifier: MIT
#include "common/shell_completion.h"

#include <stdio.h>
#include <string.h>

static bool is_zsh(const char *shell)
{
    return strcmp(shell, "zsh") == 0;
}

bool shell_completion_begin(const char *program, const char *shell)
{
    if (!shell || (!is_zsh(shell) && strcmp(shell, "bash") != 0)) {
        return false;
    }
    printf("%s%s%s# Completion of %s for %s, made by %s --completion %s\n"
           "_%s_words() { # command, word before\n    found=\n",
           is_zsh(shell) ? "#compdef " : "", is_zsh(shell) ? program : "",
           is_zsh(shell) ? "\n" : "", program, shell, program, shell, program);
    return true;
}

static void print_bash(const char *program, bool files)
{
    printf("_%s() {\n"
           "    local found command=\n"
           "    if [ \"$COMP_CWORD\" -gt 1 ]; then command=${COMP_WORDS[1]}; fi\n"
           "    _%s_words \"$command\" \"${COMP_WORDS[COMP_CWORD - 1]}\"\n"
           "    COMPREPLY=($(compgen -W \"$found\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
           "}\n"
           "complete %s-F _%s %s\n",
           program, program, files ? "-o default " : "", program, program);
}

// Sourced, it says what it is for; found in fpath, it is called at the first Tab.
static void print_zsh(const char *program, bool files)
{
    printf("_%s() {\n"
           "    local found command=\n"
           "    if ((CURRENT > 2)); then command=${words[2]}; fi\n"
           "    _%s_words \"$command\" \"${words[CURRENT-1]}\"\n"
           "    compadd -- ${=found}%s\n"
           "}\n"
           "if [[ ${funcstack[1]} = _%s ]]; then _%s \"$@\"; else compdef _%s %s; fi\n",
           program, program, files ? " || _files" : "", program, program, program, program);
}

void shell_completion_end(const char *program, const char *shell, bool files)
{
    puts("}");
    if (is_zsh(shell)) {
        print_zsh(program, files);
    } else {
        print_bash(program, files);
    }
}
