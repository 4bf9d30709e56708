// SPDX-License-Identifier: MIT
// The registry is a list sorted by name and labels, guarded by a mutex that counting never takes.
#include "common/metrics.h"

#include "common/clock.h"

#include <assert.h>
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MICROSECONDS(seconds) (int64_t)((seconds)*1e6 + 0.5),
static const int64_t bounds_us[] = { METRICS_BUCKETS(MICROSECONDS) };

#define TEXT(seconds) #seconds,
static const char *const bounds_text[] = { METRICS_BUCKETS(TEXT) };

static_assert(sizeof(bounds_us) / sizeof(bounds_us[0]) == METRICS_N_BUCKETS,
              "count the buckets again");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *registered;

// --- Registry

static struct str labels_of(const struct metric *m)
{
    return str_of(m->labels);
}

static int order(const struct metric *a, const struct metric *b)
{
    int by_name = strcmp(a->name, b->name);
    return by_name ? by_name : str_cmp(labels_of(a), labels_of(b));
}

void metrics_register(struct metric *m)
{
    pthread_mutex_lock(&lock);
    struct metric **place = &registered;
    while (*place && order(*place, m) < 0) {
        place = &(*place)->next;
    }
    assert(*place != m); // registered once
    m->next = *place;
    *place = m;
    pthread_mutex_unlock(&lock);
}

void metrics_unregister(struct metric *m)
{
    pthread_mutex_lock(&lock);
    struct metric **place = &registered;
    while (*place && *place != m) {
        place = &(*place)->next;
    }
    if (*place) {
        *place = m->next;
        m->next = NULL;
    }
    pthread_mutex_unlock(&lock);
}

// Counts a duration that is not negative and returns its bucket.
static int observe(struct metric *m, int64_t duration_us)
{
    assert(m->type == METRIC_HISTOGRAM && duration_us >= 0);
    int bucket = 0;
    while (bucket < METRICS_N_BUCKETS && duration_us > bounds_us[bucket]) {
        bucket++;
    }
    atomic_fetch_add_explicit(&m->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->value, duration_us, memory_order_relaxed);
    return bucket;
}

void metric_observe_us(struct metric *m, int64_t duration_us)
{
    if (METRICS_COUNT) {
        (void)observe(m, duration_us < 0 ? 0 : duration_us);
    }
}

void metric_observe_traced_us(struct metric *m, int64_t duration_us, const struct trace *trace)
{
    if (!METRICS_COUNT) {
        return;
    }
    duration_us = duration_us < 0 ? 0 : duration_us;
    int bucket = observe(m, duration_us);
    if (m->exemplars && trace_is_sampled(trace)) {
        exemplar_set(&m->exemplars->buckets[bucket], trace, duration_us, clock_wall_us());
    }
}

// --- Rendering

// How a text is written.
struct output {
    struct buf *b;
    enum metrics_format format;
};

// OpenMetrics names the family of a counter without its suffix.
static int family_bytes(const struct output *o, const char *name, const char *type)
{
    static const char suffix[] = "_total";
    size_t n = strlen(name), k = sizeof suffix - 1;
    bool counter = strcmp(type, "counter") == 0;
    assert(!counter || (n > k && memcmp(name + n - k, suffix, k) == 0));
    return (int)(counter && o->format == METRICS_OPENMETRICS ? n - k : n);
}

static void append_head(const struct output *o, const char *name, const char *help,
                        const char *type)
{
    struct buf *b = o->b;
    int n = family_bytes(o, name, type);
    buf_printf(b, "# HELP %.*s ", n, name);
    for (const char *p = help; *p; p++) {
        if (*p == '\\') {
            buf_append_z(b, "\\\\");
        } else if (*p == '\n') {
            buf_append_z(b, "\\n");
        } else if (*p == '"' && o->format == METRICS_OPENMETRICS) {
            buf_append_z(b, "\\\"");
        } else {
            buf_append_char(b, *p);
        }
    }
    buf_printf(b, "\n# TYPE %.*s %s\n", n, name, type);
}

static void append_seconds(struct buf *b, int64_t us)
{
    buf_printf(b, "%" PRId64 ".%06d\n", us / 1000000, (int)(us % 1000000));
}

// name + suffix, with the labels in braces when there are any.
static void append_series(struct buf *b, const struct metric *m, const char *suffix)
{
    buf_append_z(b, m->name);
    buf_append_z(b, suffix);
    if (labels_of(m).n > 0) {
        buf_append_char(b, '{');
        buf_append_str(b, labels_of(m));
        buf_append_char(b, '}');
    }
    buf_append_char(b, ' ');
}

// OpenMetrics writes bounds as floating point numbers.
static void append_bucket(const struct output *o, const struct metric *m, int i, uint64_t count)
{
    struct buf *b = o->b;
    const char *bound = i < METRICS_N_BUCKETS ? bounds_text[i] : "+Inf";
    bool whole = o->format == METRICS_OPENMETRICS && bound[strcspn(bound, ".+")] == '\0';
    struct str labels = labels_of(m);
    buf_append_z(b, m->name);
    buf_append_z(b, "_bucket{");
    buf_append_str(b, labels);
    buf_append_z(b, labels.n > 0 ? "," : "");
    buf_printf(b, "le=\"%s%s\"} %" PRIu64, bound, whole ? ".0" : "", count);
    if (o->format == METRICS_OPENMETRICS && m->exemplars) {
        exemplar_append(&m->exemplars->buckets[i], b);
    }
    buf_append_char(b, '\n');
}

// Durations that are counted meanwhile may be in the sum and not yet in a bucket; +Inf and _count
// come from the same reading, so they agree always.
static void append_histogram(const struct output *o, const struct metric *m)
{
    struct buf *b = o->b;
    uint64_t count = 0;
    for (int i = 0; i <= METRICS_N_BUCKETS; i++) {
        count += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        append_bucket(o, m, i, count);
    }
    append_series(b, m, "_sum");
    append_seconds(b, metric_get(m));
    append_series(b, m, "_count");
    buf_printf(b, "%" PRIu64 "\n", count);
}

static void append_metric(const struct output *o, const struct metric *m)
{
    if (m->type == METRIC_HISTOGRAM) {
        append_histogram(o, m);
        return;
    }
    append_series(o->b, m, "");
    buf_printf(o->b, "%" PRId64 "\n", m->read ? m->read(m->data) : metric_get(m));
}

// --- The standard metrics of a process

static void append_plain(const struct output *o, const char *name, const char *help,
                         const char *type, int64_t value)
{
    append_head(o, name, help, type);
    buf_printf(o->b, "%s %" PRId64 "\n", name, value);
}

static clockid_t other_cpu;
static bool has_other_cpu;

void metrics_count_cpu_of(pid_t pid)
{
    has_other_cpu = pid > 0 && clock_getcpuclockid(pid, &other_cpu) == 0;
}

static int64_t cpu_us(void)
{
    struct rusage usage;
    struct timespec other = { 0 };
    int failed = getrusage(RUSAGE_SELF, &usage);
    assert(failed == 0);
    if (has_other_cpu) {
        (void)clock_gettime(other_cpu, &other); // it may be gone
    }
    return ((int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + other.tv_sec) * 1000000 +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec + other.tv_nsec / 1000;
}

// Open file descriptors, or -1 without /proc.
static int64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) {
        return -1;
    }
    int64_t n = -1; // the one that is open for counting
    for (struct dirent *entry; (entry = readdir(dir));) {
        n += entry->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}

// What proc(5) says in /proc/self/stat.
struct process_stat {
    int64_t threads;
    int64_t start_ticks; // since boot
    int64_t virtual_bytes;
    int64_t resident_pages;
};

// Numbers of fields in proc_pid_stat(5).
enum { STAT_NAME = 2, STAT_THREADS = 20, STAT_START = 22, STAT_VIRTUAL = 23, STAT_RESIDENT = 24 };

// Goes `steps` fields on from where *p stands and reads the number there.
static bool take_field(const char **p, int steps, int64_t *ret_value)
{
    for (; steps > 0; steps--) {
        *p = strchr(*p + 1, ' ');
        if (!*p) {
            return false;
        }
    }
    int64_t v = 0;
    for (const char *digit = *p + 1; *digit >= '0' && *digit <= '9'; digit++) {
        v = v * 10 + (*digit - '0');
    }
    *ret_value = v;
    return true;
}

static bool read_stat(struct process_stat *ret_stat)
{
    char text[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    if (!file) {
        return false;
    }
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[n] = '\0';
    // The second field is the program's name in parentheses, and may itself have blanks and
    // parentheses.
    const char *p = strrchr(text, ')');
    return p && take_field(&p, STAT_THREADS - STAT_NAME, &ret_stat->threads) &&
           take_field(&p, STAT_START - STAT_THREADS, &ret_stat->start_ticks) &&
           take_field(&p, STAT_VIRTUAL - STAT_START, &ret_stat->virtual_bytes) &&
           take_field(&p, STAT_RESIDENT - STAT_VIRTUAL, &ret_stat->resident_pages);
}

// The wall time at which this process began.
static int64_t start_time_us(int64_t start_ticks)
{
    struct timespec wall, boot;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    int64_t booted_us =
        ((int64_t)wall.tv_sec - boot.tv_sec) * 1000000 + (wall.tv_nsec - boot.tv_nsec) / 1000;
    int64_t ticks_per_second = sysconf(_SC_CLK_TCK);
    return booted_us + start_ticks * (1000000 / ticks_per_second);
}

static void append_process(const struct output *o)
{
    struct buf *b = o->b;
    append_head(o, "process_cpu_seconds_total", "User and system CPU time spent in seconds.",
                "counter");
    buf_append_z(b, "process_cpu_seconds_total ");
    append_seconds(b, cpu_us());
    struct rlimit fds;
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0) {
        append_plain(o, "process_max_fds", "Maximum number of open file descriptors.", "gauge",
                     fds.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)fds.rlim_cur); // RLIM_INFINITY
    }
    int64_t open_fds = count_fds();
    if (open_fds >= 0) {
        append_plain(o, "process_open_fds", "Number of open file descriptors.", "gauge", open_fds);
    }
    struct process_stat stat;
    if (!read_stat(&stat)) {
        return;
    }
    append_plain(o, "process_resident_memory_bytes", "Resident memory size in bytes.", "gauge",
                 stat.resident_pages * sysconf(_SC_PAGESIZE));
    append_head(o, "process_start_time_seconds", "Start time since the epoch in seconds.", "gauge");
    buf_append_z(b, "process_start_time_seconds ");
    append_seconds(b, start_time_us(stat.start_ticks));
    append_plain(o, "process_threads", "Number of threads.", "gauge", stat.threads);
    append_plain(o, "process_virtual_memory_bytes", "Virtual memory size in bytes.", "gauge",
                 stat.virtual_bytes);
}

void metrics_render(struct buf *b, enum metrics_format format)
{
    const struct output o = { b, format };
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"
    };
    append_process(&o);
    pthread_mutex_lock(&lock);
    const char *name = "";
    for (const struct metric *m = registered; m; m = m->next) {
        if (strcmp(name, m->name) != 0) {
            name = m->name;
            append_head(&o, name, m->help, types[m->type]);
        }
        append_metric(&o, m);
    }
    pthread_mutex_unlock(&lock);
    if (format == METRICS_OPENMETRICS) {
        buf_append_z(b, "# EOF\n");
    }
}

// --- Which format

const char *metrics_media_type(enum metrics_format format)
{
    return format == METRICS_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}

// Cuts what stands before the next separator off *rest, without blanks around it.
static struct str cut(struct str *rest, char separator)
{
    const char *end = rest->n ? memchr(rest->p, separator, rest->n) : NULL;
    struct str part = { rest->p, end ? (size_t)(end - rest->p) : rest->n };
    *rest = end ? (struct str){ end + 1, rest->n - part.n - 1 } : (struct str){ NULL, 0 };
    while (part.n > 0 && (part.p[0] == ' ' || part.p[0] == '\t')) {
        part.p++, part.n--;
    }
    while (part.n > 0 && (part.p[part.n - 1] == ' ' || part.p[part.n - 1] == '\t')) {
        part.n--;
    }
    return part;
}

// The parameter q of a media range, in thousandths.
static int quality_of(struct str parameters)
{
    while (parameters.n > 0) {
        struct str p = cut(&parameters, ';');
        if (p.n < 2 || (p.p[0] | 0x20) != 'q' || p.p[1] != '=') {
            continue;
        }
        int q = 0, weight = 100;
        for (size_t i = 4; i < p.n && p.p[i] >= '0' && p.p[i] <= '9'; i++, weight /= 10) {
            q += (p.p[i] - '0') * weight;
        }
        return p.n > 2 && p.p[2] == '1' ? 1000 : q;
    }
    return 1000;
}

enum metrics_format metrics_accept(struct str accept)
{
    int best[METRICS_FORMATS] = { 0, 0 };
    while (accept.n > 0) {
        struct str range = cut(&accept, ',');
        struct str type = cut(&range, ';');
        bool open = str_eq(type, STR("application/openmetrics-text"));
        if (open || str_eq(type, STR("text/plain"))) {
            int q = quality_of(range), *of = &best[open ? METRICS_OPENMETRICS : METRICS_TEXT];
            *of = q > *of ? q : *of;
        }
    }
    return best[METRICS_OPENMETRICS] > best[METRICS_TEXT] ? METRICS_OPENMETRICS : METRICS_TEXT;
}
