// SPDX-License-Identifier: MIT
// A kept answer is a REPLY frame of PROTOCOL.md, so it is read back by the decoder that there is
// anyway.
#include "common/idempotency.h"

#include "common/call_impl.h"
#include "proto/writer.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#define EXPIRE_ROWS 1000 // in one transaction

int idempotency_parse(struct str header, struct str *ret_key)
{
    struct str key = header;
    bool quoted = key.n >= 2 && key.p[0] == '"' && key.p[key.n - 1] == '"';
    if (quoted) {
        key.p++;
        key.n -= 2;
    }
    if (key.n < 1 || key.n > IDEMPOTENCY_MAX_KEY) {
        return -EINVAL;
    }
    for (size_t i = 0; i < key.n; i++) {
        unsigned char c = (unsigned char)key.p[i];
        if (c < (quoted ? 0x20 : 0x21) || c > 0x7E || c == '"' || c == '\\') {
            return -EINVAL; // an escape has no use in a key, so none is taken apart here
        }
    }
    *ret_key = key;
    return 0;
}

static void hash_part(crypto_generichash_state *h, struct str part)
{
    uint64_t n = part.n;
    (void)crypto_generichash_update(h, (const unsigned char *)&n, sizeof n); // cannot fail
    (void)crypto_generichash_update(h, (const unsigned char *)part.p, part.n);
}

int idempotency_prepare(struct call *c)
{
    crypto_generichash_state h;
    (void)crypto_generichash_init(&h, NULL, 0, sizeof c->fingerprint); // cannot fail with this size
    hash_part(&h, str_of(c->route->operation));
    for (size_t i = 0; i < c->frame.n_params; i++) {
        hash_part(&h, c->frame.params[i]);
    }
    hash_part(&h, c->frame.body);
    (void)crypto_generichash_final(&h, c->fingerprint, sizeof c->fingerprint);
    c->scope = call_printf(c, "%.*s", STR_ARG(c->principal.id));
    return c->scope.p ? 0 : -ENOMEM;
}

// Answers with a kept reply, copied out of the row.
static int replay(struct call *c, struct str kept)
{
    struct str copy = call_copy(c, kept);
    struct reader r = reader_of(copy);
    struct frame_reply *f = call_alloc(c, sizeof *f);
    enum frame_type type;
    uint32_t fields;
    if (!copy.p || !f) {
        return -ENOMEM;
    }
    if (frame_open(&r, &type, &fields) || type != FRAME_REPLY ||
        frame_reply_decode(&r, fields, f)) {
        return -EUCLEAN;
    }
    struct buf *b = call_reply_begin(c, (int)f->status);
    buf_append_str(b, f->body);
    for (size_t i = 0; i < f->n_headers; i++) {
        c->headers[c->n_headers++] = f->headers[i];
    }
    if (c->n_headers < FRAME_MAX_HEADERS) {
        call_reply_header(c, "idempotency-replayed", "true");
    }
    return 1;
}

int idempotency_find(struct db *db, struct call *c)
{
    struct db_rows rows;
    int rc = db_row(db, &rows,
                    "SELECT fingerprint, reply FROM sluice_idempotency WHERE scope=? AND key=?",
                    "ss", c->scope, c->key);
    if (rc <= 0) {
        return rc;
    }
    struct str own = { (const char *)c->fingerprint, sizeof c->fingerprint };
    if (str_eq(db_str(&rows, 0), own)) {
        rc = replay(c, db_str(&rows, 1));
    } else {
        call_problem(c, PROBLEM_IDEMPOTENCY_KEY_REUSED, NULL);
    }
    db_rows_close(&rows);
    return rc;
}

int idempotency_keep(struct db *db, struct call *c)
{
    struct frame_reply *f = call_alloc(c, sizeof *f);
    if (!f) {
        return -ENOMEM;
    }
    f->status = (uint32_t)c->status;
    f->n_headers = c->n_headers;
    memcpy(f->headers, c->headers, c->n_headers * sizeof *c->headers);
    f->body = c->reply.len ? buf_str(&c->reply) : (struct str){ NULL, 0 };
    struct buf b;
    buf_init(&b, FRAME_MAX_BYTES);
    frame_reply_encode(&b, f);
    int rc = buf_error(&b);
    rc = rc ? rc
            : db_run(db,
                     "INSERT INTO sluice_idempotency(scope, key, fingerprint, time_ms, reply)"
                     " VALUES(?, ?, ?, ?, ?)",
                     "ssbib", c->scope, c->key,
                     (struct str){ (const char *)c->fingerprint, sizeof c->fingerprint }, c->now_ms,
                     buf_str(&b));
    buf_fini(&b);
    return rc < 0 ? rc : 0;
}

int idempotency_expire(struct db *db, int64_t now_ms)
{
    _Static_assert(EXPIRE_ROWS == 1000, "the query's limit");
    int rc = db_run(db,
                    "DELETE FROM sluice_idempotency WHERE (scope, key) IN (SELECT scope, key FROM"
                    " sluice_idempotency WHERE time_ms < ? ORDER BY time_ms LIMIT 1000)",
                    "i", now_ms - WORKER_IDEMPOTENCY_MS);
    return rc < 0 ? rc : 0;
}
