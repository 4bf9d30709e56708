// SPDX-License-Identifier: MIT
#include "deploy/key_commands.h"

#include "common/config.h"
#include "common/file.h"
#include "common/key_pairs.h"
#include "common/keys.h"
#include "common/process.h"
#include "deploy/complaint.h"

#include <czmq.h>
#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FINGERPRINT_SIZE                                                                           \
    17 // 8 bytes of the SHA-256 of the key as text, in hexadecimal digits, and the NUL
#define SECRET_FILE_BYTES 65536

const char key_commands_help[] =
    "  --home DIR           $SLUICE_HOME, else ./var\n"
    "  --json               show: as JSON\n"
    "\nCommands:\n"
    "  make [NAME...]       make the pairs that are missing: of the suite itself, and of NAME\n"
    "  rotate NAME          give NAME a new pair; its old key is accepted until it is retired\n"
    "  retire NAME          accept the old key of NAME no more; `retire client`: the key that all\n"
    "                       clients of older deployments share\n"
    "  show                 a table of all identities\n"
    "  check                exit 1 and say what to do when files are open to others or missing\n"
    "  export DIR NAME      copy what a container of NAME needs, and nothing else, to DIR\n"
    "\nA change of keys, without a failed request:\n"
    "  sluice keys rotate orders && sluice restart orders && sluice keys retire orders\n"
    "\nRunning servers see added and removed keys at the next handshake. A connection that is "
    "open\n"
    "stays open: after a key was stolen, `sluice restart gateway` and `sluice restart queue`, "
    "too.\n";

struct command {
    const char *home;
    char secrets[PATH_MAX];
    char dir[PATH_MAX]; // of the key pairs
    bool json;
};

#define say(status_, ...) complain("sluice keys", status_, __VA_ARGS__)

static int check_name(const char *name)
{
    return key_pairs_name_valid(name)
               ? EXIT_OK
               : say(EXIT_USAGE,
                     "\"%s\" is not a name: a-z, 0-9 and -, beginning with a letter, at most 32",
                     name);
}

// --- make, rotate, retire

static int make_one(const struct command *c, const char *name)
{
    int rc = key_pairs_make(c->dir, name);
    if (rc < 0) {
        return say(EXIT_FAILED, "%s in %s: %s", name, c->dir, strerror(-rc));
    }
    printf("%s: %s\n", name, rc ? "made" : "is there");
    return EXIT_OK;
}

// The pairs of the suite itself, and whatever else of its secrets is missing.
static int make_own(const struct command *c)
{
    char error[KEYS_ERROR_SIZE];
    int lock = keys_lock(c->secrets);
    if (lock < 0) {
        return say(EXIT_FAILED, "%s: %s", c->secrets, strerror(-lock));
    }
    int status = EXIT_OK;
    for (size_t i = 0; status == EXIT_OK && i < KEY_PAIRS_OWN; i++) {
        status = make_one(c, key_pairs_own[i]);
    }
    (void)close(lock); // releases it, for keys_make() takes it too
    if (status == EXIT_OK && keys_make(c->secrets, error) < 0) {
        status = say(EXIT_FAILED, "%s", error);
    }
    return status;
}

static int make_named(const struct command *c, int n, char **names)
{
    static struct key_pair pairs[KEY_PAIRS_MAX];
    for (int i = 0; i < n; i++) {
        int wrong = check_name(names[i]);
        if (wrong || strcmp(names[i], KEY_PAIRS_LEGACY) == 0) {
            return wrong ? wrong
                         : say(EXIT_USAGE, "\"" KEY_PAIRS_LEGACY
                                           "\" is the name of the key that all clients of older "
                                           "deployments share; it is no longer made");
        }
    }
    int lock = keys_lock(c->secrets);
    if (lock < 0) {
        return say(EXIT_FAILED, "%s: %s", c->secrets, strerror(-lock));
    }
    int status = EXIT_OK, known = key_pairs_list(c->dir, pairs);
    if (known > 0 && known + n > KEY_PAIRS_MAX) {
        status = say(EXIT_FAILED, "there would be more than %d identities", KEY_PAIRS_MAX);
    }
    for (int i = 0; status == EXIT_OK && i < n; i++) {
        status = make_one(c, names[i]);
    }
    (void)close(lock); // releases it
    return status;
}

static int run_rotate(const struct command *c, const char *name)
{
    int rc = key_pairs_rotate(c->dir, name);
    switch (rc) {
    case 0:
        printf("%s: has a new key; the old one is accepted until `sluice keys retire %s`.\n"
               "Next: sluice restart%s%s\n",
               name, name, strcmp(name, "tap") == 0 ? " is not needed" : " ",
               strcmp(name, "tap") == 0 ? "" : name);
        return EXIT_OK;
    case -EEXIST:
        return say(EXIT_FAILED, "%s has an old key already: `sluice keys retire %s` first", name,
                   name);
    case -ENOENT:
        return say(EXIT_FAILED, "%s has no key pair: `sluice keys make %s` makes it", name, name);
    default:
        return say(EXIT_FAILED, "%s in %s: %s", name, c->dir,
                   rc == -EBADMSG ? "the secret key file is broken" : strerror(-rc));
    }
}

static int run_retire(const struct command *c, const char *name)
{
    int rc = key_pairs_retire(c->dir, name);
    if (rc == -ENOENT) {
        return say(EXIT_FAILED, "%s has no old key", name);
    }
    if (rc) {
        return say(EXIT_FAILED, "%s in %s: %s", name, c->dir, strerror(-rc));
    }
    printf("%s: the old key is accepted no more\n", name);
    return EXIT_OK;
}

// --- show

static void fingerprint(const char *key, char out[FINGERPRINT_SIZE])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    (void)crypto_hash_sha256(hash, (const unsigned char *)key, strlen(key)); // cannot fail
    (void)sodium_bin2hex(out, FINGERPRINT_SIZE, hash, (FINGERPRINT_SIZE - 1) / 2);
}

static const char *state_of(const struct key_pair *k)
{
    return strcmp(k->name, KEY_PAIRS_LEGACY) == 0 ? "legacy"
           : !k->public_key[0]                    ? "no public key"
           : k->mode < 0                          ? "public key only"
           : strcmp(k->own_key, k->public_key)    ? "rotation cut off"
           : k->old_key[0]                        ? "old key accepted"
                                                  : "ok";
}

static void show_one(const struct command *c, const struct key_pair *k, bool first)
{
    char print[FINGERPRINT_SIZE] = "-", mode[8] = "-";
    if (k->public_key[0]) {
        fingerprint(k->public_key, print);
    }
    if (k->mode >= 0) {
        (void)snprintf(mode, sizeof mode, "%04o", (unsigned)k->mode & 07777);
    }
    if (c->json) { // names, Z85 and times need no escapes
        printf("%s\n  {\"name\": \"%s\", \"public_key\": \"%s\", \"old_key\": \"%s\", "
               "\"fingerprint\": \"%s\", \"created\": \"%s\", \"mode\": \"%s\", \"state\": \"%s\"}",
               first ? "" : ",", k->name, k->public_key, k->old_key, print, k->created, mode,
               state_of(k));
    } else {
        printf("%-12s %-40s  %-16s  %-24s  %-4s  %s\n", k->name,
               k->public_key[0] ? k->public_key : "-", print, k->created[0] ? k->created : "-",
               mode, state_of(k));
    }
}

static int run_show(const struct command *c)
{
    static struct key_pair pairs[KEY_PAIRS_MAX];
    int n = key_pairs_list(c->dir, pairs);
    if (n < 0) {
        return say(EXIT_FAILED, "%s: %s; `sluice init` makes it", c->dir, strerror(-n));
    }
    if (c->json) {
        printf("[");
    } else {
        printf("%-12s %-40s  %-16s  %-24s  %-4s  %s\n", "NAME", "PUBLIC KEY", "FINGERPRINT",
               "CREATED", "MODE", "STATE");
    }
    for (int i = 0; i < n; i++) {
        show_one(c, &pairs[i], i == 0);
    }
    if (c->json) {
        puts("\n]");
    }
    return EXIT_OK;
}

// --- check

// Prints a line and returns 1 when the path is open to others. One that is not there is fine here.
static int check_mode(const char *dir, const char *name, unsigned wanted)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s%s%s", dir, *name ? "/" : "", name);
    if (n <= 0 || (size_t)n >= sizeof path || stat(path, &st) || !(st.st_mode & 077)) {
        return 0;
    }
    printf("%s: its mode is %04o: chmod %04o %s\n", path, (unsigned)st.st_mode & 07777, wanted,
           path);
    return 1;
}

static int check_pair(const struct command *c, const struct key_pair *k)
{
    char file[KEY_PAIRS_NAME_SIZE + 16];
    (void)snprintf(file, sizeof file, "%.*s.key_secret", KEY_PAIRS_NAME_SIZE - 1, k->name);
    int wrong = check_mode(c->dir, file, 0600);
    if (strcmp(k->name, KEY_PAIRS_LEGACY) == 0) {
        puts("note: the key that all clients shared is still accepted: when every service was "
             "restarted, "
             "`sluice keys retire " KEY_PAIRS_LEGACY "`");
        return wrong;
    }
    if (k->mode < 0) {
        printf("%s: no secret key in %s: `sluice keys make %s`, unless another host has it\n",
               k->name, c->dir, k->name);
        wrong++;
    } else if (!k->own_key[0]) {
        printf("%s: %s/%s is not a key pair: remove it, then `sluice keys make %s`\n", k->name,
               c->dir, file, k->name);
        wrong++;
    } else if (!k->public_key[0]) {
        printf("%s: no public key: `sluice keys make %s` writes it again\n", k->name, k->name);
        wrong++;
    } else if (strcmp(k->own_key, k->public_key) != 0) {
        printf("%s: public and secret key are not a pair, a rotation was cut off: `sluice keys "
               "rotate %s` again\n",
               k->name, k->name);
        wrong++;
    }
    return wrong;
}

static int check_missing(const struct command *c, const struct key_pair *pairs, int n)
{
    int wrong = 0;
    for (size_t i = 0; i < KEY_PAIRS_OWN; i++) {
        int k = 0;
        while (k < n && strcmp(pairs[k].name, key_pairs_own[i]) != 0) {
            k++;
        }
        if (k == n) {
            printf("%s: no key pair in %s: `sluice keys make`\n", key_pairs_own[i], c->dir);
            wrong++;
        }
    }
    return wrong;
}

static int run_check(const struct command *c)
{
    static const char *const files[] = { "admin-password", "signing/token.key", "public/jwks.json",
                                         "cursor.key", "admin-token" };
    static struct key_pair pairs[KEY_PAIRS_MAX];
    int n = key_pairs_list(c->dir, pairs);
    if (n < 0) {
        return say(EXIT_FAILED, "%s: %s; `sluice init` makes it", c->dir, strerror(-n));
    }
    int wrong = check_mode(c->secrets, "", 0700) + check_mode(c->dir, "", 0700) +
                check_mode(c->dir, "public", 0700);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        wrong += check_mode(c->secrets, files[i], 0600);
    }
    for (int i = 0; i < n; i++) {
        wrong += check_pair(c, &pairs[i]);
    }
    wrong += check_missing(c, pairs, n);
    if (wrong == 0) {
        printf("%d identities, nothing is wrong\n", n);
    }
    return wrong ? EXIT_FAILED : EXIT_OK;
}

// --- export

// Copies a file below from to the same place below to, 0600.
static int copy(const char *from, const char *to, const char *name)
{
    char source[PATH_MAX], target[PATH_MAX];
    struct buf content;
    int n = snprintf(source, sizeof source, "%s/%s", from, name);
    int m = snprintf(target, sizeof target, "%s/%s", to, name);
    if (n <= 0 || (size_t)n >= sizeof source || m <= 0 || (size_t)m >= sizeof target) {
        return -ENAMETOOLONG;
    }
    buf_init(&content, SECRET_FILE_BYTES);
    int rc = file_read(source, SECRET_FILE_BYTES, &content);
    rc = rc ? rc : file_replace(target, buf_str(&content), 0600);
    buf_wipe(&content);
    buf_fini(&content);
    return rc;
}

static int copy_key(const struct command *c, const char *to, const char *name, const char *end)
{
    char file[KEY_PAIRS_NAME_SIZE + 32];
    (void)snprintf(file, sizeof file, "curve/public/%.*s%s.key", KEY_PAIRS_NAME_SIZE - 1, name,
                   end);
    return copy(c->secrets, to, file);
}

// A key that is there but no more here. Most that are asked for are at neither place.
static void remove_key(const struct command *c, const char *to, const char *name, const char *end)
{
    char here[PATH_MAX], there[PATH_MAX];
    int a = snprintf(here, sizeof here, "%s/public/%s%s.key", c->dir, name, end);
    int b = snprintf(there, sizeof there, "%s/curve/public/%s%s.key", to, name, end);
    if (a > 0 && (size_t)a < sizeof here && b > 0 && (size_t)b < sizeof there &&
        access(here, F_OK) && errno == ENOENT) {
        (void)unlink(there);
    }
}

// Public keys as they are now: those that were removed are removed there, too.
static int copy_public(const struct command *c, const char *to)
{
    static struct key_pair pairs[KEY_PAIRS_MAX];
    char file[PATH_MAX];
    int n = key_pairs_list(c->dir, pairs);
    int rc = n < 0 ? n : 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = pairs[i].public_key[0] ? copy_key(c, to, pairs[i].name, "") : 0;
        rc = rc == 0 && pairs[i].old_key[0] ? copy_key(c, to, pairs[i].name, ".old") : rc;
    }
    (void)snprintf(file, sizeof file, "%s/curve", to);
    n = rc ? 0 : key_pairs_list(file, pairs);
    for (int i = 0; i < n; i++) {
        remove_key(c, to, pairs[i].name, "");
        remove_key(c, to, pairs[i].name, ".old");
    }
    return rc;
}

static int make_dirs(const char *to)
{
    static const char *const below[] = { "", "/curve", "/curve/public", "/signing", "/public" };
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        int n = snprintf(path, sizeof path, "%s%s", to, below[i]);
        if (n <= 0 || (size_t)n >= sizeof path) {
            return -ENAMETOOLONG;
        }
        if (mkdir(path, 0700) && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

static int copy_secrets(const struct command *c, const char *to, const char *name)
{
    static const struct {
        const char *name; // NULL: every service
        const char *file;
    } needs[] = { { "users", "signing/token.key" },
                  { "users", "public/jwks.json" },
                  { "users", "admin-password" },
                  { "gateway", "public/jwks.json" },
                  { "gateway", "admin-token" },
                  { NULL, "cursor.key" } };
    bool service = strcmp(name, "gateway") && strcmp(name, "queue") && strcmp(name, "tap");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof needs / sizeof *needs; i++) {
        if (needs[i].name ? strcmp(needs[i].name, name) == 0 : service) {
            rc = copy(c->secrets, to, needs[i].file);
            rc = rc == -ENOENT && strcmp(needs[i].file, "admin-password") == 0 ? 0 : rc;
        }
    }
    return rc;
}

static int run_export(const struct command *c, const char *to, const char *name)
{
    char file[64];
    (void)snprintf(file, sizeof file, "curve/%s.key_secret", name);
    int rc = make_dirs(to);
    rc = rc ? rc : copy_public(c, to);
    rc = rc ? rc : copy(c->secrets, to, file);
    rc = rc ? rc : copy_secrets(c, to, name);
    return rc ? say(EXIT_FAILED, "secrets of %s from %s to %s: %s", name, c->secrets, to,
                    strerror(-rc))
              : EXIT_OK;
}

// --- Words

static int locked(const struct command *c, int (*run)(const struct command *c, const char *name),
                  const char *name)
{
    int lock = keys_lock(c->secrets);
    if (lock < 0) {
        return say(EXIT_FAILED, "%s: %s; `sluice init` makes it", c->secrets, strerror(-lock));
    }
    int status = run(c, name);
    (void)close(lock); // releases it
    return status;
}

static int expect(int n, int wanted, const char *usage)
{
    return n == wanted ? EXIT_OK : say(EXIT_USAGE, "expected: sluice keys %s", usage);
}

static int run_words(const struct command *c, int n, char **words)
{
    const char *verb = words[0];
    int status;
    if (strcmp(verb, "make") == 0) {
        return n == 1 ? make_own(c) : make_named(c, n - 1, words + 1);
    }
    if (strcmp(verb, "rotate") == 0 || strcmp(verb, "retire") == 0) {
        bool rotate = strcmp(verb, "rotate") == 0;
        status = expect(n, 2, rotate ? "rotate NAME" : "retire NAME");
        status = status ? status : check_name(words[1]);
        return status ? status : locked(c, rotate ? run_rotate : run_retire, words[1]);
    }
    if (strcmp(verb, "export") == 0) {
        status = expect(n, 3, "export DIR NAME");
        status = status ? status : check_name(words[2]);
        return status ? status : run_export(c, words[1], words[2]);
    }
    if (strcmp(verb, "show") == 0 || strcmp(verb, "check") == 0) {
        status = expect(n, 1, verb);
        return status ? status : strcmp(verb, "show") == 0 ? run_show(c) : run_check(c);
    }
    return say(EXIT_USAGE,
               "%s: no such command; there are make, rotate, retire, show, check and export", verb);
}

int key_commands(const char *home, int n_words, char **words, bool json)
{
    struct command c = { .home = home, .json = json };
    int n = snprintf(c.secrets, sizeof c.secrets, "%s/secrets", home);
    int m = snprintf(c.dir, sizeof c.dir, "%s/secrets/curve", home);
    if (n <= 0 || (size_t)n >= sizeof c.secrets || m <= 0 || (size_t)m >= sizeof c.dir) {
        return say(EXIT_FAILED, "%s: %s", home, strerror(ENAMETOOLONG));
    }
    if (n_words == 0) {
        return say(EXIT_USAGE, "name a command: make, rotate, retire, show, check or export");
    }
    zsys_handler_set(NULL); // before any other call of czmq
    return sodium_init() < 0 ? say(EXIT_FAILED, "libsodium cannot start")
                             : run_words(&c, n_words, words);
}
