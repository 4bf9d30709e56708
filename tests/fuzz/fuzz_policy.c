// SPDX-License-Identifier: MIT
// The policy file: any text is taken, or every mistake in it is a line that says where it is, and what would be
// allowed. A policy that is taken rewrites paths once, and neither masks nor edits can be confused by what passes.
#include "tests/fuzz/fuzz.h"

#include "gateway/policy_file.h"

#include <errno.h>

static const char *const paths[] = {
    "/",      "/v1",  "/v1/orders", "/v1/orders/7/pay", "/api/v2/x", "/a/b/c/d/e", "/v1/users/me",
    "/a/%2e", "/api", "/api/v2",    "/v1/orders/{id}"
};

static size_t count_lines(struct str s)
{
    size_t n = 1;
    for (size_t i = 0; i < s.n; i++) {
        n += s.p[i] == '\n';
    }
    return n;
}

static size_t take_number(struct str *line)
{
    size_t n = 0;
    REQUIRE(line->n && line->p[0] >= '1' && line->p[0] <= '9');
    for (; line->n && line->p[0] >= '0' && line->p[0] <= '9'; line->p++, line->n--) {
        n = n * 10 + (size_t)(line->p[0] - '0');
    }
    REQUIRE(line->n && line->p[0] == ':');
    (void)take_byte(line);
    return n;
}

// "p:LINE:COLUMN: ..."; nothing that a terminal or a log would take for more than text.
static void require_mistake(struct str line, struct str text)
{
    REQUIRE(line.n > 2 && line.p[0] == 'p' && line.p[1] == ':');
    line = (struct str){ line.p + 2, line.n - 2 };
    REQUIRE(take_number(&line) <= count_lines(text));
    REQUIRE(take_number(&line) <= text.n + 1);
    REQUIRE(memmem(line.p, line.n, "allowed: ", 9));
    for (size_t i = 0; i < line.n; i++) {
        REQUIRE((unsigned char)line.p[i] >= ' ' && line.p[i] != 0x7F);
    }
}

static void check_mistakes(struct str lines, struct str text)
{
    REQUIRE(lines.n && lines.p[lines.n - 1] == '\n');
    while (lines.n) {
        size_t n = (size_t)((const char *)memchr(lines.p, '\n', lines.n) - lines.p);
        struct str line = { lines.p, n };
        lines = (struct str){ lines.p + n + 1, lines.n - n - 1 };
        bool counts = str_eq((struct str){ line.p, n < 7 ? n : 7 }, STR("p: and "));
        REQUIRE(!counts || lines.n == 0); // those that are not told
        if (!counts) {
            require_mistake(line, text);
        }
    }
}

static void check_rewriting(const struct policy *p)
{
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        static struct target once, twice;
        char raw[64];
        const char *detail = NULL;
        memcpy(raw, paths[i], strlen(paths[i]));
        if (target_parse(raw, strlen(paths[i]), &once, &detail)) {
            continue;
        }
        policy_rewrite(p, &once);
        twice = once;
        policy_rewrite(p, &twice);
        REQUIRE(once.n_segments == twice.n_segments);
        for (size_t k = 0; k < once.n_segments && k < HTTP_MAX_SEGMENTS; k++) {
            REQUIRE(str_eq(once.segments[k], twice.segments[k]));
        }
    }
}

// What an answer gets cannot end its field.
static void on_field(void *data, struct str name, struct str value)
{
    (void)data;
    REQUIRE(name.n > 0);
    for (size_t i = 0; i < name.n; i++) {
        REQUIRE((unsigned char)name.p[i] > ' ' && name.p[i] != ':' && name.p[i] != 0x7F);
    }
    for (size_t i = 0; i < value.n; i++) {
        REQUIRE(value.p[i] != '\r' && value.p[i] != '\n' && value.p[i] != '\0');
    }
}

static struct str no_field(const void *request, struct str name)
{
    (void)request;
    REQUIRE(name.n > 0);
    return (struct str){ NULL, 0 };
}

static void check_edits(const struct policy *p)
{
    static const char *const names[] = { "etag", "x-a", "cache-control", "set-cookie" };
    uint64_t all = p->n_rules == 64 ? UINT64_MAX : (UINT64_C(1) << p->n_rules) - 1;
    policy_answer_sets(p, all, on_field, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct str name = str_of(names[i]);
        int rc = policy_answer_field(p, all, &name);
        REQUIRE(rc == 0 || rc == -ENOENT);
        REQUIRE(rc || name.n > 0);
        (void)policy_request_field(p, all, no_field, NULL, str_of(names[i])); // must not crash
    }
    REQUIRE((policy_masks(p, all, STR("admin")) & ~all) == 0);
    // Nobody without a role sees more than somebody with one.
    REQUIRE((policy_masks(p, all, STR("admin")) & ~policy_masks(p, all, STR(""))) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = exact((struct str){ (const char *)data, size });
    struct policy *policy = NULL;
    struct buf mistakes;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    int rc = policy_file_parse("p", text, &mistakes, &policy);
    REQUIRE(rc == 0 || rc == -EINVAL);
    REQUIRE((rc == 0) == (policy != NULL) && (rc == 0) == (mistakes.len == 0));
    if (rc) {
        check_mistakes(buf_str(&mistakes), text);
    } else {
        check_rewriting(policy);
        check_edits(policy);
    }
    policy_unref(&policy);
    buf_fini(&mistakes);
    drop(text);
    return 0;
}
