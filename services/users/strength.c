// SPDX-License-Identifier: MIT
#include "services/users/strength.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <zxcvbn.h>

#define HINT_BYTES 64 // of one word; longer ones are compared by their beginning
#define HINTS_MAX 16
#define HINT_MIN 3 // shorter words are in every password

struct hints {
    char words[HINTS_MAX][HINT_BYTES + 1];
    const char *list[HINTS_MAX + 1]; // as the library takes them, ended by NULL
    size_t n;
};

// The library compares with lower-case letters.
static void add_hint(struct hints *h, struct str word)
{
    if (word.n < HINT_MIN || h->n == HINTS_MAX) {
        return;
    }
    size_t n = word.n < HINT_BYTES ? word.n : HINT_BYTES;
    char *to = h->words[h->n];
    for (size_t i = 0; i < n; i++) {
        to[i] = (char)tolower((unsigned char)word.p[i]);
    }
    to[n] = '\0';
    h->list[h->n++] = to;
    h->list[h->n] = NULL;
}

// The text as a whole and each of its words.
static void add_hints(struct hints *h, struct str text)
{
    add_hint(h, text);
    for (size_t from = 0; from < text.n;) {
        size_t n = 0;
        while (from + n < text.n && !strchr("@.-_+ ", text.p[from + n])) {
            n++;
        }
        if (n < text.n) {
            add_hint(h, (struct str){ text.p + from, n });
        }
        from += n + 1;
    }
}

// What the weak parts of a password have in common, by what makes up most of it.
static const char *describe(const ZxcMatch_t *matches)
{
    int length[LONG_PWD_MATCH + 1] = { 0 }, best = BRUTE_MATCH;
    for (const ZxcMatch_t *m = matches; m; m = m->Next) {
        int type = m->Type & (MULTIPLE_MATCH - 1);
        bool repeated = m->Type & MULTIPLE_MATCH;
        type = repeated ? REPEATS_MATCH : type <= LONG_PWD_MATCH ? type : BRUTE_MATCH;
        length[type] += m->Length;
    }
    for (int type = DICTIONARY_MATCH; type < LONG_PWD_MATCH; type++) {
        best = length[type] > length[best] || (best == BRUTE_MATCH && length[type]) ? type : best;
    }
    switch (best) {
    case DICTIONARY_MATCH:
    case DICT_LEET_MATCH:
        return "is mostly common passwords, words or names";
    case USER_MATCH:
    case USER_LEET_MATCH:
        return "is mostly this account's email address or name";
    case REPEATS_MATCH:
        return "is mostly repetition";
    case SEQUENCE_MATCH:
        return "is mostly a sequence";
    case SPATIAL_MATCH:
        return "is mostly a path on the keyboard";
    case DATE_MATCH:
    case YEAR_MATCH:
        return "is mostly a date";
    default:
        return "is short";
    }
}

bool password_strong(struct str password, const struct strength_hints *hints,
                     char reason[STRENGTH_REASON_SIZE])
{
    struct hints h = { .n = 0 };
    char text[STRENGTH_LOOKED_AT + 1];
    size_t n = password.n < STRENGTH_LOOKED_AT ? password.n : STRENGTH_LOOKED_AT;
    memcpy(text, password.p, n);
    text[n] = '\0'; // a NUL within ends what is estimated, never makes more of it
    add_hint(&h, STR("sluice"));
    add_hints(&h, hints->email);
    add_hints(&h, hints->name);
    ZxcMatch_t *matches = NULL;
    double bits = ZxcvbnMatch(text, h.list, &matches);
    bool strong = bits >= STRENGTH_MIN_BITS;
    if (!strong) {
        (void)snprintf(reason, STRENGTH_REASON_SIZE,
                       "is guessed too early (%.0f bits; allowed from %.0f on): it %s; more words "
                       "or characters that nobody expects help",
                       bits, STRENGTH_MIN_BITS, describe(matches));
    }
    ZxcvbnFreeInfo(matches);
    sodium_memzero(text, sizeof text);
    return strong;
}
