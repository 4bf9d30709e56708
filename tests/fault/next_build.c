// SPDX-License-Identifier: MIT
// The orders service as its next build could be: the same, with one migration more. Linked with
// --wrap=worker_main, so that main() comes through here. With NEXT_BUILD_FAILS in the environment the
// migration fails at its end, when it has already changed what is there.
#include "common/worker.h"

#include <assert.h>
#include <stdlib.h>

#define MAX_MIGRATIONS 32

int __real_worker_main(const struct service *service, int argc, char **argv);
int __wrap_worker_main(const struct service *service, int argc, char **argv);

int __wrap_worker_main(const struct service *service, int argc, char **argv)
{
    static const char *migrations[MAX_MIGRATIONS];
    static struct service next;
    assert(service->n_migrations < MAX_MIGRATIONS);
    for (size_t i = 0; i < service->n_migrations; i++) {
        migrations[i] = service->migrations[i];
    }
    next = *service;
    migrations[next.n_migrations++] =
        getenv("NEXT_BUILD_FAILS")
            ? "ALTER TABLE orders ADD COLUMN next_build TEXT;"
              "UPDATE stock SET quantity = 0;"
              "INSERT INTO sluice_meta(name, value) VALUES('uuid', 'already there');"
            : "ALTER TABLE orders ADD COLUMN next_build TEXT;"
              "CREATE TABLE next_build(n INTEGER PRIMARY KEY) STRICT;";
    next.migrations = migrations;
    return __real_worker_main(&next, argc, argv);
}
