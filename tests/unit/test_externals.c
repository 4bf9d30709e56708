// SPDX-License-Identifier: MIT
#include "gateway/externals.h"

#include "tests/unit/descriptors.h"
#include "tests/unit/json_starved.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#include <cmocka.h>

#define OWN_ISSUER "sluice"

// RFC 8037, appendix A.2.
#define KEY(kid)                                                                                   \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"" kid "\","                                    \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

#define MEMBERS                                                                                    \
    "\"issuer\":\"https://"                                                                        \
    "id\",\"audience\":\"shop\",\"jwks\":\"a.json\",\"algorithms\":[\"EdDSA\"]"
#define NAMED "\"name\":\"corp\"," MEMBERS
#define ROLES "\"roles\":{\"default\":\"user\"}"

static struct externals *externals;
static char error[EXTERNALS_ERROR_SIZE];

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int enter(void **state)
{
    int rc = temp_dir_enter(state);
    if (rc == 0) {
        write_file("a.json", "{\"keys\":[" KEY("one") "]}");
    }
    return rc;
}

static int leave(void **state)
{
    externals_destroy(&externals);
    return temp_dir_leave(state);
}

static int load(const char *text)
{
    externals_destroy(&externals);
    write_file("issuers.json", text);
    error[0] = '\0';
    return externals_load("issuers.json", OWN_ISSUER, &externals, error);
}

static void assert_loads(const char *text)
{
    if (load(text)) {
        fail_msg("%s: %s", text, error);
    }
    assert_string_equal(error, "");
}

// The mistake is said in one line, which has these words.
static void assert_refused(const char *text, const char *words)
{
    if (load(text) == 0) {
        fail_msg("%s was taken", text);
    }
    assert_null(externals);
    assert_null(strchr(error, '\n'));
    if (strncmp(error, "issuers.json: ", 14) != 0 || !strstr(error, words)) {
        fail_msg("%s gives: %s; and not: %s", text, error, words);
    }
}

// before, n times item with its number in the place of each #, after. The caller frees it.
static char *repeat(const char *before, const char *item, size_t n, const char *after)
{
    struct buf b;
    buf_init(&b, 1024 * 1024);
    buf_append_z(&b, before);
    for (size_t i = 0; i < n; i++) {
        buf_append_z(&b, i ? "," : "");
        for (const char *p = item; *p; p++) {
            if (*p == '#') {
                buf_append_decimal(&b, i, 1);
            } else {
                buf_append_char(&b, *p);
            }
        }
    }
    buf_append_z(&b, after);
    buf_append_char(&b, '\0');
    assert_int_equal(buf_error(&b), 0);
    char *text = strdup(b.data);
    buf_fini(&b);
    assert_non_null(text);
    return text;
}

// --- What is taken

static void test_members(void **state)
{
    (void)state;
    assert_loads("[]");
    assert_int_equal(externals->n, 0);
    assert_null(externals_find(externals, STR("https://id")));
    assert_loads("[{" NAMED "," ROLES "}]");
    const struct external_issuer *x = externals_find(externals, STR("https://id"));
    assert_non_null(x);
    assert_string_equal(x->name, "corp");
    assert_string_equal(x->audience, "shop");
    assert_string_equal(x->fallback, "user");
    assert_false(x->plain_jwt);
    assert_int_equal(externals_count_keys(externals), 1);
    assert_int_equal(x->keys.keys[0].algorithm, JWS_EDDSA);
    // The whole of a name, not its beginning.
    assert_null(externals_find(externals, STR("https://i")));
    assert_null(externals_find(externals, STR("https://id/")));
    assert_null(externals_find(externals, (struct str){ "https://id\0x", 12 }));
    assert_null(externals_find(externals, (struct str){ NULL, 0 }));
    assert_loads("[{" NAMED "," ROLES ",\"type\":\"JWT\"}]");
    assert_true(externals->issuers[0].plain_jwt);
}

static void test_several(void **state)
{
    (void)state;
    char *most = repeat("[",
                        "{\"name\":\"n#\",\"issuer\":\"https://#\",\"audience\":\"a#\","
                        "\"jwks\":\"a.json\",\"algorithms\":[\"EdDSA\"]," ROLES "}",
                        EXTERNALS_MAX, "]");
    assert_loads(most);
    assert_int_equal(externals->n, EXTERNALS_MAX);
    assert_int_equal(externals_count_keys(externals), EXTERNALS_MAX);
    assert_string_equal(externals_find(externals, STR("https://7"))->audience, "a7");
    free(most);
    char *more = repeat("[", "{}", EXTERNALS_MAX + 1, "]");
    assert_refused(more, "must be a list of at most 8 issuers");
    free(more);
}

static void test_paths_of_keys(void **state)
{
    (void)state;
    char text[1024];
    assert_int_equal(mkdir("set", 0700), 0);
    write_file("set/1.json", "{\"keys\":[" KEY("x1") "," KEY("x2") "]}");
    write_file("set/2.json", "{\"keys\":[" KEY("y") "]}");
    write_file("set/.hidden.json", "no JSON");
    write_file("set/notes.txt", "no JSON");
    (void)snprintf(text, sizeof text,
                   "[{\"name\":\"corp\",\"issuer\":\"i\",\"audience\":\"a\",\"jwks\":\"%s/set\","
                   "\"algorithms\":[\"EdDSA\"]," ROLES "}]",
                   temp_dir());
    assert_loads(text);
    assert_int_equal(externals_count_keys(externals), 3);
    // One kid in two files would make it a matter of order which key counts.
    write_file("set/3.json", "{\"keys\":[" KEY("x2") "]}");
    assert_refused(text, "3.json: keys[0] cannot be used");
    for (int i = 3; i <= EXTERNALS_MAX_JWKS_FILES + 1; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "set/%d.json", i);
        write_file(name, "{\"keys\":[]}");
    }
    assert_refused(text, "more than 16 files");
    assert_int_equal(unlink("set/17.json"), 0);
    assert_loads(text);
    assert_int_equal(externals_count_keys(externals), 3);
    assert_int_equal(unlink("a.json"), 0);
    assert_refused("[{" NAMED "," ROLES "}]", "[0].jwks a.json: No such file");
}

// --- What is not

static void test_document(void **state)
{
    (void)state;
    externals_destroy(&externals);
    assert_int_not_equal(externals_load("none.json", OWN_ISSUER, &externals, error), 0);
    assert_string_equal(error, "none.json: No such file or directory");
    assert_refused("", "no JSON at byte 0");
    assert_refused("[{", "no JSON at byte 2");
    assert_refused("[] []", "no JSON at byte 3");
    assert_refused("{}", "must be a list");
    assert_refused("[7]", "[0] must be an object with name, issuer");
    char *large = repeat("[\"", "#", 20000, "\"]");
    assert_true(strlen(large) > EXTERNALS_MAX_BYTES);
    assert_refused(large, strerror(EFBIG));
    free(large);
}

// Else nobody would try to start again.
static void test_what_passes_is_no_mistake(void **state)
{
    (void)state;
    static const char good[] = "[{" NAMED "," ROLES "}]";
    static const char *const of[] = { "issuers.json: Cannot", "[0].jwks a.json: Cannot" };
    for (int n = 1; n <= 2; n++) { // the list, and the keys
        json_starved = n;
        assert_int_equal(load(good), -ENOMEM);
        assert_non_null(strstr(error, of[n - 1]));
    }
    externals_destroy(&externals);
    write_file("issuers.json", good);
    descriptors_take_all();
    int rc = externals_load("issuers.json", OWN_ISSUER, &externals, error);
    descriptors_give_back();
    assert_int_equal(rc, -EMFILE);
    assert_loads(good);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "[{" NAMED "}]", "[0].roles must be an object with claim, map, default" },
        { "[{" NAMED "," ROLES ",\"rolls\":1}]", "[0] has \"rolls\": allowed are name, issuer" },
        { "[{" NAMED "," ROLES ",\"name\":\"b\"}]", "[0] has \"name\" twice" },
        { "[{" MEMBERS "," ROLES "}]", "[0].name must be a string of 1 to 1024 characters" },
        { "[{\"name\":\"Corp\"," MEMBERS "," ROLES "}]", "[0].name must be 1 to 16 of a-z" },
        { "[{\"name\":\"a:b\"," MEMBERS "," ROLES "}]", "[0].name must be 1 to 16 of a-z" },
        { "[{\"name\":\"a23456789012345678\"," MEMBERS "," ROLES "}]", "[0].name must be 1 to 16" },
        { "[{\"name\":\"a\\u0000\"," MEMBERS "," ROLES "}]", "[0].name must be a string" },
        { "[{\"name\":\"\"," MEMBERS "," ROLES "}]", "[0].name must be a string" },
        { "[{\"name\":7," MEMBERS "," ROLES "}]", "[0].name must be a string" },
        { "[{\"name\":\"a\",\"issuer\":\"sluice\"}]", "[0].issuer is SLUICE_TOKEN_ISSUER" },
        { "[{\"name\":\"a\",\"issuer\":\"b\"}]", "[0].audience must be a string" },
        { "[{\"name\":\"a\",\"issuer\":\"b\",\"audience\":\"c\"}]", "[0].jwks must be a string" },
        { "[{" NAMED "," ROLES "},{" NAMED "," ROLES "}]",
          "[1] has the name or the issuer of [0]" },
        { "[{" NAMED "," ROLES "},{\"name\":\"b\"," MEMBERS "," ROLES "}]",
          "[1] has the name or the issuer of [0]" },
        { "[{" NAMED ",\"type\":\"jwt\"," ROLES "}]", "[0].type must be \"at+jwt\"" },
        { "[{" NAMED ",\"type\":null," ROLES "}]", "[0].type must be \"at+jwt\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_refused(cases[i][0], cases[i][1]);
    }
}

static void assert_algorithms(const char *list, const char *words)
{
    char text[512];
    (void)snprintf(text, sizeof text,
                   "[{\"name\":\"a\",\"issuer\":\"b\",\"audience\":\"c\",\"jwks\":\"a.json\","
                   "\"algorithms\":%s," ROLES "}]",
                   list);
    assert_refused(text, words);
}

static void test_algorithms(void **state)
{
    (void)state;
    assert_algorithms("null", "[0].algorithms must be a list: allowed are RS256, ES256, EdDSA");
    assert_algorithms("[]", "[0].algorithms must be a list");
    assert_algorithms("\"EdDSA\"", "[0].algorithms must be a list");
    assert_algorithms("[\"none\"]", "[0].algorithms has \"none\": allowed are RS256");
    assert_algorithms("[\"EdDSA\",\"HS256\"]", "[0].algorithms has \"HS256\"");
    assert_algorithms("[\"EdDSA\",null]", "[0].algorithms has \"null\"");
    assert_algorithms("[\"eddsa\"]", "[0].algorithms has \"eddsa\"");
    // The file has a key, but of another kind than the issuer may sign with.
    assert_algorithms("[\"RS256\",\"ES256\"]", "a.json has no key for these algorithms");
}

static void assert_key_file(const char *set, const char *words)
{
    write_file("a.json", set);
    assert_refused("[{" NAMED "," ROLES "}]", words);
}

static void test_key_files(void **state)
{
    (void)state;
    assert_key_file("", "a.json is no JWK set");
    assert_key_file("[]", "a.json is no JWK set");
    assert_key_file("{\"keys\":[]}", "a.json has no key for these algorithms");
    assert_key_file("{\"keys\":[" KEY("") "]}", "a.json: keys[0] cannot be used");
    assert_key_file("{\"keys\":[" KEY("a") "," KEY("a") "]}", "keys[1] cannot be used");
    assert_key_file("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\",\"x\":\"AA\"}]}",
                    "keys[0] cannot be used");
    char *many = repeat("{\"keys\":[", KEY("k#"), JWKS_MAX_KEYS + 1, "]}");
    assert_key_file(many, "a.json: more than 16 keys");
    free(many);
}

// --- Roles

static void assert_roles_refused(const char *roles, const char *words)
{
    struct buf text;
    buf_init(&text, 65536);
    buf_append_z(&text, "[{" NAMED ",\"roles\":");
    buf_append_z(&text, roles);
    buf_append(&text, "}]", 3);
    assert_refused(text.data, words);
    buf_fini(&text);
}

static void test_mistakes_in_roles(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{}", "roles.claim must be a path" },
        { "{\"claim\":\"r\"}", "roles.map must be an object of at most 32 roles" },
        { "{\"map\":[]}", "roles.claim must be a path" },
        { "{\"claim\":\"r\",\"map\":[]}", "roles.map must be an object" },
        { "{\"claim\":\"\",\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":\"a..b\",\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":\".a\",\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":\"a.\",\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":\"1.2.3.4.5.6.7.8.9\",\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":[],\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":[\"a\",7],\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":[\"a\",\"\"],\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":[\"a\\u0000b\"],\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":\"a\\u0000b\",\"map\":{}}", "roles.claim must be a path" },
        { "{\"claim\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"],\"map\":{}}",
          "roles.claim must be a path" },
        { "{\"claim\":\"r\",\"map\":{\"boss\":7}}", "roles.map must be a role: 1 to 32 of a-z" },
        { "{\"claim\":\"r\",\"map\":{\"boss\":\"Admin\"}}", "roles.map must be a role" },
        { "{\"claim\":\"r\",\"map\":{\"boss\":\"\"}}", "roles.map must be a role" },
        { "{\"claim\":\"r\",\"map\":{\"boss\":\"a b\"}}", "roles.map must be a role" },
        { "{\"claim\":\"r\",\"map\":{\"bo\\u0000s\":\"admin\"}}", "roles.map has a name with" },
        { "{\"claim\":\"r\",\"map\":{},\"default\":null}", "roles.default must be a role" },
        { "{\"default\":\"user\",\"more\":1}", "roles has \"more\": allowed are claim, map" },
        { "{\"default\":\"user\",\"default\":\"admin\"}", "roles has \"default\" twice" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_roles_refused(cases[i][0], cases[i][1]);
    }
    char *many =
        repeat("{\"claim\":\"r\",\"map\":{", "\"r#\":\"user\"", EXTERNALS_MAX_ROLES + 1, "}}");
    assert_roles_refused(many, "at most 32 roles");
    free(many);
}

// role NULL: none.
static void assert_role(const char *claims, const char *role)
{
    yyjson_doc *doc = yyjson_read(claims, strlen(claims), 0);
    assert_non_null(doc);
    const char *found = externals_role(&externals->issuers[0], yyjson_doc_get_root(doc));
    if (role ? !found || strcmp(found, role) != 0 : found != NULL) {
        fail_msg("%s gives %s", claims, found ? found : "no role");
    }
    yyjson_doc_free(doc);
}

static void test_roles(void **state)
{
    (void)state;
    assert_loads("[{" NAMED ",\"roles\":{\"claim\":\"realm.roles\","
                 "\"map\":{\"boss\":\"admin\",\"buyer\":\"user\"}}}]");
    assert_role("{\"realm\":{\"roles\":[\"buyer\"]}}", "user");
    assert_role("{\"realm\":{\"roles\":[\"buyer\",\"boss\"]}}", "admin"); // the map's order
    assert_role("{\"realm\":{\"roles\":\"x buyer  boss \"}}", "admin");
    assert_role("{\"realm\":{\"roles\":[7,null,{},[\"boss\"],\"buyer\"]}}", "user");
    static const char *const none[] = {
        "{}",
        "{\"realm\":null}",
        "{\"realm\":\"boss\"}",
        "{\"realm\":{\"roles\":{\"boss\":true}}}",
        "{\"realm\":{\"roles\":[]}}",
        "{\"realm\":{\"roles\":[\"bos\",\"bosss\",\"BOSS\",\"boss\\u0000\",\"\"]}}",
        "{\"realm\":{\"roles\":\"bossy,boss\"}}",
        "{\"realm.roles\":[\"boss\"]}",
        "[\"realm\",\"roles\",\"boss\"]",
    };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_role(none[i], NULL);
    }
    // Of a token no more is looked at than the limit says.
    char *late =
        repeat("{\"realm\":{\"roles\":[", "\"x#\"", EXTERNALS_MAX_CLAIM_VALUES, ",\"boss\"]}}");
    assert_role(late, NULL);
    free(late);
    char *last =
        repeat("{\"realm\":{\"roles\":[", "\"x#\"", EXTERNALS_MAX_CLAIM_VALUES - 1, ",\"boss\"]}}");
    assert_role(last, "admin");
    free(last);
}

static void test_default_role(void **state)
{
    (void)state;
    assert_loads("[{" NAMED ",\"roles\":{\"claim\":[\"https://shop/roles\"],"
                 "\"map\":{\"boss\":\"admin\"},\"default\":\"user\"}}]");
    assert_role("{\"https://shop/roles\":[\"boss\"]}", "admin");
    assert_role("{\"https://shop/roles\":[\"other\"]}", "user");
    assert_role("{}", "user");
    assert_loads("[{" NAMED "," ROLES "}]");
    assert_role("{\"roles\":[\"admin\"],\"role\":\"admin\"}", "user");
}

// --- Changes

static void test_state(void **state)
{
    (void)state;
    assert_int_equal(mkdir("set", 0700), 0);
    write_file("set/1.json", "{\"keys\":[" KEY("x") "]}");
    assert_loads("[{\"name\":\"corp\",\"issuer\":\"i\",\"audience\":\"a\",\"jwks\":\"set\","
                 "\"algorithms\":[\"EdDSA\"]," ROLES "}]");
    uint64_t before = externals_state("issuers.json", externals);
    assert_true(before == externals->state);
    write_file("set/notes.txt", "of no interest");
    assert_true(externals_state("issuers.json", externals) == before);
    write_file("set/2.json", "{\"keys\":[" KEY("y") "]}");
    uint64_t added = externals_state("issuers.json", externals);
    assert_true(added != before);
    assert_int_equal(unlink("set/2.json"), 0);
    assert_true(externals_state("issuers.json", externals) == before);
    // Another file of the same length in its place.
    write_file("set/next", "{\"keys\":[" KEY("z") "]}");
    assert_int_equal(rename("set/next", "set/1.json"), 0);
    assert_true(externals_state("issuers.json", externals) != before);
    assert_int_equal(unlink("set/1.json"), 0);
    assert_int_equal(unlink("set/notes.txt"), 0);
    assert_int_equal(rmdir("set"), 0);
    uint64_t gone = externals_state("issuers.json", externals);
    assert_true(gone != before && gone != added);
    assert_int_equal(unlink("issuers.json"), 0);
    assert_true(externals_state("issuers.json", externals) != gone);
    assert_int_equal(externals_count_keys(externals), 1); // what was read stays as it was
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_members),       CASE(test_several),
        CASE(test_paths_of_keys), CASE(test_document),
        CASE(test_mistakes),      CASE(test_algorithms),
        CASE(test_key_files),     CASE(test_mistakes_in_roles),
        CASE(test_roles),         CASE(test_default_role),
        CASE(test_state),         CASE(test_what_passes_is_no_mistake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
