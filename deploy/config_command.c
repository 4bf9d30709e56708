// SPDX-License-Identifier: MIT
#include "deploy/config_command.h"

#include "common/process.h"
#include "deploy/envfile.h"
#include "proto/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yyjson.h>

#define NAME_SIZE 64
#define OUTPUT_BYTES (1024 * 1024) // of one program, which prints no more (common/startup.c)
// Of all of them: what one writes as a character may take several here.
#define JSON_BYTES (2 * (SERVICES + 1) * OUTPUT_BYTES)

static struct {
    char name[NAME_SIZE];
    const char *source;
} sources[ENVFILE_MAX_ENTRIES + 8]; // what a file may set, and a few of the command line
static size_t n_sources;

// Variables that the supervisor sets for each process, whatever its own environment has; the last
// one for gateways alone.
static const char *const of_supervisor[] = { "SLUICE_INSTANCE", "SLUICE_ADMIN", "SLUICE_EXPECT" };

void config_command_source(const char *name, const char *source)
{
    if (n_sources < sizeof sources / sizeof sources[0] && strlen(name) < NAME_SIZE) {
        snprintf(sources[n_sources].name, NAME_SIZE, "%s", name);
        sources[n_sources++].source = source;
    }
}

// The last one counts: the command line comes after the file.
static const char *find_source(const char *name)
{
    for (size_t i = n_sources; i-- > 0;) {
        if (strcmp(sources[i].name, name) == 0) {
            return sources[i].source;
        }
    }
    return NULL;
}

// --- Asking the programs

__attribute__((noreturn)) static void exec_print(const struct supervisor_config *config, int s,
                                                 const char *path, int out)
{
    char instance[NAME_SIZE], address[SERVICES_TEXT], admin[SERVICES_TEXT], expected[SERVICES_TEXT];
    snprintf(instance, sizeof instance, "%s-1", services[s].name);
    services_admin_listen(config, address);
    services_admin(instance, s == SERVICES_GATEWAY ? address : NULL, admin);
    services_expected(config->counts, NULL, expected);
    if (setenv(of_supervisor[0], instance, 1) < 0 || setenv(of_supervisor[1], admin, 1) < 0 ||
        setenv(of_supervisor[2], expected, 1) < 0 || dup2(out, STDOUT_FILENO) < 0) {
        _exit(EXIT_FAILED);
    }
    execl(path, path, "print-config", (char *)NULL);
    fprintf(stderr, "sluice: %s: %s\n", path, strerror(errno));
    _exit(EXIT_FAILED);
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        char *p = buf_reserve(out, 4096);
        ssize_t n = p ? read(fd, p, 4096) : -1;
        if (n <= 0) {
            return n == 0 ? 0 : !p ? buf_error(out) : -errno;
        }
        out->len += (size_t)n;
    }
}

// Appends what a program prints. Returns its exit status, or a negative errno.
static int ask_program(const struct supervisor_config *config, int s, const char *path,
                       struct buf *out)
{
    int ends[2], status;
    // What has its own reading end waits for ever when nobody else reads.
    pid_t pid = pipe2(ends, O_CLOEXEC) < 0 ? -1 : fork();
    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        exec_print(config, s, path, ends[1]);
    }
    (void)close(ends[1]); // so that its end is seen
    int r = read_all(ends[0], out);
    (void)close(ends[0]); // nothing is in it any more
    if (waitpid(pid, &status, 0) < 0) {
        return -errno;
    }
    return r < 0 ? r : WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
}

// --- Printing

static const char *refined_source(const char *name, const char *source, bool is_supervisor)
{
    for (size_t i = 0; i < sizeof of_supervisor / sizeof of_supervisor[0] && !is_supervisor; i++) {
        if (strcmp(name, of_supervisor[i]) == 0) {
            return "supervisor";
        }
    }
    const char *known = strcmp(source, "environment") == 0 ? find_source(name) : NULL;
    return known ? known : source;
}

static const char *member(yyjson_val *option, const char *name)
{
    const char *text = yyjson_get_str(yyjson_obj_get(option, name));
    return text ? text : "";
}

static void print_row(yyjson_val *option, const char *source)
{
    bool secret = yyjson_get_bool(yyjson_obj_get(option, "secret"));
    const char *value = secret && yyjson_get_bool(yyjson_obj_get(option, "set")) ? "(secret)"
                        : secret || yyjson_is_null(yyjson_obj_get(option, "value"))
                            ? "(not set)"
                            : member(option, "value");
    printf("  %-34s %-40s %s\n", member(option, "name"), *value ? value : "(empty)", source);
}

static void append_option(struct buf *out, yyjson_val *option, const char *source)
{
    buf_printf(out, "{\"name\":\"%s\",", member(option, "name"));
    if (yyjson_get_bool(yyjson_obj_get(option, "secret"))) {
        buf_printf(out, "\"secret\":true,\"set\":%s",
                   yyjson_get_bool(yyjson_obj_get(option, "set")) ? "true" : "false");
    } else if (yyjson_is_null(yyjson_obj_get(option, "value"))) {
        buf_append_z(out, "\"value\":null");
    } else {
        buf_append_z(out, "\"value\":\"");
        buf_append_json(out, str_of(member(option, "value")));
        buf_append_char(out, '"');
    }
    buf_append_z(out, ",\"source\":\"");
    buf_append_json(out, str_of(source));
    buf_append_z(out, "\"}");
}

// One process's options, from the text of config_print(). json: NULL to print a table.
static int show(const char *service, struct str text, struct buf *json)
{
    yyjson_doc *doc = yyjson_read(text.p, text.n, 0);
    yyjson_val *list = yyjson_doc_get_root(doc), *option;
    size_t i, n;
    if (!yyjson_is_arr(list)) {
        yyjson_doc_free(doc);
        fprintf(stderr, "sluice: %s does not say its options: is it of another version?\n",
                service);
        return EXIT_FAILED;
    }
    if (json) {
        buf_printf(json, "%s{\"process\":\"%s\",\"options\":[", json->len > 16 ? "," : "", service);
    } else {
        printf("%s\n", service);
    }
    yyjson_arr_foreach(list, i, n, option)
    {
        const char *source = refined_source(member(option, "name"), member(option, "source"),
                                            strcmp(service, "supervisor") == 0);
        if (json) {
            buf_append_z(json, i ? "," : "");
            append_option(json, option, source);
        } else {
            print_row(option, source);
        }
    }
    if (json) {
        buf_append_z(json, "]}");
    }
    yyjson_doc_free(doc);
    return EXIT_OK;
}

static int show_service(const struct supervisor_config *config, const char *bin_dir, int s,
                        struct buf *json)
{
    char path[PATH_MAX];
    struct buf text;
    buf_init(&text, OUTPUT_BYTES);
    snprintf(path, sizeof path, "%s/%s", bin_dir, services[s].binary);
    int status = ask_program(config, s, path, &text);
    if (status < 0) {
        fprintf(stderr, "sluice: %s: %s\n", path, strerror(-status));
        status = EXIT_FAILED;
    }
    status = status == EXIT_OK ? show(services[s].name, buf_str(&text), json) : status;
    buf_fini(&text);
    return status;
}

static int show_supervisor(const struct supervisor_config *config, struct buf *json)
{
    struct buf text;
    buf_init(&text, OUTPUT_BYTES);
    config_print(services_options, config, &text);
    int status = show("supervisor", buf_str(&text), json);
    buf_fini(&text);
    return status;
}

int config_command(const struct supervisor_config *config, const char *bin_dir, const char *service,
                   bool as_json)
{
    struct buf json;
    buf_init(&json, JSON_BYTES);
    buf_append_z(&json, "{\"processes\":[");
    int status = EXIT_OK;
    if (!service || strcmp(service, "supervisor") == 0) {
        status = show_supervisor(config, as_json ? &json : NULL);
    }
    (void)fflush(stdout); // before others write there
    for (int s = 0; s < SERVICES; s++) {
        if (!service || strcmp(service, services[s].name) == 0) {
            int r = show_service(config, bin_dir, s, as_json ? &json : NULL);
            status = status ? status : r;
        }
    }
    buf_append_z(&json, "]}");
    if (!buf_ok(&json)) {
        fprintf(stderr, "sluice: cannot print: %s\n", strerror(-buf_error(&json)));
        status = EXIT_FAILED;
    }
    if (as_json && status == EXIT_OK) {
        printf("%.*s\n", STR_ARG(buf_str(&json)));
    }
    buf_fini(&json);
    return status;
}
