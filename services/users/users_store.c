// SPDX-License-Identifier: MIT
// The SQL of the users service.
#include "services/users/users_store.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

// To change the schema: add a script at the end. What is here has run on stores that exist.
const char *const users_migrations[] = {
    "CREATE TABLE users (\n"
    "  id TEXT PRIMARY KEY CHECK (length(id) = 36),\n"
    "  email TEXT NOT NULL COLLATE NOCASE UNIQUE CHECK (length(email) <= 254),\n"
    "  name TEXT NOT NULL CHECK (length(name) <= 100),\n"
    "  role TEXT NOT NULL CHECK (role IN ('user', 'admin')),\n"
    "  password TEXT NOT NULL CHECK (length(password) BETWEEN 1 AND 127),\n" // argon2id, PHC form
    "  version INTEGER NOT NULL CHECK (version > 0),\n"
    "  created_ms INTEGER NOT NULL,\n"
    "  updated_ms INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX users_admins ON users (id) WHERE role = 'admin';\n"

    // One row for each session, not for each refresh token: a token's first half finds the row, and
    // its second half must be the one that was given out last. So a used token is known for what it
    // is without being kept.
    "CREATE TABLE sessions (\n"
    "  id TEXT PRIMARY KEY CHECK (length(id) = 36),\n"
    "  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,\n"
    "  family BLOB NOT NULL UNIQUE CHECK (length(family) = 16),\n"
    "  secret BLOB NOT NULL CHECK (length(secret) = 16),\n"
    "  generation INTEGER NOT NULL,\n"
    "  created_ms INTEGER NOT NULL,\n"
    "  expires_ms INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX sessions_user ON sessions (user_id, id);\n"
    "CREATE INDEX sessions_expiry ON sessions (expires_ms);\n"

    // One row once the first admin was made: it is not made again when somebody removes it.
    "CREATE TABLE first_admin (\n"
    "  id INTEGER PRIMARY KEY CHECK (id = 1),\n"
    "  made_ms INTEGER NOT NULL\n"
    ") STRICT;\n",

    // The key itself is nowhere. hint is its beginning, for people to tell their keys apart.
    "CREATE TABLE api_keys (\n"
    "  id TEXT PRIMARY KEY CHECK (length(id) = 36),\n"
    "  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,\n"
    "  name TEXT NOT NULL CHECK (length(name) <= 100),\n"
    "  scope TEXT NOT NULL CHECK (length(scope) BETWEEN 1 AND 400),\n"
    "  hint TEXT NOT NULL CHECK (length(hint) = 9),\n"
    "  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),\n"
    "  created_ms INTEGER NOT NULL,\n"
    "  expires_ms INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX api_keys_user ON api_keys (user_id, id);\n"
    "CREATE INDEX api_keys_expiry ON api_keys (expires_ms);\n",

    // Places that an account has logged in from, as hashes.
    "CREATE TABLE login_places (\n"
    "  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,\n"
    "  place BLOB NOT NULL CHECK (length(place) = 16),\n"
    "  last_ms INTEGER NOT NULL,\n"
    "  PRIMARY KEY (user_id, place)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX login_places_age ON login_places (last_ms);\n",
};
const size_t users_n_migrations = sizeof users_migrations / sizeof *users_migrations;

// Copies a column into out. What does not fit was not written by this program: -EUCLEAN.
static int copy_text(const struct db_rows *rows, int column, char *out, size_t size)
{
    struct str s = db_str(rows, column);
    if (!s.p || s.n >= size) {
        return -EUCLEAN;
    }
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return 0;
}

static int copy_hash(const struct db_rows *rows, int column, uint8_t out[SESSION_HASH_BYTES])
{
    struct str s = db_str(rows, column);
    if (s.n != SESSION_HASH_BYTES) {
        return -EUCLEAN;
    }
    memcpy(out, s.p, s.n);
    return 0;
}

static struct str hash_str(const uint8_t hash[SESSION_HASH_BYTES])
{
    return (struct str){ (const char *)hash, SESSION_HASH_BYTES };
}

// Takes what a query for at most one row returned, and passes it on.
static int only_row(int r, struct db_rows *rows)
{
    if (r > 0) {
        db_rows_close(rows);
    }
    return r;
}

// --- Accounts

#define ACCOUNT_COLUMNS "id, email, name, role, password, version, created_ms, updated_ms"

static int read_account(const struct db_rows *rows, struct account *a)
{
    if (copy_text(rows, 0, a->id, sizeof a->id) < 0 ||
        copy_text(rows, 1, a->email, sizeof a->email) < 0 ||
        copy_text(rows, 2, a->name, sizeof a->name) < 0 ||
        copy_text(rows, 3, a->role, sizeof a->role) < 0 ||
        copy_text(rows, 4, a->password, sizeof a->password) < 0) {
        return -EUCLEAN;
    }
    a->version = db_int(rows, 5);
    a->created_ms = db_int(rows, 6);
    a->updated_ms = db_int(rows, 7);
    return 0;
}

// Takes what db_row() returned for ACCOUNT_COLUMNS.
static int one_account(int r, struct db_rows *rows, struct account *ret_account)
{
    if (r <= 0) {
        return r;
    }
    int read = read_account(rows, ret_account);
    db_rows_close(rows);
    return read < 0 ? read : 1;
}

int account_by_id(struct db *db, struct str id, struct account *ret_account)
{
    struct db_rows rows;
    int r = db_row(db, &rows, "SELECT " ACCOUNT_COLUMNS " FROM users WHERE id = ?1", "s", id);
    return one_account(r, &rows, ret_account);
}

int account_by_email(struct db *db, struct str email, struct account *ret_account)
{
    struct db_rows rows;
    int r = db_row(db, &rows, "SELECT " ACCOUNT_COLUMNS " FROM users WHERE email = ?1", "s", email);
    return one_account(r, &rows, ret_account);
}

int accounts_list(struct db *db, struct str after_id, struct str email, int max,
                  struct account *ret_accounts)
{
    struct db_rows rows;
    int64_t limit = max;
    int r, n = 0;
    if (email.p) {
        r = db_rows_open(db, &rows,
                         "SELECT " ACCOUNT_COLUMNS " FROM users WHERE email = ?1 AND id > ?2"
                         " ORDER BY id LIMIT ?3",
                         "ssi", email, after_id, limit);
    } else {
        r = db_rows_open(db, &rows,
                         "SELECT " ACCOUNT_COLUMNS " FROM users WHERE id > ?1"
                         " ORDER BY id LIMIT ?2",
                         "si", after_id, limit);
    }
    while (r >= 0 && n < max && (r = db_rows_next(&rows)) > 0) {
        r = read_account(&rows, &ret_accounts[n]);
        n += r == 0;
    }
    db_rows_close(&rows);
    return r < 0 ? r : n;
}

int account_insert(struct db *db, const struct account *a)
{
    int r = db_run(db,
                   "INSERT INTO users (" ACCOUNT_COLUMNS ")"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                   "zzzzziii", a->id, a->email, a->name, a->role, a->password, a->version,
                   a->created_ms, a->updated_ms);
    return r < 0 ? r : 0;
}

int account_update(struct db *db, const struct account *a)
{
    int r = db_run(db,
                   "UPDATE users SET email = ?2, name = ?3, role = ?4, password = ?5, version = ?6,"
                   " updated_ms = ?7 WHERE id = ?1",
                   "zzzzzii", a->id, a->email, a->name, a->role, a->password, a->version,
                   a->updated_ms);
    return r < 0 ? r : 0;
}

int account_rehash(struct db *db, struct str id, const char *hash)
{
    int r = db_run(db, "UPDATE users SET password = ?2 WHERE id = ?1", "sz", id, hash);
    return r < 0 ? r : 0;
}

int account_delete(struct db *db, struct str id)
{
    return db_run(db, "DELETE FROM users WHERE id = ?1", "s", id);
}

int account_other_admin(struct db *db, struct str id)
{
    struct db_rows rows;
    int r =
        db_row(db, &rows, "SELECT 1 FROM users WHERE role = 'admin' AND id <> ?1 LIMIT 1", "s", id);
    return only_row(r, &rows);
}

int first_admin_made(struct db *db)
{
    struct db_rows rows;
    int r = db_row(db, &rows, "SELECT 1 FROM first_admin", "");
    return only_row(r, &rows);
}

int first_admin_note(struct db *db, int64_t now_ms)
{
    int r = db_run(db, "INSERT INTO first_admin (id, made_ms) VALUES (1, ?1)", "i", now_ms);
    return r < 0 ? r : 0;
}

// --- Sessions

#define SESSION_COLUMNS "id, user_id, family, secret, generation, created_ms, expires_ms"

int session_insert(struct db *db, const struct session_record *s)
{
    int r = db_run(db,
                   "INSERT INTO sessions (" SESSION_COLUMNS ")"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                   "zzbbiii", s->id, s->user_id, hash_str(s->family), hash_str(s->secret),
                   s->generation, s->created_ms, s->expires_ms);
    return r < 0 ? r : 0;
}

static int read_session(const struct db_rows *rows, struct session_record *s)
{
    if (copy_text(rows, 0, s->id, sizeof s->id) < 0 ||
        copy_text(rows, 1, s->user_id, sizeof s->user_id) < 0 ||
        copy_hash(rows, 2, s->family) < 0 || copy_hash(rows, 3, s->secret) < 0) {
        return -EUCLEAN;
    }
    s->generation = db_int(rows, 4);
    s->created_ms = db_int(rows, 5);
    s->expires_ms = db_int(rows, 6);
    return 1;
}

int session_by_family(struct db *db, const uint8_t family[SESSION_HASH_BYTES],
                      struct session_record *ret_session)
{
    struct db_rows rows;
    int r = db_row(db, &rows, "SELECT " SESSION_COLUMNS " FROM sessions WHERE family = ?1", "b",
                   hash_str(family));
    if (r > 0) {
        r = read_session(&rows, ret_session);
        db_rows_close(&rows);
    }
    return r;
}

int session_rotate(struct db *db, const struct session_record *s)
{
    int r = db_run(
        db, "UPDATE sessions SET secret = ?2, generation = ?3, expires_ms = ?4 WHERE id = ?1",
        "zbii", s->id, hash_str(s->secret), s->generation, s->expires_ms);
    return r < 0 ? r : 0;
}

int session_delete(struct db *db, struct str id, struct str user_id)
{
    return db_run(db, "DELETE FROM sessions WHERE id = ?1 AND user_id = ?2", "ss", id, user_id);
}

// Takes what db_rows_open() returned for a statement that gives ids.
static int collect_ids(int r, struct db_rows *rows,
                       char ret_ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1])
{
    int n = 0;
    while (r >= 0 && (r = db_rows_next(rows)) > 0) {
        r = n < SESSIONS_PER_ACCOUNT ? copy_text(rows, 0, ret_ids[n], UUID_TEXT + 1) : -EUCLEAN;
        n += r == 0;
    }
    db_rows_close(rows);
    return r < 0 ? r : n;
}

int sessions_delete_others(struct db *db, struct str user_id, struct str keep_id,
                           char ret_ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1])
{
    struct db_rows rows;
    struct str keep = keep_id.p ? keep_id : STR("");
    int r =
        db_rows_open(db, &rows, "DELETE FROM sessions WHERE user_id = ?1 AND id <> ?2 RETURNING id",
                     "ss", user_id, keep);
    return collect_ids(r, &rows, ret_ids);
}

int sessions_delete_excess(struct db *db, struct str user_id,
                           char ret_ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1])
{
    struct db_rows rows;
    int r =
        db_rows_open(db, &rows,
                     "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = ?1"
                     " ORDER BY id DESC LIMIT -1 OFFSET ?2) RETURNING id",
                     "si", user_id, (int64_t)SESSIONS_PER_ACCOUNT);
    return collect_ids(r, &rows, ret_ids);
}

int sessions_delete_expired(struct db *db, int64_t now_ms, int max)
{
    return db_run(db,
                  "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_ms < ?1"
                  " ORDER BY expires_ms LIMIT ?2)",
                  "ii", now_ms, (int64_t)max);
}

int session_exists(struct db *db, struct str id, struct str user_id)
{
    struct db_rows rows;
    int r = db_row(db, &rows, "SELECT 1 FROM sessions WHERE id = ?1 AND user_id = ?2", "ss", id,
                   user_id);
    return only_row(r, &rows);
}

// --- API keys

#define API_KEY_COLUMNS "k.id, k.user_id, k.name, k.scope, k.hint, k.created_ms, k.expires_ms"

int api_key_insert(struct db *db, const struct api_key_record *k)
{
    struct str hash = { (const char *)k->hash, sizeof k->hash };
    int r = db_run(db,
                   "INSERT INTO api_keys"
                   " (id, user_id, name, scope, hint, hash, created_ms, expires_ms)"
                   " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"
                   " WHERE (SELECT count(*) FROM api_keys WHERE user_id = ?2) < ?9",
                   "zzzzzbiii", k->id, k->user_id, k->name, k->scope, k->hint, hash, k->created_ms,
                   k->expires_ms, (int64_t)API_KEYS_PER_ACCOUNT);
    return r < 0 ? r : r == 1 ? 0 : -ENOSPC;
}

static int read_api_key(const struct db_rows *rows, struct api_key_record *k)
{
    if (copy_text(rows, 0, k->id, sizeof k->id) < 0 ||
        copy_text(rows, 1, k->user_id, sizeof k->user_id) < 0 ||
        copy_text(rows, 2, k->name, sizeof k->name) < 0 ||
        copy_text(rows, 3, k->scope, sizeof k->scope) < 0 ||
        copy_text(rows, 4, k->hint, sizeof k->hint) < 0) {
        return -EUCLEAN;
    }
    k->created_ms = db_int(rows, 5);
    k->expires_ms = db_int(rows, 6);
    return 1;
}

int api_key_by_hash(struct db *db, const uint8_t hash[API_KEY_HASH_BYTES],
                    struct api_key_record *ret_key, char ret_role[8])
{
    struct db_rows rows;
    int r = db_row(db, &rows,
                   "SELECT " API_KEY_COLUMNS ", u.role FROM api_keys k"
                   " JOIN users u ON u.id = k.user_id WHERE k.hash = ?1",
                   "b", (struct str){ (const char *)hash, API_KEY_HASH_BYTES });
    if (r > 0) {
        r = read_api_key(&rows, ret_key);
        r = r > 0 && copy_text(&rows, 7, ret_role, 8) < 0 ? -EUCLEAN : r;
        memcpy(ret_key->hash, hash, API_KEY_HASH_BYTES);
        db_rows_close(&rows);
    }
    return r;
}

int api_keys_list(struct db *db, struct str user_id,
                  struct api_key_record ret_keys[API_KEYS_PER_ACCOUNT])
{
    struct db_rows rows;
    int n = 0;
    int r = db_rows_open(
        db, &rows, "SELECT " API_KEY_COLUMNS " FROM api_keys k WHERE k.user_id = ?1 ORDER BY k.id",
        "s", user_id);
    while (r >= 0 && n < API_KEYS_PER_ACCOUNT && (r = db_rows_next(&rows)) > 0) {
        r = read_api_key(&rows, &ret_keys[n]);
        n += r > 0;
    }
    db_rows_close(&rows);
    return r < 0 ? r : n;
}

int api_key_exists(struct db *db, struct str id, struct str user_id)
{
    struct db_rows rows;
    int r = db_row(db, &rows, "SELECT 1 FROM api_keys WHERE id = ?1 AND user_id = ?2", "ss", id,
                   user_id);
    return only_row(r, &rows);
}

int api_key_delete(struct db *db, struct str id, struct str user_id)
{
    return db_run(db, "DELETE FROM api_keys WHERE id = ?1 AND user_id = ?2", "ss", id, user_id);
}

int api_keys_delete_expired(struct db *db, int64_t now_ms, int max)
{
    return db_run(db,
                  "DELETE FROM api_keys WHERE id IN (SELECT id FROM api_keys WHERE expires_ms < ?1"
                  " ORDER BY expires_ms LIMIT ?2)",
                  "ii", now_ms, (int64_t)max);
}

// --- Places

// The hash of a place and its account: from the store alone nobody reads who shares a place.
static void hash_place(struct str user_id, const uint8_t place[PLACE_BYTES],
                       uint8_t ret_hash[PLACE_BYTES])
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, PLACE_BYTES); // these cannot fail
    (void)crypto_generichash_update(&state, (const uint8_t *)user_id.p, user_id.n);
    (void)crypto_generichash_update(&state, place, PLACE_BYTES);
    (void)crypto_generichash_final(&state, ret_hash, PLACE_BYTES);
}

int login_place_known(struct db *db, struct str user_id, const uint8_t place[PLACE_BYTES])
{
    struct db_rows rows;
    uint8_t hash[PLACE_BYTES];
    hash_place(user_id, place, hash);
    int r = db_row(db, &rows, "SELECT 1 FROM login_places WHERE user_id = ?1 AND place = ?2", "sb",
                   user_id, (struct str){ (const char *)hash, sizeof hash });
    return only_row(r, &rows);
}

int login_place_note(struct db *db, struct str user_id, const uint8_t place[PLACE_BYTES],
                     int64_t now_ms)
{
    uint8_t hash[PLACE_BYTES];
    hash_place(user_id, place, hash);
    int r = db_run(db,
                   "INSERT INTO login_places (user_id, place, last_ms) VALUES (?1, ?2, ?3)"
                   " ON CONFLICT DO UPDATE SET last_ms = excluded.last_ms",
                   "sbi", user_id, (struct str){ (const char *)hash, sizeof hash }, now_ms);
    if (r >= 0) {
        r = db_run(db,
                   "DELETE FROM login_places WHERE user_id = ?1 AND place IN (SELECT place FROM"
                   " login_places WHERE user_id = ?1 ORDER BY last_ms DESC LIMIT -1 OFFSET ?2)",
                   "si", user_id, (int64_t)PLACES_PER_ACCOUNT);
    }
    return r < 0 ? r : 0;
}

int login_places_expire(struct db *db, int64_t before_ms, int max)
{
    return db_run(db,
                  "DELETE FROM login_places WHERE (user_id, place) IN (SELECT user_id, place FROM"
                  " login_places WHERE last_ms < ?1 ORDER BY last_ms LIMIT ?2)",
                  "ii", before_ms, (int64_t)max);
}
