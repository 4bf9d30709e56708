// SPDX-License-Identifier: MIT
// Every kind at its borders; and an error that names the variable, its value and what is allowed,
// on one line, without a secret in it.
#include "common/config.h"

#include "proto/buf.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct sample {
    char *name;
    char *mode;
    char *key;
    int64_t port;
    int64_t enabled;
    int64_t patience_ms;
    int64_t limit_bytes;
};

// clang-format off
static const struct config_option table[] = {
    { .name = "SLUICE_T_NAME", .kind = CONFIG_STRING, .offset = offsetof(struct sample, name),
      .min = 2, .max = 5, .help = "a name" },
    { .name = "SLUICE_T_MODE", .kind = CONFIG_CHOICE, .offset = offsetof(struct sample, mode),
      .fallback = "fast", .choices = "fast|safe", .help = "how" },
    { .name = "SLUICE_T_KEY", .kind = CONFIG_SECRET, .offset = offsetof(struct sample, key),
      .min = 4, .max = 16, .help = "a key" },
    { .name = "SLUICE_T_PORT", .kind = CONFIG_INTEGER, .offset = offsetof(struct sample, port),
      .fallback = "80", .min = 1, .max = 65535, .help = "a port" },
    { .name = "SLUICE_T_ENABLED", .kind = CONFIG_BOOLEAN,
      .offset = offsetof(struct sample, enabled), .fallback = "yes", .help = "whether" },
    { .name = "SLUICE_T_PATIENCE", .kind = CONFIG_DURATION,
      .offset = offsetof(struct sample, patience_ms), .fallback = "90s", .min = 100,
      .max = 3600000, .help = "how long" },
    { .name = "SLUICE_T_LIMIT", .kind = CONFIG_BYTES,
      .offset = offsetof(struct sample, limit_bytes), .help = "how much" },
    CONFIG_END
};
// clang-format on

static struct sample config;
static char error[CONFIG_ERROR_SIZE];

static int enter(void **state)
{
    for (const struct config_option *o = table; o->name; o++) {
        unsetenv(o->name);
    }
    unsetenv("SLUICE_T_KEY_FILE");
    memset(&config, 0, sizeof(config));
    return temp_dir_enter(state);
}

static int leave(void **state)
{
    config_free(table, &config);
    return temp_dir_leave(state);
}

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static void assert_loads(void)
{
    assert_int_equal(config_load(table, &config, error), 0);
    assert_string_equal(error, "");
}

static void assert_refuses(const char *line)
{
    assert_int_equal(config_load(table, &config, error), -EINVAL);
    assert_string_equal(error, line);
    config_free(table, &config);
}

static void write_file(const char *path, const char *bytes, size_t n)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void test_defaults(void **state)
{
    (void)state;
    set("SLUICE_T_UNKNOWN", "somebody else's");
    set("SLUICE_T_PORT", ""); // set to nothing is not set
    assert_loads();
    assert_null(config.name);
    assert_string_equal(config.mode, "fast");
    assert_null(config.key);
    assert_int_equal(config.port, 80);
    assert_int_equal(config.enabled, 1);
    assert_int_equal(config.patience_ms, 90000);
    assert_int_equal(config.limit_bytes, 0);
}

static void test_given(void **state)
{
    (void)state;
    set("SLUICE_T_NAME", "abcde");
    set("SLUICE_T_MODE", "safe");
    set("SLUICE_T_KEY", "open sesame");
    set("SLUICE_T_PORT", "65535");
    set("SLUICE_T_ENABLED", "off");
    set("SLUICE_T_PATIENCE", "100ms");
    set("SLUICE_T_LIMIT", "3KiB");
    assert_loads();
    assert_string_equal(config.name, "abcde");
    assert_string_equal(config.mode, "safe");
    assert_string_equal(config.key, "open sesame");
    assert_int_equal(config.port, 65535);
    assert_int_equal(config.enabled, 0);
    assert_int_equal(config.patience_ms, 100);
    assert_int_equal(config.limit_bytes, 3072);
}

static void test_errors_say_what_is_allowed(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        { "SLUICE_T_NAME", "a",
          "SLUICE_T_NAME is \"a\", too short; allowed: text of 2 to 5 bytes" },
        { "SLUICE_T_NAME", "abcdef",
          "SLUICE_T_NAME is \"abcdef\", too long; allowed: text of 2 to 5 bytes" },
        { "SLUICE_T_NAME", "a\nb",
          "SLUICE_T_NAME is \"a\\nb\", with a control character; allowed: text of 2 to 5 bytes" },
        { "SLUICE_T_MODE", "fas", "SLUICE_T_MODE is \"fas\"; allowed: one of fast, safe" },
        { "SLUICE_T_MODE", "fast|safe",
          "SLUICE_T_MODE is \"fast|safe\"; allowed: one of fast, safe" },
        { "SLUICE_T_PORT", "0",
          "SLUICE_T_PORT is \"0\", out of range; allowed: an integer from 1 to 65535" },
        { "SLUICE_T_PORT", "65536",
          "SLUICE_T_PORT is \"65536\", out of range; allowed: an integer from 1 to 65535" },
        { "SLUICE_T_PORT", "99999999999999999999",
          "SLUICE_T_PORT is \"99999999999999999999\", out of range; allowed: an integer from 1 to "
          "65535" },
        { "SLUICE_T_PORT", "80 ", "SLUICE_T_PORT is \"80 \"; allowed: an integer from 1 to 65535" },
        { "SLUICE_T_ENABLED", "maybe", "SLUICE_T_ENABLED is \"maybe\"; allowed: true or false" },
        { "SLUICE_T_PATIENCE", "10",
          "SLUICE_T_PATIENCE is \"10\"; allowed: a duration (250ms, 10s, 5m, 24h, 7d) from 100ms "
          "to 1h" },
        { "SLUICE_T_PATIENCE", "99ms",
          "SLUICE_T_PATIENCE is \"99ms\", out of range; allowed: a duration "
          "(250ms, 10s, 5m, 24h, 7d) from 100ms to 1h" },
        { "SLUICE_T_LIMIT", "1MB",
          "SLUICE_T_LIMIT is \"1MB\"; allowed: a size (512, 64KiB, 1MiB, 2GiB)" },
        { "SLUICE_T_LIMIT", "a\nb\"\033[31m",
          "SLUICE_T_LIMIT is \"a\\nb\\\"\\u001b[31m\"; allowed: a size "
          "(512, 64KiB, 1MiB, 2GiB)" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set(cases[i][0], cases[i][1]);
        assert_refuses(cases[i][2]);
        unsetenv(cases[i][0]);
    }
}

static void test_a_long_value_is_cut_in_the_error(void **state)
{
    (void)state;
    static char value[100000];
    memset(value, 'x', sizeof(value) - 1);
    set("SLUICE_T_PORT", value);
    assert_int_equal(config_load(table, &config, error), -EINVAL);
    assert_non_null(strstr(error, "xxx...\"; allowed: an integer from 1 to 65535"));
    assert_true(strlen(error) < 200);
}

static void test_a_secret_is_never_shown(void **state)
{
    (void)state;
    set("SLUICE_T_KEY", "abc");
    assert_refuses("SLUICE_T_KEY (a secret), too short; allowed: text of 4 to 16 bytes");
    set("SLUICE_T_KEY", "abcdefghijklmnopq");
    assert_refuses("SLUICE_T_KEY (a secret), too long; allowed: text of 4 to 16 bytes");
}

static void test_a_secret_leaves_the_environment(void **state)
{
    (void)state;
    set("SLUICE_T_KEY", "abcdef");
    set("SLUICE_T_PORT", "80");
    const char *was = getenv("SLUICE_T_KEY");
    config_forget_secrets(table);
    assert_null(getenv("SLUICE_T_KEY"));
    assert_int_equal(was[0] | was[5], 0); // overwritten where it stood
    config_forget_secrets(table);         // once more is nothing
}

static void test_a_secret_from_a_file(void **state)
{
    (void)state;
    set("SLUICE_T_KEY_FILE", "key");
    write_file("key", "sesame\n\n", 8);
    assert_loads();
    assert_string_equal(config.key, "sesame\n"); // only the last newline is not part of it
    config_free(table, &config);
    write_file("key", "sesame", 6);
    assert_loads();
    assert_string_equal(config.key, "sesame");
}

static void test_a_secret_file_that_is_wrong(void **state)
{
    (void)state;
    set("SLUICE_T_KEY_FILE", "key");
    assert_refuses(
        "SLUICE_T_KEY_FILE is \"key\", a file that cannot be read: No such file or directory");
    write_file("key", "ses\0ame", 7);
    assert_refuses("SLUICE_T_KEY (a secret) contains a NUL byte; allowed: text of 4 to 16 bytes");
    write_file("key", "\n", 1);
    assert_refuses("SLUICE_T_KEY (a secret), too short; allowed: text of 4 to 16 bytes");
    set("SLUICE_T_KEY_FILE", "/dev/zero");
    assert_refuses(
        "SLUICE_T_KEY_FILE is \"/dev/zero\", a file that cannot be read: File too large");
    set("SLUICE_T_KEY", "sesame");
    assert_refuses("SLUICE_T_KEY and SLUICE_T_KEY_FILE are both set; allowed: one of them");
}

static void test_half_filled_is_freed(void **state)
{
    (void)state;
    set("SLUICE_T_NAME", "abc");
    set("SLUICE_T_KEY", "sesame");
    set("SLUICE_T_LIMIT", "wrong");
    assert_int_equal(config_load(table, &config, error), -EINVAL);
    config_free(table, &config); // the leak checker sees the rest
    assert_null(config.name);
    assert_null(config.key);
    config_free(table, &config);
}

static void assert_number(enum config_kind kind, const char *text, int64_t expected)
{
    int64_t value = -7;
    assert_int_equal(config_parse_number(kind, text, &value), 0);
    assert_int_equal(value, expected);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_number(CONFIG_INTEGER, "0", 0);
    assert_number(CONFIG_INTEGER, "-17", -17);
    assert_number(CONFIG_INTEGER, "9223372036854775807", INT64_MAX);
    assert_number(CONFIG_INTEGER, "010", 10); // not octal
    static const char *const yes[] = { "true", "1", "yes", "on" };
    static const char *const no[] = { "false", "0", "no", "off" };
    for (int i = 0; i < 4; i++) {
        assert_number(CONFIG_BOOLEAN, yes[i], 1);
        assert_number(CONFIG_BOOLEAN, no[i], 0);
    }
    assert_number(CONFIG_DURATION, "250ms", 250);
    assert_number(CONFIG_DURATION, "0s", 0);
    assert_number(CONFIG_DURATION, "5m", 300000);
    assert_number(CONFIG_DURATION, "24h", 86400000);
    assert_number(CONFIG_DURATION, "7d", 604800000);
    assert_number(CONFIG_DURATION, "106751991167d", INT64_C(106751991167) * 86400000);
    assert_number(CONFIG_BYTES, "512", 512);
    assert_number(CONFIG_BYTES, "64KiB", 65536);
    assert_number(CONFIG_BYTES, "1MiB", 1048576);
    assert_number(CONFIG_BYTES, "8589934591GiB", INT64_C(8589934591) << 30);
}

static void test_no_numbers(void **state)
{
    (void)state;
    static const struct {
        enum config_kind kind;
        const char *text;
        int error;
    } cases[] = {
        { CONFIG_INTEGER, "", -EINVAL },
        { CONFIG_INTEGER, "-", -EINVAL },
        { CONFIG_INTEGER, "+1", -EINVAL },
        { CONFIG_INTEGER, " 1", -EINVAL },
        { CONFIG_INTEGER, "1.0", -EINVAL },
        { CONFIG_INTEGER, "0x10", -EINVAL },
        { CONFIG_INTEGER, "1e3", -EINVAL },
        { CONFIG_INTEGER, "9223372036854775808", -ERANGE },
        { CONFIG_BOOLEAN, "", -EINVAL },
        { CONFIG_BOOLEAN, "2", -EINVAL },
        { CONFIG_DURATION, "10", -EINVAL },
        { CONFIG_DURATION, "0", -EINVAL },
        { CONFIG_DURATION, "s", -EINVAL },
        { CONFIG_DURATION, "-1s", -EINVAL },
        { CONFIG_DURATION, "1 s", -EINVAL },
        { CONFIG_DURATION, "1h30m", -EINVAL },
        { CONFIG_DURATION, "1S", -EINVAL },
        { CONFIG_DURATION, "106751991168d", -ERANGE },
        { CONFIG_BYTES, "-1", -EINVAL },
        { CONFIG_BYTES, "1kb", -EINVAL },
        { CONFIG_BYTES, "1KiBs", -EINVAL },
        { CONFIG_BYTES, "8589934592GiB", -ERANGE },
        { CONFIG_BYTES, "99999999999999999999", -ERANGE },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t value = -7;
        assert_int_equal(config_parse_number(cases[i].kind, cases[i].text, &value), cases[i].error);
        assert_int_equal(value, -7);
    }
}

static void test_help_lists_everything(void **state)
{
    (void)state;
    char text[4096];
    FILE *out = fmemopen(text, sizeof(text), "w");
    assert_non_null(out);
    config_help(table, out);
    fclose(out);
    for (const struct config_option *o = table; o->name; o++) {
        assert_non_null(strstr(text, o->name));
        assert_non_null(strstr(text, o->help));
    }
    assert_non_null(strstr(text, "an integer from 1 to 65535; default: 80\n"));
    assert_non_null(strstr(text, "_FILE"));
    assert_non_null(strstr(text, "one of fast, safe; default: fast\n"));
}

static void test_print_says_values_and_sources(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    set("SLUICE_T_NAME", "a\"b");
    set("SLUICE_T_PORT", "443");
    set("SLUICE_T_LIMIT", "2048");
    set("SLUICE_T_KEY", "swordfish");
    assert_int_equal(config_load(table, &config, error), 0);
    config_print(table, &config, &b);
    buf_append_char(&b, '\0');
    assert_string_equal(
        b.data,
        "[\n{\"name\":\"SLUICE_T_NAME\",\"value\":\"a\\\"b\",\"source\":\"environment\"},\n"
        "{\"name\":\"SLUICE_T_MODE\",\"value\":\"fast\",\"source\":\"default\"},\n"
        "{\"name\":\"SLUICE_T_KEY\",\"secret\":true,\"set\":true,\"source\":\"environment\"},\n"
        "{\"name\":\"SLUICE_T_PORT\",\"value\":\"443\",\"source\":\"environment\"},\n"
        "{\"name\":\"SLUICE_T_ENABLED\",\"value\":\"true\",\"source\":\"default\"},\n"
        "{\"name\":\"SLUICE_T_PATIENCE\",\"value\":\"90s\",\"source\":\"default\"},\n"
        "{\"name\":\"SLUICE_T_LIMIT\",\"value\":\"2KiB\",\"source\":\"environment\"}\n]\n");
    buf_fini(&b);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_defaults),
        CASE(test_given),
        CASE(test_errors_say_what_is_allowed),
        CASE(test_a_long_value_is_cut_in_the_error),
        CASE(test_a_secret_is_never_shown),
        CASE(test_a_secret_leaves_the_environment),
        CASE(test_a_secret_from_a_file),
        CASE(test_a_secret_file_that_is_wrong),
        CASE(test_half_filled_is_freed),
        CASE(test_numbers),
        CASE(test_no_numbers),
        CASE(test_help_lists_everything),
        CASE(test_print_says_values_and_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
