// SPDX-License-Identifier: MIT
// A direct-mapped table of failures, under a mutex: the loop asks, pool threads report.
#include "services/users/throttle.h"

#include <pthread.h>
#include <sodium.h>

#define MAX_ACCOUNT 256 // bytes that count

struct entry {
    uint64_t account;  // keyed hash of it
    int64_t last_ms;   // of the last failure
    uint32_t failures; // in a row; 0: free
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry table[THROTTLE_ENTRIES];
static uint8_t hash_key[crypto_shorthash_KEYBYTES]; // against accounts that are chosen to collide
static bool keyed;

// Hash of the account without regard to case. Locked.
static uint64_t account_hash(struct str account)
{
    uint8_t folded[MAX_ACCOUNT];
    size_t n = account.n < sizeof folded ? account.n : sizeof folded;
    uint64_t hash;
    for (size_t i = 0; i < n; i++) {
        char c = account.p[i];
        folded[i] = (uint8_t)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    if (!keyed) {
        crypto_shorthash_keygen(hash_key);
        keyed = true;
    }
    crypto_shorthash((uint8_t *)&hash, folded, n, hash_key);
    return hash;
}

// The entry of an account, cleared if it was another's or is out of date. Locked.
static struct entry *entry_of(struct str account, int64_t now_ms)
{
    uint64_t hash = account_hash(account);
    struct entry *e = &table[hash % THROTTLE_ENTRIES];
    if (e->account != hash || now_ms - e->last_ms >= THROTTLE_FORGET_MS) {
        *e = (struct entry){ .account = hash };
    }
    return e;
}

static int64_t wait_after(uint32_t failures)
{
    if (failures < THROTTLE_FREE) {
        return 0;
    }
    uint32_t doublings = failures - THROTTLE_FREE;
    int64_t wait_ms = (int64_t)THROTTLE_FIRST_MS << (doublings < 16 ? doublings : 16);
    return wait_ms < THROTTLE_LONGEST_MS ? wait_ms : THROTTLE_LONGEST_MS;
}

int64_t throttle_wait_ms(struct str account, int64_t now_ms)
{
    pthread_mutex_lock(&lock);
    const struct entry *e = entry_of(account, now_ms);
    int64_t wait_ms = e->failures > 0 ? e->last_ms + wait_after(e->failures) - now_ms : 0;
    pthread_mutex_unlock(&lock);
    return wait_ms > 0 ? wait_ms : 0;
}

void throttle_failed(struct str account, int64_t now_ms)
{
    pthread_mutex_lock(&lock);
    struct entry *e = entry_of(account, now_ms);
    e->failures++;
    e->last_ms = now_ms;
    pthread_mutex_unlock(&lock);
}

void throttle_passed(struct str account, int64_t now_ms)
{
    pthread_mutex_lock(&lock);
    entry_of(account, now_ms)->failures = 0;
    pthread_mutex_unlock(&lock);
}
