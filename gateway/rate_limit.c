// SPDX-License-Identifier: MIT
// A bucket is found by a keyed 128-bit hash of its policy and key, which stands for the key itself:
// keys of any length take the same room, and nobody can choose two that meet.
//
// The heap is lazy: a request moves its bucket's time and leaves the heap alone. `filed_ns` is the
// time by which the heap has a bucket; it is never later than the true one. When room is needed, the
// root is put right until its time is true, and then it is the earliest of all. Each such step
// makes up for at least one request of that bucket, so they cost O(log n) each.
#include "gateway/rate_limit.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_BYTES 16
#define KEY_BYTES 512 // of policy, kind and key; a longer key is cut, which no subject reaches
#define NS_PER_S UINT64_C(1000000000)

struct bucket {
    uint8_t hash[HASH_BYTES];
    uint64_t full_ns;  // when it is full
    uint64_t filed_ns; // what the heap believes; <= full_ns
    uint32_t next;     // in its chain: number plus 1; 0: the last one
};

static const char *const names[] = {
#define X(symbol, name) name,
    RATE_POLICIES(X)
#undef X
};

static const char *const labels[] = {
#define X(symbol, name) "policy=\"" name "\"",
    RATE_POLICIES(X)
#undef X
};

const char *rate_policy_name(enum rate_policy policy)
{
    return names[policy];
}

// --- Policies

// Takes a number from 1 to RATE_MAX_COUNT off the text; 0: there is none.
static uint64_t take_number(const char **text)
{
    uint64_t value = 0;
    const char *p = *text;
    for (; *p >= '0' && *p <= '9' && value <= RATE_MAX_COUNT; p++) {
        value = value * 10 + (uint64_t)(*p - '0');
    }
    *text = p;
    return value <= RATE_MAX_COUNT ? value : 0;
}

static uint64_t window_s(char unit)
{
    return unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : 0;
}

int rate_limit_parse(const char *text, enum rate_policy policy,
                     struct rate_limit_policy *ret_policy)
{
    static const char burst_word[] = ",burst=";
    *ret_policy = (struct rate_limit_policy){ .period_ns = 0 };
    if (strcmp(text, "off") == 0 || strcmp(text, "0") == 0) {
        return 0;
    }
    uint64_t count = take_number(&text);
    uint64_t window = count && text[0] == '/' ? window_s(text[1]) : 0;
    if (window == 0) {
        return -EINVAL;
    }
    text += 2;
    uint64_t burst = count;
    if (strncmp(text, burst_word, sizeof burst_word - 1) == 0) {
        text += sizeof burst_word - 1;
        burst = take_number(&text);
    }
    uint64_t period_ns = window * NS_PER_S / count;
    if (*text || burst == 0 || burst * period_ns > RATE_MAX_DEBT_S * NS_PER_S) {
        return -EINVAL;
    }
    ret_policy->period_ns = period_ns;
    ret_policy->burst = burst;
    uint64_t full_s = (burst * window + count - 1) / count; // the window in which `burst` come back
    (void)snprintf(ret_policy->text, sizeof ret_policy->text, "\"%s\";q=%llu;w=%llu", names[policy],
                   (unsigned long long)burst, (unsigned long long)full_s);
    return 0;
}

// --- The table

static uint32_t slots_for(uint32_t max)
{
    uint32_t n = 16;
    while (n < max) {
        n *= 2;
    }
    return n;
}

static void add_metric(struct metric *m, enum metric_type type, const char *name, const char *help,
                       const char *label)
{
    *m = (struct metric){ .type = type, .name = name, .help = help, .labels = label };
    metrics_register(m);
}

static void add_metrics(struct rate_limit *l)
{
    for (size_t i = 0; i < RATE_POLICIES_COUNT; i++) {
        add_metric(&l->refused[i], METRIC_COUNTER, "sluice_gateway_rate_limited_total",
                   "Requests refused with 429, by the policy that refused them.", labels[i]);
    }
    add_metric(&l->in_use, METRIC_GAUGE, "sluice_gateway_rate_limit_buckets",
               "Buckets in the table of rate limits, full ones that nobody needed the room of "
               "included.",
               NULL);
    add_metric(&l->forgotten, METRIC_COUNTER, "sluice_gateway_rate_limit_forgotten_total",
               "Buckets forgotten before they were full, because the table was.", NULL);
}

int rate_limit_init(struct rate_limit *l,
                    const struct rate_limit_policy policies[RATE_POLICIES_COUNT], uint32_t max)
{
    assert(max >= RATE_BUCKETS_MIN && max <= RATE_BUCKETS_MAX);
    static_assert(sizeof l->hash_key == crypto_shorthash_siphashx24_KEYBYTES, "as the hash wants");
    static_assert(HASH_BYTES == crypto_shorthash_siphashx24_BYTES, "as the hash gives");
    memset(l, 0, sizeof *l);
    memcpy(l->policies, policies, sizeof l->policies);
    l->max = max;
    for (size_t i = 0; i < RATE_POLICIES_COUNT; i++) {
        l->any |= policies[i].period_ns > 0;
    }
    if (l->any) {
        uint32_t slots = slots_for(max);
        l->slot_mask = slots - 1;
        l->buckets = calloc(max, sizeof *l->buckets);
        l->slots = calloc(slots, sizeof *l->slots);
        l->heap = calloc(max, sizeof *l->heap);
        randombytes_buf(l->hash_key, sizeof l->hash_key);
        if (!l->buckets || !l->slots || !l->heap) {
            free(l->buckets);
            free(l->slots);
            free(l->heap);
            memset(l, 0, sizeof *l);
            return -ENOMEM;
        }
    }
    add_metrics(l);
    return 0;
}

void rate_limit_fini(struct rate_limit *l)
{
    if (!l->max) {
        return;
    }
    for (size_t i = 0; i < RATE_POLICIES_COUNT; i++) {
        metrics_unregister(&l->refused[i]);
    }
    metrics_unregister(&l->in_use);
    metrics_unregister(&l->forgotten);
    free(l->buckets);
    free(l->slots);
    free(l->heap);
    memset(l, 0, sizeof *l);
}

static void hash_key(const struct rate_limit *l, enum rate_policy policy, char kind, struct str key,
                     uint8_t ret_hash[HASH_BYTES])
{
    uint8_t bytes[KEY_BYTES]; // not cleared: what is not written is not read
    size_t n = key.n < sizeof bytes - 2 ? key.n : sizeof bytes - 2;
    bytes[0] = (uint8_t)policy;
    bytes[1] = (uint8_t)kind;
    if (n) {
        memcpy(bytes + 2, key.p, n);
    }
    (void)crypto_shorthash_siphashx24(ret_hash, bytes, n + 2, l->hash_key); // cannot fail
}

static uint32_t *slot_of(struct rate_limit *l, const uint8_t hash[HASH_BYTES])
{
    uint32_t first;
    memcpy(&first, hash, sizeof first);
    return &l->slots[first & l->slot_mask];
}

static struct bucket *find(struct rate_limit *l, const uint8_t hash[HASH_BYTES])
{
    for (uint32_t at = *slot_of(l, hash); at; at = l->buckets[at - 1].next) {
        struct bucket *b = &l->buckets[at - 1];
        if (memcmp(b->hash, hash, HASH_BYTES) == 0) {
            return b;
        }
    }
    return NULL;
}

static uint64_t filed(const struct rate_limit *l, uint32_t at)
{
    return l->buckets[l->heap[at]].filed_ns;
}

static void swap(struct rate_limit *l, uint32_t a, uint32_t b)
{
    uint32_t number = l->heap[a];
    l->heap[a] = l->heap[b];
    l->heap[b] = number;
}

static void sift_up(struct rate_limit *l, uint32_t at)
{
    while (at > 0 && filed(l, at) < filed(l, (at - 1) / 2)) {
        swap(l, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static void sift_down(struct rate_limit *l, uint32_t at)
{
    for (;;) {
        uint32_t least = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < l->n; child++) {
            least = filed(l, child) < filed(l, least) ? child : least;
        }
        if (least == at) {
            return;
        }
        swap(l, at, least);
        at = least;
    }
}

// Makes the root's time true, so that it is the bucket that is full first.
static struct bucket *settle_root(struct rate_limit *l)
{
    struct bucket *root = &l->buckets[l->heap[0]];
    while (root->filed_ns < root->full_ns) {
        root->filed_ns = root->full_ns;
        sift_down(l, 0);
        root = &l->buckets[l->heap[0]];
    }
    return root;
}

static void unchain(struct rate_limit *l, const struct bucket *b)
{
    uint32_t number = (uint32_t)(b - l->buckets) + 1, *at = slot_of(l, b->hash);
    while (*at != number) {
        at = &l->buckets[*at - 1].next;
    }
    *at = b->next;
}

// A bucket for a new key, in place of one that is full, or of the one that is full first, or in room
// that was never used.
static void add(struct rate_limit *l, const uint8_t hash[HASH_BYTES], uint64_t full_ns,
                uint64_t now_ns)
{
    struct bucket *b = l->n ? settle_root(l) : NULL;
    bool reuse = b && (b->full_ns <= now_ns || l->n == l->max);
    if (reuse) {
        metric_add(&l->forgotten, b->full_ns > now_ns);
        unchain(l, b);
    } else {
        l->heap[l->n] = l->n;
        b = &l->buckets[l->n++];
        metric_set(&l->in_use, (int64_t)l->n);
    }
    uint32_t *slot = slot_of(l, hash);
    memcpy(b->hash, hash, HASH_BYTES);
    b->full_ns = full_ns;
    b->filed_ns = now_ns; // no later than the true time also when the token is given back
    b->next = *slot;
    *slot = (uint32_t)(b - l->buckets) + 1;
    if (reuse) {
        sift_down(l, 0);
    } else {
        sift_up(l, l->n - 1);
    }
}

// --- One request

static uint32_t up_to_s(uint64_t ns)
{
    uint64_t s = (ns + NS_PER_S - 1) / NS_PER_S;
    return s ? (uint32_t)s : 1;
}

struct rate_verdict rate_limit_take(struct rate_limit *l, enum rate_policy policy, char kind,
                                    struct str key, uint64_t now_ns)
{
    const struct rate_limit_policy *p = &l->policies[policy];
    assert(p->period_ns > 0 && l->buckets);
    uint8_t hash[HASH_BYTES];
    hash_key(l, policy, kind, key, hash);
    struct bucket *b = find(l, hash);
    uint64_t from_ns = b && b->full_ns > now_ns ? b->full_ns : now_ns;
    uint64_t full_ns = from_ns + p->period_ns, size_ns = p->burst * p->period_ns;
    if (full_ns - now_ns > size_ns) {
        metric_add(&l->refused[policy], 1);
        return (struct rate_verdict){ false, 0, up_to_s(full_ns - now_ns - size_ns) };
    }
    if (b) {
        b->full_ns = full_ns;
    } else {
        add(l, hash, full_ns, now_ns);
    }
    uint32_t left = (uint32_t)((size_ns - (full_ns - now_ns)) / p->period_ns);
    return (struct rate_verdict){ true, left, up_to_s(full_ns - now_ns) };
}

void rate_limit_give_back(struct rate_limit *l, enum rate_policy policy, char kind, struct str key,
                          uint64_t now_ns)
{
    uint8_t hash[HASH_BYTES];
    assert(l->policies[policy].period_ns > 0 && l->buckets);
    hash_key(l, policy, kind, key, hash);
    struct bucket *b = find(l, hash);
    if (b && b->full_ns > now_ns) {
        uint64_t full_ns = b->full_ns - l->policies[policy].period_ns;
        b->full_ns = full_ns > b->filed_ns ? full_ns : b->filed_ns; // as the heap wants it
    }
}
