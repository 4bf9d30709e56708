// SPDX-License-Identifier: MIT
#include "gateway/externals.h"

#include "common/file.h"
#include "common/json_error.h"
#include "common/json_text.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <yyjson.h>

// What is being read: where to say that a mistake is.
struct place {
    const char *file;
    size_t index; // of the issuer; SIZE_MAX: the file as a whole
    char *error;
};

__attribute__((format(printf, 3, 4))) static int wrong(const struct place *p, const char *member,
                                                       const char *format, ...)
{
    char what[300], where[64] = "";
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (p->index != SIZE_MAX) {
        (void)snprintf(where, sizeof where, "[%zu]%s%s ", p->index, member[0] ? "." : "", member);
    }
    (void)snprintf(p->error, EXTERNALS_ERROR_SIZE, "%.150s: %s%.290s", p->file, where, what);
    return -EBADMSG;
}

// --- Files

// A path of the file, relative to the directory of the configuration.
static int resolve(const char *file, const char *name, char out[PATH_MAX])
{
    const char *slash = strrchr(file, '/');
    int n = name[0] == '/' || !slash
                ? snprintf(out, PATH_MAX, "%s", name)
                : snprintf(out, PATH_MAX, "%.*s/%s", (int)(slash - file), file, name);
    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int is_set(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 5 && entry->d_name[0] != '.' && strcmp(entry->d_name + n - 5, ".json") == 0;
}

// Calls visit for the file, or for each *.json of the directory, in the order of their names.
static int each_set(const char *path, int (*visit)(const char *path, void *data), void *data)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        return -errno;
    }
    if (!S_ISDIR(st.st_mode)) {
        return visit(path, data);
    }
    struct dirent **entries;
    int n = scandir(path, &entries, is_set, alphasort), rc = n < 0 ? -errno : 0;
    rc = n > EXTERNALS_MAX_JWKS_FILES ? -E2BIG : rc;
    for (int i = 0; i < n; i++) {
        char one[PATH_MAX];
        int length = snprintf(one, sizeof one, "%s/%s", path, entries[i]->d_name);
        rc = rc ? rc : length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : visit(one, data);
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
    return rc;
}

// FNV-1a: only tells states of the same few files apart.
static void mix(uint64_t *state, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *state = (*state ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
    }
}

static int mix_file(const char *path, void *data)
{
    struct stat st = { 0 };
    int rc = stat(path, &st) < 0 ? errno : 0;
    int64_t what[] = { rc,         (int64_t)st.st_dev, (int64_t)st.st_ino,
                       st.st_size, st.st_mtim.tv_sec,  st.st_mtim.tv_nsec };
    mix(data, what, sizeof what);
    return 0;
}

uint64_t externals_state(const char *path, const struct externals *e)
{
    uint64_t state = UINT64_C(0xcbf29ce484222325);
    (void)mix_file(path, &state);
    for (size_t i = 0; e && i < e->n; i++) {
        char set[PATH_MAX];
        int rc = resolve(path, e->issuers[i].jwks, set);
        rc = rc ? rc : each_set(set, mix_file, &state);
        mix(&state, &rc, sizeof rc);
    }
    return state;
}

// --- Members of an issuer

static bool is_plain(struct str s, size_t max, const char *more)
{
    if (s.n == 0 || s.n > max) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !(c && strchr(more, c))) {
            return false;
        }
    }
    return true;
}

// A string without NUL of at least one character.
static int read_text(const struct place *p, yyjson_val *object, const char *name, const char **ret)
{
    struct str s = json_text(yyjson_obj_get(object, name));
    if (s.n == 0 || s.n > 1024 || memchr(s.p, '\0', s.n)) {
        return wrong(p, name, "must be a string of 1 to 1024 characters");
    }
    *ret = s.p;
    return 0;
}

// Objects have the members listed, each once.
static int check_members(const struct place *p, const char *path, yyjson_val *object,
                         const char *const *allowed, const char *list)
{
    yyjson_obj_iter iterator = yyjson_obj_iter_with(object);
    if (!yyjson_is_obj(object)) {
        return wrong(p, path, "must be an object with %s", list);
    }
    for (yyjson_val *name; (name = yyjson_obj_iter_next(&iterator));) {
        size_t i = 0;
        while (allowed[i] && !yyjson_equals_str(name, allowed[i])) {
            i++;
        }
        if (!allowed[i]) {
            return wrong(p, path, "has \"%.60s\": allowed are %s", yyjson_get_str(name), list);
        }
        // get() finds the first one of a name.
        if (yyjson_obj_get(object, allowed[i]) != yyjson_obj_iter_get_val(name)) {
            return wrong(p, path, "has \"%s\" twice", allowed[i]);
        }
    }
    return 0;
}

static int read_algorithms(const struct place *p, yyjson_val *list, unsigned *ret)
{
    static const char allowed[] = "allowed are RS256, ES256, EdDSA";
    unsigned mask = 0;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0) {
        return wrong(p, "algorithms", "must be a list: %s", allowed);
    }
    yyjson_arr_iter iterator = yyjson_arr_iter_with(list);
    for (yyjson_val *v; (v = yyjson_arr_iter_next(&iterator));) {
        enum jws_algorithm algorithm;
        if (!jws_algorithm_named(json_text(v), &algorithm)) {
            return wrong(p, "algorithms", "has \"%.40s\": %s",
                         yyjson_is_str(v) ? yyjson_get_str(v) : yyjson_get_type_desc(v), allowed);
        }
        mask |= 1u << algorithm;
    }
    *ret = mask;
    return 0;
}

static int read_type(const struct place *p, yyjson_val *type, bool *ret_plain)
{
    if (type && !yyjson_equals_str(type, "at+jwt") && !yyjson_equals_str(type, "JWT")) {
        return wrong(p, "type", "must be \"at+jwt\" (the default) or \"JWT\" (takes both)");
    }
    *ret_plain = yyjson_equals_str(type, "JWT");
    return 0;
}

static bool has_nul(yyjson_val *v)
{
    return memchr(yyjson_get_str(v), '\0', yyjson_get_len(v)) != NULL;
}

// "a.b.c", which is cut at its dots in place, or ["a", "b", "c"] for names that have dots.
static int read_claim(const struct place *p, yyjson_val *v, struct external_issuer *x)
{
    static const char allowed[] = "must be a path as \"realm_access.roles\", or a list of at most "
                                  "8 names for names with dots";
    x->n_claim = 0;
    if (yyjson_is_arr(v)) {
        yyjson_arr_iter iterator = yyjson_arr_iter_with(v);
        for (yyjson_val *name; (name = yyjson_arr_iter_next(&iterator));) {
            if (!yyjson_is_str(name) || yyjson_get_len(name) == 0 || has_nul(name) ||
                x->n_claim == EXTERNALS_MAX_PATH) {
                return wrong(p, "roles.claim", "%s", allowed);
            }
            x->claim[x->n_claim++] = yyjson_get_str(name);
        }
    } else if (yyjson_is_str(v) && !has_nul(v)) {
        char *rest = (char *)yyjson_get_str(v); // the document is ours
        for (char *name; (name = strsep(&rest, "."));) {
            if (!*name || x->n_claim == EXTERNALS_MAX_PATH) {
                return wrong(p, "roles.claim", "%s", allowed);
            }
            x->claim[x->n_claim++] = name;
        }
    }
    return x->n_claim ? 0 : wrong(p, "roles.claim", "%s", allowed);
}

static int check_role(const struct place *p, const char *member, yyjson_val *role)
{
    return is_plain(json_text(role), EXTERNALS_MAX_ROLE, "_-")
               ? 0
               : wrong(p, member, "must be a role: 1 to 32 of a-z, 0-9, _ and -");
}

static int read_roles(const struct place *p, yyjson_val *roles, struct external_issuer *x)
{
    static const char *const members[] = { "claim", "map", "default", NULL };
    yyjson_val *map = yyjson_obj_get(roles, "map"), *fallback = yyjson_obj_get(roles, "default");
    int rc = check_members(p, "roles", roles, members, "claim, map, default");
    if (rc == 0 && (map || !fallback)) {
        rc = read_claim(p, yyjson_obj_get(roles, "claim"), x);
    }
    if (rc == 0 &&
        (map ? !yyjson_is_obj(map) || yyjson_obj_size(map) > EXTERNALS_MAX_ROLES : !fallback)) {
        rc = wrong(p, "roles.map", "must be an object of at most %d roles, \"theirs\": \"ours\"",
                   EXTERNALS_MAX_ROLES);
    }
    yyjson_obj_iter iterator = yyjson_obj_iter_with(map);
    for (yyjson_val *theirs; rc == 0 && (theirs = yyjson_obj_iter_next(&iterator));) {
        yyjson_val *ours = yyjson_obj_iter_get_val(theirs);
        rc = has_nul(theirs) ? wrong(p, "roles.map", "has a name with a NUL in it")
                             : check_role(p, "roles.map", ours);
        x->roles[x->n_roles++] =
            (struct external_role){ yyjson_get_str(theirs), yyjson_get_str(ours) };
    }
    if (rc == 0 && fallback) {
        rc = check_role(p, "roles.default", fallback);
        x->fallback = yyjson_get_str(fallback);
    }
    return rc;
}

struct keys_reader {
    const struct place *place;
    struct jwks *keys;
    unsigned algorithms;
};

static int read_set(const char *path, void *data)
{
    struct keys_reader *r = data;
    struct buf content;
    size_t at = SIZE_MAX;
    buf_init(&content, JWK_SET_MAX_BYTES);
    int rc = file_read(path, JWK_SET_MAX_BYTES, &content);
    if (rc) {
        (void)wrong(r->place, "jwks", "%.200s: %s", path, strerror(-rc));
    } else {
        rc = jwks_add(r->keys, buf_str(&content), r->algorithms, &at);
        if (rc == -ENOMEM) {
            (void)wrong(r->place, "jwks", "%.200s: %s", path, strerror(ENOMEM));
        } else if (rc == -ENOSPC) {
            rc = wrong(r->place, "jwks", "%.200s: more than %d keys", path, JWKS_MAX_KEYS);
        } else if (rc && at != SIZE_MAX) {
            rc = wrong(r->place, "jwks",
                       "%.60s: keys[%zu] cannot be used: allowed are RSA of 2048 to 8192 bits, EC "
                       "on P-256 and OKP with Ed25519, each with another kid of 1 to %d bytes",
                       path, at, JWK_MAX_KID);
        } else if (rc) {
            rc = wrong(r->place, "jwks", "%.200s is no JWK set", path);
        }
    }
    buf_fini(&content);
    return rc;
}

static int read_keys(const struct place *p, struct external_issuer *x, unsigned algorithms)
{
    char path[PATH_MAX];
    struct keys_reader reader = { p, &x->keys, algorithms };
    int rc = resolve(p->file, x->jwks, path);
    p->error[0] = '\0';
    rc = rc ? rc : each_set(path, read_set, &reader);
    if (rc && !p->error[0]) {
        (void)wrong(p, "jwks", "%.200s: %s", path,
                    rc == -E2BIG ? "more than 16 files" : strerror(-rc));
    }
    return rc               ? rc
           : x->keys.n == 0 ? wrong(p, "jwks", "%.200s has no key for these algorithms", path)
                            : 0;
}

static int read_issuer(const struct place *p, yyjson_val *v, const char *own_issuer,
                       struct external_issuer *x)
{
    static const char *const members[] = { "name",       "issuer", "audience", "jwks",
                                           "algorithms", "type",   "roles",    NULL };
    unsigned algorithms = 0;
    int rc =
        check_members(p, "", v, members, "name, issuer, audience, jwks, algorithms, type, roles");
    rc = rc ? rc : read_text(p, v, "name", &x->name);
    if (rc == 0 && !is_plain(str_of(x->name), EXTERNALS_MAX_NAME, "-")) {
        rc = wrong(p, "name", "must be 1 to 16 of a-z, 0-9 and -");
    }
    rc = rc ? rc : read_text(p, v, "issuer", &x->issuer);
    if (rc == 0 && strcmp(x->issuer, own_issuer) == 0) {
        rc = wrong(p, "issuer", "is SLUICE_TOKEN_ISSUER: our own tokens are not external");
    }
    rc = rc ? rc : read_text(p, v, "audience", &x->audience);
    rc = rc ? rc : read_text(p, v, "jwks", &x->jwks);
    rc = rc ? rc : read_algorithms(p, yyjson_obj_get(v, "algorithms"), &algorithms);
    rc = rc ? rc : read_type(p, yyjson_obj_get(v, "type"), &x->plain_jwt);
    rc = rc ? rc : read_roles(p, yyjson_obj_get(v, "roles"), x);
    return rc ? rc : read_keys(p, x, algorithms);
}

// --- All of it

static int read_all(struct place *p, const char *own_issuer, struct externals *e)
{
    yyjson_val *root = yyjson_doc_get_root(e->doc);
    if (!yyjson_is_arr(root) || yyjson_arr_size(root) > EXTERNALS_MAX) {
        return wrong(p, "", "must be a list of at most %d issuers", EXTERNALS_MAX);
    }
    int rc = 0;
    yyjson_arr_iter iterator = yyjson_arr_iter_with(root);
    for (yyjson_val *v; rc == 0 && (v = yyjson_arr_iter_next(&iterator));) {
        struct external_issuer *x = &e->issuers[e->n];
        p->index = e->n++; // counted at once, so that its keys are freed
        rc = read_issuer(p, v, own_issuer, x);
        for (size_t i = 0; rc == 0 && i + 1 < e->n; i++) {
            if (strcmp(e->issuers[i].issuer, x->issuer) == 0 ||
                strcmp(e->issuers[i].name, x->name) == 0) {
                rc = wrong(p, "", "has the name or the issuer of [%zu]", i);
            }
        }
    }
    return rc;
}

static int read_document(const struct place *p, yyjson_doc **ret)
{
    struct buf content;
    yyjson_read_err why;
    buf_init(&content, EXTERNALS_MAX_BYTES);
    int rc = file_read(p->file, EXTERNALS_MAX_BYTES, &content);
    if (rc) {
        (void)wrong(p, "", "%s", strerror(-rc));
    } else {
        *ret = yyjson_read_opts(content.data, content.len, YYJSON_READ_NOFLAG, NULL, &why);
        rc = *ret ? 0 : json_errno(&why);
        if (rc == -EBADMSG) {
            (void)wrong(p, "", "no JSON at byte %zu: %s", why.pos, why.msg);
        } else if (rc) {
            (void)wrong(p, "", "%s", strerror(-rc));
        }
    }
    buf_fini(&content);
    return rc;
}

int externals_load(const char *path, const char *own_issuer, struct externals **ret_externals,
                   char error[EXTERNALS_ERROR_SIZE])
{
    struct place place = { path, SIZE_MAX, error };
    struct externals *e = calloc(1, sizeof *e);
    if (!e) {
        (void)wrong(&place, "", "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    int rc = read_document(&place, &e->doc);
    rc = rc ? rc : read_all(&place, own_issuer, e);
    if (rc) {
        externals_destroy(&e);
        return rc;
    }
    e->state = externals_state(path, e);
    *ret_externals = e;
    return 0;
}

void externals_destroy(struct externals **externals)
{
    struct externals *e = *externals;
    *externals = NULL;
    for (size_t i = 0; e && i < e->n; i++) {
        jwks_fini(&e->issuers[i].keys);
    }
    if (e) {
        yyjson_doc_free(e->doc);
        free(e);
    }
}

const struct external_issuer *externals_find(const struct externals *e, struct str issuer)
{
    for (size_t i = 0; i < e->n; i++) {
        if (str_eq(issuer, str_of(e->issuers[i].issuer))) {
            return &e->issuers[i];
        }
    }
    return NULL;
}

size_t externals_count_keys(const struct externals *e)
{
    size_t n = 0;
    for (size_t i = 0; e && i < e->n; i++) {
        n += e->issuers[i].keys.n;
    }
    return n;
}

// --- Roles

// Notes which of the map's roles are among the words of s, which `scope` has several of.
static void match(const struct external_issuer *x, struct str s, size_t *best)
{
    while (s.n > 0) {
        const char *blank = memchr(s.p, ' ', s.n);
        struct str word = { s.p, blank ? (size_t)(blank - s.p) : s.n };
        for (size_t i = 0; i < *best; i++) {
            if (str_eq(word, str_of(x->roles[i].theirs))) {
                *best = i;
            }
        }
        size_t step = word.n + (blank ? 1 : 0);
        s = (struct str){ s.p + step, s.n - step };
    }
}

const char *externals_role(const struct external_issuer *x, yyjson_val *claims)
{
    yyjson_val *v = x->n_claim ? claims : NULL;
    for (size_t i = 0; i < x->n_claim; i++) {
        v = yyjson_obj_get(v, x->claim[i]);
    }
    size_t best = x->n_roles, seen = 0;
    if (yyjson_is_str(v)) {
        match(x, json_text(v), &best);
    }
    yyjson_arr_iter iterator = yyjson_arr_iter_with(v);
    for (yyjson_val *one;
         seen++ < EXTERNALS_MAX_CLAIM_VALUES && (one = yyjson_arr_iter_next(&iterator));) {
        if (yyjson_is_str(one)) {
            match(x, json_text(one), &best);
        }
    }
    return best < x->n_roles ? x->roles[best].ours : x->fallback;
}
