// SPDX-License-Identifier: MIT
#include "gateway/policy_watch.h"

#include "common/log.h"
#include "common/metrics.h"
#include "common/watched_file.h"
#include "gateway/policy_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct policy_watch {
    const char *path;
    struct router *router;
    struct policy **policy; // the one in use
    uint64_t generation;    // of the router when the rules were compared with its routes
    bool is_bound;
    struct watched_file file;
    uv_timer_t timer;
    struct metric loaded, refused, stale, rules, unmatched;
};

// --- Metrics

static void register_metric(struct metric *m, enum metric_type type, const char *name,
                            const char *help, const char *labels)
{
    m->type = type;
    m->name = name;
    m->help = help;
    m->labels = labels;
    metrics_register(m);
}

static void register_metrics(struct policy_watch *w)
{
    static const char loads[] = "Policy files read, by what became of them.";
    register_metric(&w->loaded, METRIC_COUNTER, "sluice_gateway_policy_loads_total", loads,
                    "result=\"used\"");
    register_metric(&w->refused, METRIC_COUNTER, "sluice_gateway_policy_loads_total", loads,
                    "result=\"refused\"");
    register_metric(&w->stale, METRIC_GAUGE, "sluice_gateway_policy_stale",
                    "1 when the policy file has mistakes and an older policy is in use.", NULL);
    register_metric(&w->rules, METRIC_GAUGE, "sluice_gateway_policy_rules",
                    "Rules of the policy in use.", NULL);
    register_metric(&w->unmatched, METRIC_GAUGE, "sluice_gateway_policy_unmatched_rules",
                    "Rules of the policy in use that are for no route.", NULL);
}

// --- Use

void policy_watch_follow(struct policy_watch *w)
{
    if (!w->is_bound || w->generation != w->router->generation) {
        size_t unmatched = policy_bind(*w->policy, w->router);
        metric_set(&w->unmatched, (int64_t)unmatched);
        w->generation = w->router->generation;
        w->is_bound = true;
    }
}

static void use(struct policy_watch *w, struct policy **policy)
{
    struct policy *p = *policy;
    *policy = NULL;
    policy_unref(w->policy); // requests that began with it keep it
    *w->policy = p;
    w->is_bound = false;
    metric_add(&w->loaded, 1);
    metric_set(&w->stale, 0);
    metric_set(&w->rules, (int64_t)p->n_rules);
    policy_watch_follow(w);
}

// --- Watching

static void log_mistakes(const struct policy_watch *w, struct str mistakes, int rc)
{
    log_lines(LEVEL_ERROR, mistakes);
    log_error("%s changed, but cannot be used%s; keeping the policy from before", w->path,
              rc == -EINVAL ? "" : ": out of memory");
}

static void reload(struct policy_watch *w)
{
    struct buf mistakes;
    struct policy *policy = NULL;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    int rc = policy_file_read(w->path, &mistakes, &policy);
    if (rc) {
        log_mistakes(w, buf_str(&mistakes), rc);
        metric_add(&w->refused, 1);
        metric_set(&w->stale, 1);
        if (rc == -ENOMEM) {
            watched_file_again(&w->file, 0); // the timer has its pace
        }
    } else {
        log_info("read a policy of %zu rules from %s", policy->n_rules, w->path);
        use(w, &policy);
    }
    buf_fini(&mistakes);
}

static void on_look(uv_timer_t *timer)
{
    struct policy_watch *w = timer->data;
    policy_watch_follow(w);
    if (watched_file_changed(&w->file)) {
        reload(w);
    }
}

// --- Opening and closing

int policy_watch_open(uv_loop_t *loop, const char *path, struct router *router,
                      struct policy **policy, struct policy_watch **ret_watch)
{
    struct policy_watch *w = calloc(1, sizeof *w);
    struct policy *first = NULL;
    struct buf mistakes;
    if (!w) {
        return -ENOMEM;
    }
    w->path = path;
    w->router = router;
    w->policy = policy;
    (void)watched_file_begin(&w->file, path); // when it is not there, reading it fails
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    int rc = policy_file_read(path, &mistakes, &first);
    fprintf(stderr, "%.*s", STR_ARG(buf_str(&mistakes)));
    buf_fini(&mistakes);
    if (rc) {
        free(w);
        return rc;
    }
    register_metrics(w);
    use(w, &first);
    (void)uv_timer_init(loop, &w->timer); // cannot fail
    w->timer.data = w;
    (void)uv_timer_start(&w->timer, on_look, POLICY_LOOK_MS, POLICY_LOOK_MS); // needs a callback
    *ret_watch = w;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct policy_watch *w = handle->data;
    struct metric *metrics[] = { &w->loaded, &w->refused, &w->stale, &w->rules, &w->unmatched };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        metrics_unregister(metrics[i]);
    }
    free(w);
}

void policy_watch_close(struct policy_watch **watch)
{
    struct policy_watch *w = *watch;
    *watch = NULL;
    if (w) {
        uv_close((uv_handle_t *)&w->timer, on_closed);
    }
}
