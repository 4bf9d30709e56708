// SPDX-License-Identifier: MIT
#include "tests/load/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *next_word(char **rest)
{
    return strtok_r(NULL, " \t\r\n", rest);
}

static bool to_number(const char *word, double min, double max, double *ret)
{
    char *end;
    if (!word || !*word) {
        return false;
    }
    double value = strtod(word, &end);
    if (*end || !(value >= min && value <= max)) {
        return false;
    }
    *ret = value;
    return true;
}

static bool take_name(const char *word, char name[PLAN_MAX_NAME])
{
    return word && snprintf(name, PLAN_MAX_NAME, "%s", word) < PLAN_MAX_NAME;
}

static int find_request(const struct plan *p, const char *name, size_t n)
{
    for (size_t i = 0; i < p->n_requests; i++) {
        if (strlen(p->requests[i].name) == n && memcmp(p->requests[i].name, name, n) == 0) {
            return (int)i;
        }
    }
    return -1;
}

// The options of a request: token=, address=, key, and body=, which takes the rest of the line.
static const char *read_details(struct plan_request *r, char **rest, char *fields, size_t size)
{
    size_t n = 0;
    for (;;) {
        *rest += strspn(*rest, " \t");
        if (strncmp(*rest, "body=", 5) == 0) {
            char *body = *rest + 5;
            body[strcspn(body, "\r\n")] = '\0';
            r->body = strdup(body);
            return r->body ? NULL : "no memory";
        }
        const char *word = next_word(rest);
        int added = 0;
        if (!word) {
            r->body = strdup("");
            return r->body ? NULL : "no memory";
        }
        if (strncmp(word, "token=", 6) == 0) {
            added = snprintf(fields + n, size - n, "Authorization: Bearer %s\r\n", word + 6);
        } else if (strncmp(word, "address=", 8) == 0) {
            added = snprintf(fields + n, size - n, "X-Forwarded-For: %s\r\n", word + 8);
        } else if (strcmp(word, "key") == 0) {
            r->keyed = true;
        } else if (strcmp(word, "unlisted") == 0) {
            r->unlisted = true;
        } else {
            return "after the path come token=, address=, key, unlisted and body=";
        }
        n += (size_t)added;
        if (n >= size) {
            return "it is too long";
        }
    }
}

static const char *read_request(struct plan *p, char **rest)
{
    char fields[8192] = "";
    if (p->n_requests == PLAN_MAX_REQUESTS) {
        return "too many requests";
    }
    struct plan_request *r = &p->requests[p->n_requests];
    bool named = take_name(next_word(rest), r->name);
    const char *method = next_word(rest), *path = next_word(rest);
    if (!named || !method || !path || path[0] != '/') {
        return "it must be: request NAME METHOD PATH [token=T] [address=A] [key] [unlisted] "
               "[body=...]";
    }
    const char *wrong = read_details(r, rest, fields, sizeof fields);
    if (wrong) {
        return wrong;
    }
    r->safe = strcmp(method, "GET") == 0;
    char length[96] = "";
    if (r->body[0]) {
        (void)snprintf(length, sizeof length,
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                       strlen(r->body));
    }
    size_t size = strlen(method) + strlen(path) + strlen(fields) + sizeof length + 64;
    r->head = malloc(size);
    if (!r->head) {
        return "no memory";
    }
    (void)snprintf(r->head, size, "%s %s HTTP/1.1\r\nHost: load\r\n%s%s", method, path, length,
                   fields);
    p->n_requests++;
    return NULL;
}

static const char *read_phase(struct plan *p, char **rest)
{
    if (p->n_phases == PLAN_MAX_PHASES) {
        return "too many phases";
    }
    struct plan_phase *phase = &p->phases[p->n_phases];
    if (!take_name(next_word(rest), phase->name) ||
        !to_number(next_word(rest), 0, 86400, &phase->seconds)) {
        return "it must be: phase NAME SECONDS [REQUEST=RATE]...";
    }
    for (const char *word = next_word(rest); word; word = next_word(rest)) {
        const char *equals = strchr(word, '=');
        int i = equals ? find_request(p, word, (size_t)(equals - word)) : -1;
        if (i < 0 || !to_number(equals + 1, 0, 1e6, &phase->rate[i])) {
            return "a rate must be REQUEST=NUMBER, of a request that is defined above";
        }
    }
    p->n_phases++;
    return NULL;
}

static const char *read_setting(struct plan *p, const char *name, char **rest)
{
    double v = 0;
    const char *word = next_word(rest);
    if (strcmp(name, "port") == 0 && to_number(word, 1, 65535, &v)) {
        p->port = (int)v;
    } else if (strcmp(name, "connections") == 0 && to_number(word, 1, PLAN_MAX_CONNECTIONS, &v)) {
        p->connections = (int)v;
    } else if (strcmp(name, "timeout") == 0 && to_number(word, 1, 1e6, &v)) {
        p->timeout_us = (int64_t)(v * 1000);
    } else if (strcmp(name, "retries") == 0 && to_number(word, 0, 100, &v)) {
        p->retries = (int)v;
    } else if (strcmp(name, "backoff") == 0 && to_number(word, 0, 1e6, &v)) {
        p->backoff_us = (int64_t)(v * 1000);
    } else if (strcmp(name, "seed") == 0 && to_number(word, 0, 1e15, &v)) {
        p->seed = (uint64_t)v;
    } else if (strcmp(name, "obey") == 0 && to_number(word, 0, 1, &v)) {
        p->obey = v != 0;
    } else {
        return "it is no setting, or its value is not allowed";
    }
    return NULL;
}

static const char *read_line(struct plan *p, char *line)
{
    char *rest = NULL;
    const char *word = strtok_r(line, " \t\r\n", &rest);
    if (!word || word[0] == '#') {
        return NULL;
    }
    if (strcmp(word, "request") == 0) {
        return read_request(p, &rest);
    }
    return strcmp(word, "phase") == 0 ? read_phase(p, &rest) : read_setting(p, word, &rest);
}

int plan_read(FILE *in, struct plan *p)
{
    char *line = NULL;
    size_t size = 0, number = 0;
    const char *wrong = NULL;
    *p = (struct plan){ .connections = 64, .timeout_us = 5000000, .backoff_us = 100000, .seed = 1 };
    while (!wrong && getline(&line, &size, in) > 0) {
        number++;
        wrong = read_line(p, line);
    }
    free(line);
    if (!wrong && (!p->port || !p->n_requests || !p->n_phases)) {
        wrong = "a plan needs a port, a request and a phase";
    }
    if (wrong) {
        (void)fprintf(stderr, "loadgen: line %zu: %s\n", number, wrong);
        return -1;
    }
    return 0;
}

void plan_free(struct plan *p)
{
    for (size_t i = 0; i < p->n_requests; i++) {
        free(p->requests[i].head);
        free(p->requests[i].body);
    }
}
