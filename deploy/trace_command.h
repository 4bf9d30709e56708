// SPDX-License-Identifier: MIT
// `sluice trace`: asks every process of a home, or at given addresses, for the spans that it has in
// memory (admin page /traces), and shows them. Needs no collector and no supervisor.
#ifndef DEPLOY_TRACE_COMMAND_H
#define DEPLOY_TRACE_COMMAND_H

#include <stdbool.h>

// words[0]: a trace id, or a traceparent; without words the kept traces are listed. Further words
// are addresses of admin listeners ("unix:/path", "HOST:PORT"), instead of those below home. json:
// prints one OTLP/JSON object of all spans. Returns an exit status: EXIT_FAILED when there is
// nothing, or nobody answered.
int trace_command(const char *home, int n_words, char **words, bool json);

extern const char trace_command_help[];

#endif
