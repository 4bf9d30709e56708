// SPDX-License-Identifier: MIT
#include "gateway/topology.h"

#include "common/clock.h"

static void append_string(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "\"%s\":\"", name);
    buf_append_json(b, str_of(value));
    buf_append_char(b, '"');
}

static int64_t oldest_waiting_ms(const struct lane *lane)
{
    int64_t oldest_us = 0, now_us = clock_mono_us();
    for (int i = 0; lane->queue && i < FRAME_CLASSES; i++) {
        const struct waiter *w = lane->queue->classes[i].oldest;
        if (w && (oldest_us == 0 || w->since_us < oldest_us)) {
            oldest_us = w->since_us;
        }
    }
    return oldest_us ? (now_us - oldest_us) / 1000 : 0;
}

static void append_worker(struct buf *b, const struct worker *w)
{
    int64_t now_ms = clock_mono_ms();
    buf_append_char(b, '{');
    append_string(b, "instance", w->instance);
    buf_append_char(b, ',');
    append_string(b, "version", w->version);
    buf_printf(b,
               ",\"role\":\"%s\",\"state\":\"%s\",\"capacity\":%u,\"credit\":%u,\"in_flight\":%u",
               worker_role_name(w->role), worker_state_name(w->state), w->capacity, w->credit,
               w->in_flight);
    buf_printf(b,
               ",\"oldest_here_ms\":%lld,\"oldest_there_ms\":%u,\"silent_ms\":%lld,\"schema\":\"",
               w->first ? (long long)(now_ms - w->first->sent_us / 1000) : 0, w->oldest_ms,
               (long long)(now_ms - w->heard_ms));
    buf_append_json(b, w->table->hello.schema);
    buf_append_z(b, "\"}");
}

static void append_service(struct buf *b, const struct gateway *g, const struct service *service)
{
    const struct lane *lane = &g->balancer.lanes[service->index];
    buf_printf(b,
               "{\"service\":\"%s\",\"serving\":%zu,\"waiting\":%zu,\"oldest_waiting_ms\":%lld,"
               "\"schemas\":[",
               service->name, balancer_serving(&g->balancer, service), lane_waiting(lane),
               (long long)oldest_waiting_ms(lane));
    bool first = true;
    for (size_t i = 0; i < TABLES_MAX; i++) {
        const struct table *t = service->tables[i];
        if (t) {
            buf_append_z(b, first ? "{\"schema\":\"" : ",{\"schema\":\"");
            buf_append_json(b, t->hello.schema);
            buf_printf(b, "\",\"routes\":%zu,\"workers\":%zu}", t->hello.n_routes, t->workers);
            first = false;
        }
    }
    buf_append_z(b, "],\"workers\":[");
    for (size_t i = 0; i < lane->n_workers; i++) {
        buf_append_z(b, i ? "," : "");
        append_worker(b, lane->workers[i]);
    }
    buf_append_z(b, "]}");
}

int topology_page(struct str query, struct buf *body, const char **ret_media_type, void *data)
{
    const struct gateway *g = data;
    (void)query;
    *ret_media_type = "application/json";
    buf_append_char(body, '{');
    append_string(body, "gateway", g->config.common.instance);
    buf_printf(body,
               ",\"draining\":%s,\"connections\":%zu,\"pending_out_bytes\":%zu,\"in_flight\":%zu,"
               "\"services\":[",
               g->draining ? "true" : "false", g->n_connections, g->pending_out_bytes,
               g->balancer.n_flights);
    for (size_t i = 0; i < g->router.n_services; i++) {
        buf_append_z(body, i ? "," : "");
        append_service(body, g, g->router.services[i]);
    }
    buf_append_z(body, "]}\n");
    return 200;
}
