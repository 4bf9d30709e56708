// SPDX-License-Identifier: MIT
// Days are counted with the civil-calendar arithmetic of the proleptic Gregorian calendar, in eras
// of 400 years that begin on 1 March, so that no time zone database and no locale is involved.
#include "proto/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define MS_PER_DAY INT64_C(86400000)
#define DAYS_PER_ERA INT64_C(146097)
#define EPOCH_OFFSET INT64_C(719468)    // days from 0000-03-01 to 1970-01-01
#define END_MS INT64_C(253402300800000) // of the year 9999

static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400, year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - EPOCH_OFFSET;
}

static void civil_from_days(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
    days += EPOCH_OFFSET;
    int64_t era = days / DAYS_PER_ERA, doe = days - era * DAYS_PER_ERA;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t shifted = (5 * doy + 2) / 153; // month counted from March
    *day = doy - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = yoe + era * 400 + (*month <= 2);
}

static void put_digits(char *out, int64_t value, int digits)
{
    while (digits > 0) {
        out[--digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

struct str timestamp_format(int64_t time_ms, char out[TIMESTAMP_SIZE])
{
    assert(time_ms >= 0 && time_ms < END_MS);
    int64_t year, month, day, ms = time_ms % MS_PER_DAY;
    civil_from_days(time_ms / MS_PER_DAY, &year, &month, &day);
    memcpy(out, "0000-00-00T00:00:00.000Z", TIMESTAMP_SIZE);
    put_digits(out, year, 4);
    put_digits(out + 5, month, 2);
    put_digits(out + 8, day, 2);
    put_digits(out + 11, ms / 3600000, 2);
    put_digits(out + 14, ms / 60000 % 60, 2);
    put_digits(out + 17, ms / 1000 % 60, 2);
    put_digits(out + 20, ms % 1000, 3);
    return (struct str){ out, TIMESTAMP_SIZE - 1 };
}

// Takes digits from the front of s; -1 when there are fewer.
static int64_t take_digits(struct str *s, size_t digits)
{
    int64_t v = 0;
    if (s->n < digits) {
        return -1;
    }
    for (size_t i = 0; i < digits; i++) {
        if (s->p[i] < '0' || s->p[i] > '9') {
            return -1;
        }
        v = v * 10 + (s->p[i] - '0');
    }
    s->p += digits;
    s->n -= digits;
    return v;
}

static bool take_char(struct str *s, char c)
{
    if (s->n == 0 || (s->p[0] != c && !(c >= 'A' && c <= 'Z' && s->p[0] == c + ('a' - 'A')))) {
        return false;
    }
    s->p++;
    s->n--;
    return true;
}

static int64_t take_fraction_ms(struct str *s)
{
    int64_t ms = 0, weight = 100;
    size_t digits = 0;
    for (; digits < s->n && s->p[digits] >= '0' && s->p[digits] <= '9'; digits++) {
        ms += (s->p[digits] - '0') * weight;
        weight /= 10;
    }
    s->p += digits;
    s->n -= digits;
    return digits ? ms : -1;
}

// The offset at the end, in minutes; INT64_MIN when it is malformed.
static int64_t take_offset(struct str *s)
{
    if (take_char(s, 'Z')) {
        return 0;
    }
    int64_t sign = take_char(s, '+') ? 1 : take_char(s, '-') ? -1 : 0;
    int64_t hours = sign ? take_digits(s, 2) : -1;
    int64_t minutes = hours >= 0 && take_char(s, ':') ? take_digits(s, 2) : -1;
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
        return INT64_MIN;
    }
    return sign * (hours * 60 + minutes);
}

static int64_t days_in_month(int64_t year, int64_t month)
{
    static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

int timestamp_parse(struct str s, int64_t *ret_time_ms)
{
    int64_t year = take_digits(&s, 4);
    int64_t month = take_char(&s, '-') ? take_digits(&s, 2) : -1;
    int64_t day = take_char(&s, '-') ? take_digits(&s, 2) : -1;
    int64_t hour = take_char(&s, 'T') ? take_digits(&s, 2) : -1;
    int64_t minute = take_char(&s, ':') ? take_digits(&s, 2) : -1;
    int64_t second = take_char(&s, ':') ? take_digits(&s, 2) : -1;
    int64_t ms = take_char(&s, '.') ? take_fraction_ms(&s) : 0;
    int64_t offset = take_offset(&s);
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month)) {
        return -EINVAL;
    }
    // 60 is a leap second, which counts as the first of the next minute.
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 || ms < 0 ||
        offset == INT64_MIN || s.n != 0) {
        return -EINVAL;
    }
    int64_t minutes = days_from_civil(year, month, day) * 1440 + hour * 60 + minute - offset;
    int64_t time_ms = minutes * 60000 + second * 1000 + ms;
    if (time_ms < 0 || time_ms >= END_MS) {
        return -EINVAL;
    }
    *ret_time_ms = time_ms;
    return 0;
}
