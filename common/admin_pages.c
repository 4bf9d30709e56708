// SPDX-License-Identifier: MIT
#include "common/admin_pages.h"

#include "common/admin.h"
#include "common/log.h"
#include "common/metrics.h"

#include <errno.h>

static int write_livez(struct str query, struct buf *body, const char **ret_media_type, void *data)
{
    (void)query;
    (void)ret_media_type;
    (void)data;
    buf_append_z(body, "ok\n");
    return 200;
}

static void answer_metrics(struct admin_request *r, void *data)
{
    (void)data;
    enum metrics_format format = metrics_accept(admin_request_field(r, ADMIN_ACCEPT));
    metrics_render(admin_answer_body(r), format);
    admin_answer(r, 200, metrics_media_type(format), "Vary: Accept\r\n");
}

static void refuse(struct admin_request *r, int status, const char *text)
{
    buf_append_z(admin_answer_body(r), text);
    admin_answer(r, status, "text/plain; charset=utf-8", "");
}

static void answer_log_level(struct admin_request *r, void *data)
{
    (void)data;
    struct str query = admin_request_query(r), name = STR("level=");
    if (admin_request_puts(r) && !admin_request_is_owners(r)) {
        refuse(r, 403, "the log level is changed through the unix socket only\n");
        return;
    }
    if (admin_request_puts(r)) {
        int level = str_starts(query, name)
                        ? log_level_parse((struct str){ query.p + name.n, query.n - name.n })
                        : -EINVAL;
        if (level < 0) {
            refuse(r, 400, "expected /log-level?level=LEVEL; allowed are " LOG_LEVEL_NAMES "\n");
            return;
        }
        log_set_level((enum log_level)level);
    }
    buf_printf(admin_answer_body(r), "%s\n", log_level_name(log_level()));
    admin_answer(r, 200, "text/plain; charset=utf-8", "");
}

int admin_pages_add(struct admin *a)
{
    int rc = admin_page(a, "/livez", write_livez, NULL);
    rc = rc ? rc : admin_handle(a, "/metrics", ADMIN_TAKES_GET, answer_metrics, NULL);
    return rc ? rc : admin_handle(a, "/log-level", ADMIN_TAKES_GET_AND_PUT, answer_log_level, NULL);
}
