// SPDX-License-Identifier: MIT
// Layout (RFC 9562 section 5.7): unix_ts_ms (48 bits), version 7 (4), rand_a (12), variant 10 (2),
// rand_b (62). The time and the counter in rand_a are one 60-bit number, the largest that was given
// out, moved forward by one compare-and-swap: no lock.
#include "common/uuid.h"

#include "common/random.h"

#include <assert.h>
#include <stdatomic.h>

#define COUNTER_BITS 12
#define SEED_MASK                                                                                  \
    0x7ff // the counter starts in its lower half, so that at least 2048 ids fit in a millisecond
#define MAX_TIME_MS ((INT64_C(1) << 48) - 1)

static _Atomic uint64_t newest; // time in milliseconds << COUNTER_BITS | counter

// The next number: of time_ms when that is later, else one more. A counter that runs over carries
// into the time, as section 6.2 allows: the ids are then a little ahead of the clock.
static uint64_t next_number(int64_t time_ms, uint64_t seed)
{
    uint64_t candidate = ((uint64_t)time_ms << COUNTER_BITS) | seed;
    uint64_t last = atomic_load_explicit(&newest, memory_order_relaxed);
    uint64_t next;
    do {
        bool later = candidate >> COUNTER_BITS > last >> COUNTER_BITS;
        next = later ? candidate : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&newest, &last, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return next;
}

static void write_text(const uint8_t bytes[16], char out[UUID_TEXT + 1])
{
    static const char digits[] = "0123456789abcdef";
    char *to = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *to++ = '-';
        }
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    *to = '\0';
    assert(to == out + UUID_TEXT);
}

void uuid_v7(int64_t time_ms, char out[UUID_TEXT + 1])
{
    // A clock that was never set may stand before 1970.
    time_ms = time_ms < 0 ? 0 : time_ms > MAX_TIME_MS ? MAX_TIME_MS : time_ms;

    uint8_t bytes[16];
    uint8_t random[10];
    random_fill(random, sizeof(random));
    uint64_t seed = ((uint64_t)random[8] << 8 | random[9]) & SEED_MASK;
    uint64_t number = next_number(time_ms, seed);
    for (int i = 0; i < 6; i++) {
        bytes[i] = (uint8_t)(number >> (52 - 8 * i));
    }
    bytes[6] = (uint8_t)(0x70 | ((number >> 8) & 0x0f));
    bytes[7] = (uint8_t)number;
    memcpy(bytes + 8, random, 8);
    bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f));
    write_text(bytes, out);
}

bool uuid_valid(struct str s)
{
    if (s.n != UUID_TEXT) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !digit) {
            return false;
        }
    }
    return true;
}
