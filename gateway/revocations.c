// SPDX-License-Identifier: MIT
#include "gateway/revocations.h"

#include "gateway/jwt.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#define SLOTS (2 * REVOCATIONS_PER_TABLE) // open addressing wants empty slots
#define KEY_BYTES 16

struct entry {
    uint8_t key[KEY_BYTES]; // hash of the kind and the id
    int64_t revoked_ms;     // 0: empty
};

struct revocation_table {
    size_t n;
    int64_t newest_ms;
    struct entry entries[SLOTS];
};

static void make_key(char kind, struct str id, uint8_t key[KEY_BYTES])
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, KEY_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)&kind, 1);
    crypto_generichash_update(&state, (const uint8_t *)id.p, id.n);
    crypto_generichash_final(&state, key, KEY_BYTES);
}

// The slot of a key, or the empty one where it belongs.
static struct entry *slot_of(struct revocation_table *t, const uint8_t key[KEY_BYTES])
{
    uint64_t number;
    memcpy(&number, key, sizeof number);
    size_t i = number % SLOTS;
    while (t->entries[i].revoked_ms && memcmp(t->entries[i].key, key, KEY_BYTES) != 0) {
        i = (i + 1) % SLOTS; // ends: at most half of the slots are taken
    }
    return &t->entries[i];
}

int revocations_init(struct revocations *r)
{
    *r = (struct revocations){ .newer = calloc(1, sizeof *r->newer),
                               .older = calloc(1, sizeof *r->older),
                               .epoch = 1 };
    if (!r->newer || !r->older) {
        revocations_fini(r);
        return -ENOMEM;
    }
    return 0;
}

void revocations_fini(struct revocations *r)
{
    free(r->newer);
    free(r->older);
    r->newer = r->older = NULL;
}

void revocations_refuse_before(struct revocations *r, int64_t time_ms)
{
    r->floor_ms = time_ms > r->floor_ms ? time_ms : r->floor_ms;
    r->epoch++;
}

static void make_room(struct revocations *r)
{
    struct revocation_table *t = r->older;
    revocations_refuse_before(r, t->newest_ms);
    memset(t, 0, sizeof *t);
    r->older = r->newer;
    r->newer = t;
}

void revocations_add(struct revocations *r, struct str user_id, struct str sid, int64_t revoked_ms)
{
    uint8_t key[KEY_BYTES];
    make_key(sid.n ? 's' : 'u', sid.n ? sid : user_id, key);
    if (r->newer->n == REVOCATIONS_PER_TABLE) {
        make_room(r);
    }
    revoked_ms = revoked_ms > 0 ? revoked_ms : 1;
    struct entry *e = slot_of(r->newer, key);
    r->newer->n += e->revoked_ms == 0;
    memcpy(e->key, key, KEY_BYTES);
    e->revoked_ms = revoked_ms > e->revoked_ms ? revoked_ms : e->revoked_ms;
    r->newer->newest_ms = revoked_ms > r->newer->newest_ms ? revoked_ms : r->newer->newest_ms;
    r->epoch++;
}

int64_t revocations_bound_ms(int64_t named_ms, int64_t now_ms)
{
    int64_t latest_ms = now_ms + JWT_OWN_LEEWAY_S * INT64_C(1000);
    return named_ms < latest_ms ? named_ms : latest_ms;
}

static int64_t revoked_at(const struct revocations *r, char kind, struct str id)
{
    uint8_t key[KEY_BYTES];
    make_key(kind, id, key);
    int64_t a = slot_of(r->newer, key)->revoked_ms, b = slot_of(r->older, key)->revoked_ms;
    return a > b ? a : b;
}

bool revocations_has(const struct revocations *r, struct str user_id, struct str sid,
                     int64_t issued_ms)
{
    return issued_ms < r->floor_ms || revoked_at(r, 's', sid) > 0 ||
           issued_ms < revoked_at(r, 'u', user_id);
}
