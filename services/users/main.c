// SPDX-License-Identifier: MIT
// sluice-users: accounts, passwords, sessions and tokens. This file is what the service is made of:
// its options, its routes and what it does at start; the worker kit (common/worker.h) does the
// rest.
#include "common/jwk.h"
#include "common/keys.h"
#include "common/process.h"
#include "common/worker.h"
#include "services/users/accounts.h"
#include "services/users/api_keys.h"
#include "services/users/first_admin.h"
#include "services/users/hasher.h"
#include "services/users/key_rotation.h"
#include "services/users/sessions.h"
#include "services/users/signing.h"
#include "services/users/throttle.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

// --- Options

#define SECRET_MAX_BYTES JWK_MAX_BYTES // of one secret; the longest is a key

struct users_config {
    char *token_key;
    char *issuer;
    char *audience;
    int64_t token_ttl_ms;
    int64_t token_key_age_ms;
    int64_t rotate_wait_ms;
    int64_t refresh_ttl_ms;
    int64_t refresh_idle_ms;
    char *admin_password;
    int64_t signups;
};

// Tables, laid out as they read best.
// clang-format off
#define OPTION(name_, kind_, member_, ...) \
    { .name = name_, .kind = kind_, .offset = offsetof(struct users_config, member_), __VA_ARGS__ }
#define MINUTE_MS INT64_C(60000)
#define DAY_MS (24 * 60 * MINUTE_MS)

static const struct config_option options[] = {
    OPTION("SLUICE_TOKEN_KEY", CONFIG_SECRET, token_key, .max = SECRET_MAX_BYTES,
           .help = "private JWK that signs access tokens; else secrets/signing/token.key"),
    OPTION("SLUICE_TOKEN_ISSUER", CONFIG_STRING, issuer,
           .fallback = "sluice", .min = 1, .max = TOKEN_MAX_NAME,
           .help = "`iss` of access tokens; the gateway must expect the same"),
    OPTION("SLUICE_TOKEN_AUDIENCE", CONFIG_STRING, audience,
           .fallback = "sluice", .min = 1, .max = TOKEN_MAX_NAME,
           .help = "`aud` of access tokens; the gateway must expect the same"),
    OPTION("SLUICE_TOKEN_TTL", CONFIG_DURATION, token_ttl_ms,
           .fallback = "15m", .min = 1000, .max = DAY_MS,
           .help = "how long an access token is good"),
    OPTION("SLUICE_TOKEN_KEY_AGE", CONFIG_DURATION, token_key_age_ms,
           .fallback = "90d", .min = 0, .max = 3650 * DAY_MS,
           .help = "the key in secrets/signing/token.key is replaced by a new one at this age; 0s: never"),
    OPTION("SLUICE_TOKEN_ROTATE_WAIT", CONFIG_DURATION, rotate_wait_ms,
           .fallback = "5s", .min = 0, .max = DAY_MS,
           .help = "how long `rotate-key` leaves a new key public before it signs"),
    OPTION("SLUICE_REFRESH_TTL", CONFIG_DURATION, refresh_ttl_ms,
           .fallback = "30d", .min = 1000, .max = 3650 * DAY_MS,
           .help = "how long a session lasts, however often it is refreshed"),
    OPTION("SLUICE_REFRESH_IDLE_TTL", CONFIG_DURATION, refresh_idle_ms,
           .fallback = "14d", .min = 1000, .max = 3650 * DAY_MS,
           .help = "how long a session lasts that is not refreshed"),
    OPTION("SLUICE_ADMIN_PASSWORD", CONFIG_SECRET, admin_password,
           .help = "first password of " FIRST_ADMIN_EMAIL "; else secrets/admin-password"),
    OPTION("SLUICE_SIGNUPS_PER_ADDRESS", CONFIG_INTEGER, signups,
           .fallback = "1000", .min = 0, .max = 1000000,
           .help = "accounts that one client address may make in an hour; 0: any number"),
    CONFIG_END,
};

// --- Routes

static const struct query_param list_query[] = {
    { .name = "email", .kind = QUERY_STRING, .min = 1, .max = 1016, // 254 characters
      .description = "Only the account with this email address, in any case" },
    { .name = "limit", .kind = QUERY_INTEGER, .min = 1, .max = 100, .fallback = "20",
      .description = "Items on a page" },
    { .name = "cursor", .kind = QUERY_STRING, .min = 1, .max = 512,
      .description = "next_cursor of the page before" },
    { .name = NULL },
};

static const struct route routes[] = {
    { .method = "POST", .pattern = "/v1/users", .operation = "createUser", .tag = "users",
      .summary = "Make an account",
      .auth = FRAME_AUTH_NONE, .body = FRAME_BODY_JSON,
      .sensitive = true, .request = &user_create_message, .reply = &user_message, .success = 201,
      .problems = PROBLEMS(PROBLEM_EMAIL_TAKEN, PROBLEM_TOO_MANY_REQUESTS),
      .read = on_user_create_read, .compute = on_user_create_compute,
      .write = on_user_create_write, .end = on_user_create_end },

    { .method = "GET", .pattern = "/v1/users", .operation = "listUsers", .tag = "users",
      .summary = "List accounts by age (admins)",
      .auth = FRAME_AUTH_REQUIRED, .query = list_query, .reply = &user_list_message, .success = 200,
      .problems = PROBLEMS(PROBLEM_FORBIDDEN, PROBLEM_INVALID_CURSOR),
      .read = on_user_list },

    { .method = "GET", .pattern = "/v1/users/me", .operation = "getMe", .tag = "users",
      .summary = "Read one's own account",
      .auth = FRAME_AUTH_REQUIRED, .reply = &user_message, .success = 200,
      .problems = PROBLEMS(PROBLEM_NOT_FOUND),
      .read = on_user_me },

    { .method = "GET", .pattern = "/v1/users/{id}", .operation = "getUser", .tag = "users",
      .summary = "Read an account (its user, admins)",
      .auth = FRAME_AUTH_REQUIRED, .reply = &user_message, .success = 200,
      .problems = PROBLEMS(PROBLEM_NOT_FOUND),
      .read = on_user_get },

    { .method = "PATCH", .pattern = "/v1/users/{id}", .operation = "updateUser", .tag = "users",
      .summary = "Change an account (its user, admins)",
      .auth = FRAME_AUTH_REQUIRED, .body = FRAME_BODY_MERGE_PATCH, .if_match = true,
      .sensitive = true, .request = &user_patch_message, .reply = &user_message, .success = 200,
      .problems = PROBLEMS(PROBLEM_FORBIDDEN, PROBLEM_NOT_FOUND, PROBLEM_EMAIL_TAKEN,
                           PROBLEM_LAST_ADMIN, PROBLEM_TOO_MANY_REQUESTS),
      .read = on_user_patch_read, .compute = on_user_patch_compute, .write = on_user_patch_write,
      .end = on_user_patch_end },

    { .method = "DELETE", .pattern = "/v1/users/{id}", .operation = "deleteUser", .tag = "users",
      .summary = "Remove an account with its personal data (its user, admins)",
      .auth = FRAME_AUTH_REQUIRED, .if_match = true, .success = 204,
      .problems = PROBLEMS(PROBLEM_NOT_FOUND, PROBLEM_LAST_ADMIN),
      .read = on_user_delete_read, .write = on_user_delete_write },

    { .method = "POST", .pattern = "/v1/sessions", .operation = "createSession", .tag = "sessions",
      .summary = "Log in",
      .auth = FRAME_AUTH_NONE, .body = FRAME_BODY_JSON,
      .sensitive = true, .request = &session_create_message, .reply = &session_message, .success = 201,
      .problems = PROBLEMS(PROBLEM_INVALID_CREDENTIALS, PROBLEM_TOO_MANY_REQUESTS),
      .read = on_session_create_read, .compute = on_session_create_compute,
      .write = on_session_create_write, .end = on_session_create_end },

    { .method = "POST", .pattern = "/v1/sessions/refresh", .operation = "refreshSession",
      .tag = "sessions", .summary = "Exchange a refresh token for a new pair of tokens",
      .auth = FRAME_AUTH_NONE, .body = FRAME_BODY_JSON,
      .sensitive = true, .request = &session_refresh_message, .reply = &session_message, .success = 201,
      .problems = PROBLEMS(PROBLEM_INVALID_REFRESH_TOKEN),
      .read = on_session_refresh_read, .write = on_session_refresh_write },

    { .method = "DELETE", .pattern = "/v1/sessions/current", .operation = "deleteCurrentSession",
      .tag = "sessions", .summary = "Log out",
      .auth = FRAME_AUTH_REQUIRED, .success = 204, .problems = PROBLEMS(PROBLEM_FORBIDDEN),
      .write = on_session_delete_write },

    { .method = "POST", .pattern = "/v1/api-keys", .operation = "createApiKey", .tag = "api-keys",
      .summary = "Make an API key for a machine; it is shown this once",
      .auth = FRAME_AUTH_REQUIRED, .body = FRAME_BODY_JSON, .sensitive = true,
      .request = &api_key_create_message, .reply = &api_key_message, .success = 201,
      .problems = PROBLEMS(PROBLEM_FORBIDDEN, PROBLEM_TOO_MANY_API_KEYS),
      .read = on_api_key_create_read, .write = on_api_key_create_write },

    { .method = "GET", .pattern = "/v1/api-keys", .operation = "listApiKeys", .tag = "api-keys",
      .summary = "List one's own API keys",
      .auth = FRAME_AUTH_REQUIRED, .reply = &api_key_list_message, .success = 200,
      .read = on_api_key_list },

    { .method = "DELETE", .pattern = "/v1/api-keys/{id}", .operation = "deleteApiKey",
      .tag = "api-keys", .summary = "Revoke one of one's own API keys",
      .auth = FRAME_AUTH_REQUIRED, .success = 204,
      .problems = PROBLEMS(PROBLEM_NOT_FOUND),
      .write = on_api_key_delete_write },

    { .method = "POST", .pattern = "/internal/api-keys/check", .operation = "checkApiKey",
      .tag = "api-keys", .summary = "What an API key may do",
      .auth = FRAME_AUTH_NONE, .body = FRAME_BODY_JSON, .internal = true,
      .request = &api_key_check_message, .reply = &api_key_owner_message, .success = 200,
      .problems = PROBLEMS(PROBLEM_NOT_FOUND),
      .read = on_api_key_check },
};

// clang-format on

static const struct process_right rights[] = {
    { "secrets", SANDBOX_LIST },          // it is locked while keys are rotated
    { "secrets/signing", SANDBOX_WRITE }, // each new key is put there by a rename
    { "secrets/public", SANDBOX_WRITE },  { "secrets/admin-password", SANDBOX_READ }, { NULL, 0 },
};

static const struct periodic periodics[] = {
    { .name = "expire-sessions", .every_ms = MINUTE_MS, .run = on_sessions_expire },
    { .name = "expire-api-keys", .every_ms = MINUTE_MS, .run = on_api_keys_expire },
    { .name = "rotate-token-key", .every_ms = MINUTE_MS, .run = on_key_rotation },
};

// --- Starting

// A secret from the environment, or else from its file; buf_fini() overwrites it. -ENOENT: neither is
// there.
static int read_secret(const char *given, const char *home, const char *name, struct buf *secret,
                       char error[CONFIG_ERROR_SIZE])
{
    buf_init(secret, SECRET_MAX_BYTES);
    secret->wipes = true;
    if (!given) {
        return keys_read(home, name, SECRET_MAX_BYTES, secret, error);
    }
    buf_append_z(secret, given);
    return buf_error(secret);
}

static int open_tokens(const struct users_config *config, const char *home,
                       char error[CONFIG_ERROR_SIZE])
{
    struct signing_options signing = { config->token_key, home, config->issuer, config->audience,
                                       config->token_ttl_ms };
    struct sessions_options sessions = { config->refresh_ttl_ms, config->refresh_idle_ms };
    int r = signing_open(&signing, error);
    if (r == 0) {
        sessions_open(&sessions);
        key_rotation_open(config->token_key ? NULL : home, config->token_key_age_ms);
    }
    return r;
}

static bool has_store(const char *home)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/db/users/users.db", home);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

static int open_first_admin(const struct users_config *config, const char *home,
                            char error[CONFIG_ERROR_SIZE])
{
    struct buf password;
    int r = read_secret(config->admin_password, home, "admin-password", &password, error);
    // Without a store the account has to be made; else on_first_admin() knows whether it has.
    bool is_new = !has_store(home);
    if (r == 0 || (r == -ENOENT && !is_new)) {
        r = first_admin_open(buf_str(&password), config->admin_password ? NULL : home, is_new,
                             error);
    }
    buf_fini(&password);
    return r;
}

// What came in variables was taken in, or has no use: nothing of it stays in memory as it came.
static void forget_given(struct users_config *config)
{
    char *given[] = { config->token_key, config->admin_password };
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (given[i]) {
            explicit_bzero(given[i], strlen(given[i]));
        }
    }
}

static int on_open(void *data, const char *home, char error[CONFIG_ERROR_SIZE])
{
    struct users_config *config = data;
    hasher_open();
    int r = password_open();
    if (r < 0) {
        (void)snprintf(error, CONFIG_ERROR_SIZE, "cannot hash a password: %s", strerror(-r));
        return r;
    }
    throttle_open(config->signups);
    r = open_first_admin(config, home, error);
    r = r < 0 ? r : open_tokens(config, home, error);
    forget_given(config);
    return r;
}

static void on_close(void)
{
    throttle_close();
    key_rotation_close();
    signing_close();
    first_admin_close();
    hasher_close();
}

// --- Commands

static int on_rotate_key(const struct process_config *common, void *data)
{
    const struct users_config *config = data;
    if (config->token_key) {
        (void)fprintf(stderr, "sluice-users: rotate-key: the key comes from SLUICE_TOKEN_KEY, not "
                              "from secrets/signing/token.key: change it where it is set\n");
        return EXIT_CONFIG;
    }
    return key_rotation_run(common->home, config->rotate_wait_ms);
}

static const struct process_command commands[] = {
    { .name = "rotate-key",
      .help = "make a new key sign access tokens, without a failed request",
      .needs_home = true,
      .run = on_rotate_key },
    { .name = NULL },
};

int main(int argc, char **argv)
{
    const struct service users = {
        .name = "users",
        .summary = "accounts, passwords, sessions and tokens",
        .routes = routes,
        .n_routes = sizeof routes / sizeof *routes,
        .migrations = users_migrations,
        .n_migrations = users_n_migrations,
        .events = users_events,
        .n_events = USERS_EVENT_COUNT,
        .periodics = periodics,
        .n_periodics = sizeof periodics / sizeof *periodics,
        .options = options,
        .config_bytes = sizeof(struct users_config),
        .on_open = on_open,
        .on_writer = on_first_admin,
        .on_close = on_close,
        .companion = &hasher_companion,
        .commands = commands,
        .rights = rights,
    };
    return worker_main(&users, argc, argv);
}
