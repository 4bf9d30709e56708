// SPDX-License-Identifier: MIT
#include "deploy/secrets.h"

#include "deploy/services.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *values[SERVICES_SECRETS]; // NULL: not set

int secrets_take(void)
{
    for (int i = 0; i < SERVICES_SECRETS; i++) {
        char *value = getenv(services_secrets[i].name);
        if (!value) {
            continue;
        }
        values[i] = strdup(value);
        if (!values[i]) {
            return -ENOMEM;
        }
        explicit_bzero(value, strlen(value));     // unsetenv() only forgets where it is
        (void)unsetenv(services_secrets[i].name); // fails only for a name with '='
    }
    return 0;
}

int secrets_give(int service)
{
    for (int i = 0; i < SERVICES_SECRETS; i++) {
        if (values[i] && services_secrets[i].service == service &&
            setenv(services_secrets[i].name, values[i], 1) < 0) {
            return -errno;
        }
    }
    return 0;
}
