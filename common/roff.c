// SPDX-License-Identifier: MIT
#include "common/roff.h"

#include "proto/buf.h"

#include <string.h>

// roff reads a - as a hyphen, a \ as an escape, and a . or ' at the start of a line as a request.
void roff_text(const char *text, FILE *out)
{
    for (const char *p = text; *p; p++) {
        bool first = p == text || p[-1] == '\n';
        const char *as = *p == '\\' ? "\\e" : *p == '-' ? "\\-" : *p == '\'' ? "\\(aq" : NULL;
        as = first && *p == '.' ? "\\&." : as;
        if (as) {
            (void)fputs(as, out);
        } else {
            (void)fputc(*p, out);
        }
    }
}

void roff_begin(const char *name, const char *summary, FILE *out)
{
    (void)fputs(".TH ", out);
    roff_text(name, out);
    (void)fprintf(out, " 1 \"\" \"sluice %s\" \"Sluice\"\n", SLUICE_VERSION);
    // Ragged. From groff 1.23 on the macros adjust anew at each heading, as the string AD says.
    (void)fputs(".ad l\n.ds AD l\n", out);
    (void)fputs(".SH NAME\n", out);
    roff_text(name, out);
    (void)fputs(" \\- ", out);
    const char *stop = strstr(summary, ". ");
    size_t n = stop ? (size_t)(stop - summary) : strlen(summary);
    struct buf sentence;
    buf_init(&sentence, CONFIG_ERROR_SIZE);
    buf_append(&sentence, summary, n > 0 && summary[n - 1] == '.' ? n - 1 : n);
    buf_append_char(&sentence, '\0');
    if (buf_ok(&sentence)) {
        roff_text(sentence.data, out);
    }
    buf_fini(&sentence);
    (void)fputc('\n', out);
}

void roff_entry(const char *heading, const char *text, FILE *out)
{
    (void)fputs(".TP\n.B ", out);
    roff_text(heading, out);
    (void)fputc('\n', out);
    roff_text(text, out);
    (void)fputc('\n', out);
}

static void option_entry(const struct config_option *o, FILE *out)
{
    struct buf values;
    buf_init(&values, CONFIG_ERROR_SIZE);
    config_describe(o, &values);
    buf_append_char(&values, '\0');
    (void)fprintf(out, ".TP\n.B %s", o->name);
    if (o->kind == CONFIG_SECRET) {
        (void)fprintf(out, "\\fR, or a file\\(aqs path in \\fB%s_FILE", o->name);
    }
    (void)fputc('\n', out);
    roff_text(o->help, out);
    (void)fputs(".\n.br\n", out);
    roff_text(buf_ok(&values) ? values.data : "", out);
    (void)fputs(".\n", out);
    buf_fini(&values);
}

void roff_environment(const struct config_option *table, FILE *out)
{
    (void)fputs(".SH ENVIRONMENT\n", out);
    for (const struct config_option *o = table; o->name; o++) {
        option_entry(o, out);
    }
}

void roff_see_also(const char *name, FILE *out)
{
    static const char *const programs[] = { "sluice",       "sluice-gateway", "sluice-orders",
                                            "sluice-queue", "sluice-search",  "sluice-tap",
                                            "sluice-users" };
    const char *before = "";
    (void)fputs(".SH SEE ALSO\n", out);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        if (strcmp(programs[i], name) != 0) {
            (void)fprintf(out, "%s.BR ", before);
            roff_text(programs[i], out);
            (void)fputs(" (1)", out);
            before = ",\n";
        }
    }
    (void)fputs("\n.PP\n/usr/share/doc/sluice, or docs/ of the source.\n", out);
}
