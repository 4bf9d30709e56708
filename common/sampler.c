// SPDX-License-Identifier: MIT
#include "common/sampler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM_BITS 56
#define ALL (UINT64_C(1) << RANDOM_BITS)

int sampler_parse(const char *name, const char *argument, struct sampler *ret_sampler)
{
    static const char parent_based[] = "parentbased_";
    char *end;
    double ratio = 1;
    ret_sampler->parent_based = strncmp(name, parent_based, sizeof parent_based - 1) == 0;
    name += ret_sampler->parent_based ? sizeof parent_based - 1 : 0;
    if (strcmp(name, "traceidratio") == 0) {
        ratio = strtod(argument, &end);
        if (end == argument || *end || !(ratio >= 0 && ratio <= 1)) {
            return -EINVAL;
        }
    }
    ratio = strcmp(name, "always_off") == 0 ? 0 : ratio;
    ret_sampler->threshold = ALL - (uint64_t)(ratio * (double)ALL);
    return 0;
}

static bool takes(const struct sampler *s, const struct trace *t)
{
    uint64_t random = 0;
    for (size_t i = sizeof t->trace_id - RANDOM_BITS / 8; i < sizeof t->trace_id; i++) {
        random = random << 8 | t->trace_id[i];
    }
    return random >= s->threshold;
}

void sampler_begin(const struct sampler *s, const struct trace *parent, struct trace *ret_trace)
{
    if (parent) {
        trace_child(ret_trace, parent);
    } else {
        trace_start(ret_trace, false);
    }
    if (!parent || !s->parent_based) {
        trace_set_sampled(ret_trace, takes(s, ret_trace));
    }
}
