// SPDX-License-Identifier: MIT
#include "gateway/check_config.h"

#include "gateway/compressor.h"
#include "gateway/externals.h"
#include "gateway/gateway.h"
#include "gateway/policy_file.h"

#include <errno.h>
#include <stdio.h>

static void print_summary(const char *path, const struct policy *p)
{
    size_t masks = 0, projections = 0;
    for (size_t i = 0; i < p->n_rules; i++) {
        masks += p->rules[i].masked;
        projections += p->rules[i].fields;
    }
    printf("%s: %zu rules (%zu with a mask, %zu with fields), %zu rewrites, ", path, p->n_rules,
           masks, projections, p->n_rewrites);
    if (p->cors.any) {
        printf("CORS for every origin\n");
    } else if (p->cors.on) {
        printf("CORS for %zu origins\n", p->cors.n_origins);
    } else {
        printf("no CORS\n");
    }
}

static int check_policy(const char *path)
{
    struct buf mistakes;
    struct policy *policy = NULL;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    int rc = policy_file_read(path, &mistakes, &policy);
    fprintf(stderr, "%.*s%s", STR_ARG(buf_str(&mistakes)), rc == -ENOMEM ? "out of memory\n" : "");
    if (rc == 0) {
        print_summary(path, policy);
    }
    policy_unref(&policy);
    buf_fini(&mistakes);
    return rc;
}

static int check_admission(const struct gateway_config *g)
{
    struct admission admission;
    char error[ADMISSION_ERROR_SIZE];
    int rc = admission_init(&admission, g, error);
    if (rc) {
        fprintf(stderr, "%s\n", rc == -EINVAL ? error : "out of memory");
    }
    admission_fini(&admission);
    return rc;
}

static int check_externals(const struct gateway_config *g)
{
    struct externals *externals = NULL;
    char error[EXTERNALS_ERROR_SIZE] = "";
    int rc = externals_load(g->externals, g->issuer, &externals, error);
    if (rc) {
        fprintf(stderr, "SLUICE_EXTERNAL_ISSUERS %s\n", error);
    }
    externals_destroy(&externals);
    return rc;
}

static int check(const struct process_config *common, void *config)
{
    const struct gateway_config *g = config;
    unsigned codings;
    (void)common;
    int rc = g->policy ? check_policy(g->policy) : 0;
    if (compressor_parse(g->compression, &codings)) {
        fprintf(stderr, "SLUICE_COMPRESSION is \"%s\"; allowed: %s\n", g->compression,
                COMPRESSOR_ALLOWED);
        rc = -EINVAL;
    }
    int admission = check_admission(g), externals = g->externals ? check_externals(g) : 0;
    if (rc || admission || externals) {
        return EXIT_CONFIG;
    }
    printf("the options are fine%s\n",
           g->policy ? "" : "; there is no policy file (SLUICE_POLICY)");
    return EXIT_OK;
}

// What does not need the options that are wrong.
static void check_files(void *config)
{
    const struct gateway_config *g = config;
    if (g->policy) {
        (void)check_policy(g->policy); // prints what is wrong
    }
    if (g->externals && g->issuer) {
        (void)check_externals(g);
    }
}

const struct process_command gateway_commands[] = {
    { .name = "check-config",
      .help = "Check the options and the policy file, and say every mistake",
      .needs_home = false,
      .run = check,
      .run_wrong = check_files },
    { .name = NULL },
};
