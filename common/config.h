// SPDX-License-Identifier: MIT
// Configuration from the environment, by one table per program: each option's name, type, default,
// limits and help stand in one line, and --help, validation and the struct that the program reads
// all come from it. A secret NAME may also be given as NAME_FILE, a path whose content (without a
// last newline) is the value. A variable that is set to nothing counts as not set, as compose files
// do it with ${NAME:-}. A boolean may have a word of the command line that stands for true.
// Variables that are not in the table are not looked at: processes share their environment.
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct buf;

enum config_kind {
    CONFIG_STRING,   // char *; min..max bytes, no control characters
    CONFIG_INTEGER,  // int64_t
    CONFIG_BOOLEAN,  // int64_t 0 or 1; true/false/1/0/yes/no/on/off
    CONFIG_DURATION, // int64_t ms; "250ms", "10s", "5m", "24h", "7d"; no bare number
    CONFIG_BYTES,    // int64_t; "512", "64KiB", "1MiB", "2GiB"
    CONFIG_CHOICE,   // char *; one of choices, separated by '|'
    CONFIG_SECRET    // char *; NAME or NAME_FILE; never shown, errors included
};

// What the value is the name of, when the process needs a right to use it (common/confine.h).
enum config_names {
    CONFIG_NAMES_NOTHING,
    CONFIG_NAMES_LISTENER, // endpoints, comma-separated, that are bound
    CONFIG_NAMES_PEER,     // endpoints, comma-separated, that are connected to
    CONFIG_NAMES_FILE,     // that is read, with what else its directory has
    CONFIG_NAMES_DIRECTORY // that is written
};

struct config_option {
    const char *name; // "SLUICE_LOG_LEVEL"
    enum config_kind kind;
    size_t offset;        // of the char * or int64_t in the config struct
    const char *fallback; // parsed like a given value; NULL: the string stays NULL, the number 0
    int64_t min, max;     // of the number, or of the string's length in bytes; 0, 0: no limit
    const char *choices;  // for CONFIG_CHOICE
    const char *help;     // one line
    const char *flag; // "--word", for CONFIG_BOOLEAN: on the command line it means true; or NULL
    enum config_names names; // of a CONFIG_STRING
};

// Ends a table. A program's table usually begins with CONFIG_COMMON (common/process.h).
// clang-format off
#define CONFIG_END { .name = NULL }
// clang-format on

#define CONFIG_ERROR_SIZE 512
#define CONFIG_FILE_BYTES 65536 // of a NAME_FILE: far above any key or password

// Fills config (cleared by the caller) from the environment. Returns 0; or, with one line in error
// that names the variable, -EINVAL with its value (not a secret's) and what is allowed; or -ENOMEM,
// -EMFILE, -ENFILE or -EIO, which may pass. Strings are owned by config until config_free().
__attribute__((warn_unused_result)) int config_load(const struct config_option *table, void *config,
                                                    char error[CONFIG_ERROR_SIZE]);

// Takes the secrets of the table out of the environment, once they were loaded, and overwrites them
// where they stood: /proc/PID/environ does not show them, and no child inherits them.
void config_forget_secrets(const struct config_option *table);

// Frees the strings that config_load() made; config may be half filled.
void config_free(const struct config_option *table, void *config);

struct buf;

// Appends which values an option takes, and its default: "an integer from 1 to 9; default: 5".
void config_describe(const struct config_option *option, struct buf *text);

// Prints every option with type, default, limits and help, as the end of a --help text.
void config_help(const struct config_option *table, FILE *out);

// Appends every option as a JSON array, an object a line: {"name","value","source"}. value is what
// config has, as one would write it, or null when there is none; a secret has "secret":true
// instead, and "set". source is "environment", "file" (of a secret) or "default". Call it before
// config_forget_secrets().
void config_print(const struct config_option *table, const void *config, struct buf *out);

// Parses one value of the kind CONFIG_INTEGER, _BOOLEAN, _DURATION or _BYTES; the same rules as
// config_load(). For command lines. Returns 0, -EINVAL, or -ERANGE when it does not fit.
__attribute__((warn_unused_result)) int config_parse_number(enum config_kind kind, const char *text,
                                                            int64_t *ret_value);

#endif
