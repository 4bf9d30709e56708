// SPDX-License-Identifier: MIT
// One set-associative table of counts for all levels, under a mutex: the loop counts, pool threads
// settle.
#include "services/users/throttle.h"

#include "common/metrics.h"

#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#define MAX_ACCOUNT 256 // bytes that count
#define MAX_PLACE 64    // likewise
#define HOUR_MS INT64_C(3600000)

struct entry {
    uint64_t key;    // keyed hash of level and whom it is about; 0: free
    int64_t last_ms; // of the last attempt; of a bucket: when it leaked last
    uint32_t count;
    enum throttle_level level;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry table[THROTTLE_ENTRIES / THROTTLE_WAYS][THROTTLE_WAYS];
static uint8_t hash_key[crypto_shorthash_KEYBYTES]; // against names that are chosen to collide
static int64_t signups_per_hour;
static bool opened;

static struct metric refused[THROTTLE_LEVELS] = {
#define REFUSED(level_, label_)                                                                    \
    [level_] = METRIC_COUNTER_INIT(                                                                \
        "sluice_users_throttled_total",                                                            \
        "Logins, password changes and new accounts that had to wait, by what was used up.",        \
        label_)
    REFUSED(THROTTLE_PAIR, "by=\"pair\""),
    REFUSED(THROTTLE_ACCOUNT, "by=\"account\""),
    REFUSED(THROTTLE_ADDRESS, "by=\"address\""),
    REFUSED(THROTTLE_SIGNUPS, "by=\"signups\""),
};

void throttle_open(int64_t signups)
{
    assert(!opened);
    opened = true;
    signups_per_hour = signups;
    crypto_shorthash_keygen(hash_key);
    for (size_t i = 0; i < THROTTLE_LEVELS; i++) {
        metrics_register(&refused[i]);
    }
}

void throttle_close(void)
{
    for (size_t i = 0; opened && i < THROTTLE_LEVELS; i++) {
        metrics_unregister(&refused[i]);
    }
    opened = false;
    memset(table, 0, sizeof table);
}

bool throttle_place(struct str text, uint8_t ret_place[THROTTLE_PLACE_BYTES])
{
    char z[INET6_ADDRSTRLEN];
    memset(ret_place, 0, THROTTLE_PLACE_BYTES);
    if (text.n == 0 || text.n >= sizeof z) {
        return false;
    }
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    if (inet_pton(AF_INET, z, ret_place + 12) == 1) {
        return true;
    }
    bool v6 = inet_pton(AF_INET6, z, ret_place) == 1;
    memset(ret_place + 8, 0, 8);
    return v6;
}

// --- Entries. All under the lock.

// Hash of the level, the account without regard to case, and the place; never 0.
static uint64_t key_of(enum throttle_level level, struct str account, struct str place)
{
    uint8_t bytes[2 + MAX_ACCOUNT + MAX_PLACE] = { (uint8_t)level };
    size_t n = account.n < MAX_ACCOUNT ? account.n : MAX_ACCOUNT, m = place.n;
    uint64_t key;
    for (size_t i = 0; i < n; i++) {
        char c = account.p[i];
        bytes[2 + i] = (uint8_t)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    bytes[1] = (uint8_t)n; // where the account ends
    m = m < MAX_PLACE ? m : MAX_PLACE;
    if (m) {
        memcpy(bytes + 2 + n, place.p, m);
    }
    crypto_shorthash((uint8_t *)&key, bytes, 2 + n + m, hash_key);
    return key ? key : 1;
}

static bool is_bucket(enum throttle_level level)
{
    return level == THROTTLE_ADDRESS || level == THROTTLE_SIGNUPS;
}

static int64_t leak_ms(enum throttle_level level)
{
    return level == THROTTLE_ADDRESS ? THROTTLE_ADDRESS_LEAK_MS
                                     : HOUR_MS / (signups_per_hour ? signups_per_hour : 1);
}

static uint32_t free_count(enum throttle_level level)
{
    return level == THROTTLE_PAIR      ? THROTTLE_FREE
           : level == THROTTLE_ACCOUNT ? THROTTLE_ACCOUNT_FREE
           : level == THROTTLE_ADDRESS ? THROTTLE_ADDRESS_FREE
                                       : (uint32_t)signups_per_hour;
}

// Makes the entry what it is now.
static void age(struct entry *e, int64_t now_ms)
{
    if (!is_bucket(e->level)) {
        e->count = now_ms - e->last_ms >= THROTTLE_FORGET_MS ? 0 : e->count;
        return;
    }
    int64_t leaked = (now_ms - e->last_ms) / leak_ms(e->level);
    e->count = leaked < e->count ? e->count - (uint32_t)leaked : 0;
    e->last_ms += leaked * leak_ms(e->level);
}

static struct entry *find(uint64_t key)
{
    struct entry *set = table[key % (THROTTLE_ENTRIES / THROTTLE_WAYS)];
    for (size_t i = 0; i < THROTTLE_WAYS; i++) {
        if (set[i].key == key) {
            return &set[i];
        }
    }
    return NULL;
}

// The entry of a key, made if need be in place of the one with the lowest count.
static struct entry *take_entry(enum throttle_level level, uint64_t key, int64_t now_ms)
{
    struct entry *set = table[key % (THROTTLE_ENTRIES / THROTTLE_WAYS)], *e = find(key);
    if (e) {
        return e;
    }
    e = &set[0];
    for (size_t i = 0; i < THROTTLE_WAYS; i++) {
        age(&set[i], now_ms);
        e = set[i].count < e->count ? &set[i] : e;
    }
    *e = (struct entry){ .key = key, .last_ms = now_ms, .level = level };
    return e;
}

static int64_t wait_after(enum throttle_level level, uint32_t count)
{
    uint32_t doublings = count - free_count(level);
    int64_t wait_ms = (int64_t)THROTTLE_FIRST_MS << (doublings < 16 ? doublings : 16);
    return wait_ms < THROTTLE_LONGEST_MS ? wait_ms : THROTTLE_LONGEST_MS;
}

static int64_t wait_of(enum throttle_level level, uint64_t key, int64_t now_ms)
{
    struct entry *e = find(key);
    if (!e) {
        return 0;
    }
    age(e, now_ms);
    if (e->count < free_count(level)) {
        return 0;
    }
    int64_t until_ms =
        e->last_ms + (is_bucket(level) ? leak_ms(level) : wait_after(level, e->count));
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

static void count(enum throttle_level level, uint64_t key, int64_t now_ms)
{
    struct entry *e = take_entry(level, key, now_ms);
    if (e->count < UINT32_MAX) {
        e->count++;
    }
    if (!is_bucket(level)) {
        e->last_ms = now_ms;
    }
}

// Counts at all levels that have a key, or at none of them.
static int64_t begin(struct throttle_attempt *a, int64_t now_ms)
{
    int64_t longest_ms = 0;
    enum throttle_level why = THROTTLE_PAIR;
    for (enum throttle_level level = THROTTLE_PAIR; level < THROTTLE_LEVELS; level++) {
        int64_t wait_ms = a->counted[level] ? wait_of(level, a->counted[level], now_ms) : 0;
        why = wait_ms > longest_ms ? level : why;
        longest_ms = wait_ms > longest_ms ? wait_ms : longest_ms;
    }
    if (longest_ms > 0) {
        metric_add(&refused[why], 1);
        *a = (struct throttle_attempt){ .counted = { 0 } };
        return longest_ms;
    }
    for (enum throttle_level level = THROTTLE_PAIR; level < THROTTLE_LEVELS; level++) {
        if (a->counted[level]) {
            count(level, a->counted[level], now_ms);
        }
    }
    return 0;
}

// --- Attempts

int64_t throttle_begin(const struct throttle_who *who, int64_t now_ms,
                       struct throttle_attempt *ret_attempt)
{
    struct str none = { NULL, 0 };
    pthread_mutex_lock(&lock);
    *ret_attempt = (struct throttle_attempt){ .counted = { 0 } };
    ret_attempt->counted[THROTTLE_PAIR] = key_of(THROTTLE_PAIR, who->account, who->place);
    if (!who->known) {
        ret_attempt->counted[THROTTLE_ACCOUNT] = key_of(THROTTLE_ACCOUNT, who->account, none);
    }
    if (who->address.n) {
        ret_attempt->counted[THROTTLE_ADDRESS] = key_of(THROTTLE_ADDRESS, none, who->address);
    }
    int64_t wait_ms = begin(ret_attempt, now_ms);
    pthread_mutex_unlock(&lock);
    return wait_ms;
}

int64_t throttle_signup(struct str address, int64_t now_ms, struct throttle_attempt *ret_attempt)
{
    *ret_attempt = (struct throttle_attempt){ .counted = { 0 } };
    if (signups_per_hour == 0 || address.n == 0) {
        return 0;
    }
    pthread_mutex_lock(&lock);
    ret_attempt->counted[THROTTLE_SIGNUPS] =
        key_of(THROTTLE_SIGNUPS, (struct str){ NULL, 0 }, address);
    int64_t wait_ms = begin(ret_attempt, now_ms);
    pthread_mutex_unlock(&lock);
    return wait_ms;
}

void throttle_keep(struct throttle_attempt *attempt)
{
    *attempt = (struct throttle_attempt){ .counted = { 0 } };
}

void throttle_end(struct throttle_attempt *attempt)
{
    pthread_mutex_lock(&lock);
    for (size_t level = 0; level < THROTTLE_LEVELS; level++) {
        struct entry *e = attempt->counted[level] ? find(attempt->counted[level]) : NULL;
        if (e && e->count > 0) {
            e->count--;
        }
    }
    pthread_mutex_unlock(&lock);
    *attempt = (struct throttle_attempt){ .counted = { 0 } };
}

void throttle_passed(struct throttle_attempt *attempt)
{
    uint64_t pair = attempt->counted[THROTTLE_PAIR];
    throttle_end(attempt);
    pthread_mutex_lock(&lock);
    struct entry *e = pair ? find(pair) : NULL;
    if (e) {
        e->count = 0;
    }
    pthread_mutex_unlock(&lock);
}
