// SPDX-License-Identifier: MIT
#include "gateway/own_routes.h"

#include "gateway/answer.h"
#include "gateway/document.h"

#define JSON "application/json"
#define NEVER_CACHED "no-store"

// What SLUICE_DOCS allows: each level has what the one before it has.
enum docs { DOCS_OFF, DOCS_DOCUMENTS, DOCS_PAGE };

static enum docs docs_of(const char *name)
{
    return strcmp(name, "page") == 0        ? DOCS_PAGE
           : strcmp(name, "documents") == 0 ? DOCS_DOCUMENTS
                                            : DOCS_OFF;
}

static struct buf *begin(struct exchange *x, int status)
{
    answer_begin(x, status);
    return &x->gateway->response.body;
}

static void answer_index(struct exchange *x)
{
    enum docs docs = docs_of(x->gateway->config.docs);
    struct buf *body = begin(x, 200);
    buf_append_z(body, "{\"name\":\"sluice\",\"version\":\"" SLUICE_VERSION "\",\"links\":{");
    buf_append_z(body, docs >= DOCS_PAGE ? "\"docs\":\"/docs\"," : "");
    buf_append_z(body, docs >= DOCS_DOCUMENTS
                           ? "\"openapi\":\"/openapi.json\",\"asyncapi\":\"/asyncapi.json\","
                           : "");
    buf_append_z(
        body, "\"problems\":\"/problems\",\"keys\":\"/.well-known/jwks.json\",\"live\":\"/livez\","
              "\"ready\":\"/readyz\"}}");
    answer_document(x, 200, JSON, STR(""), "public, max-age=300");
}

static void answer_livez(struct exchange *x)
{
    buf_append_z(begin(x, 200), "{\"status\":\"live\"}");
    answer_document(x, 200, JSON, STR(""), NEVER_CACHED);
}

// Ready: some worker serves or is started on demand, and no service is just coming up for the
// first time. So a client is not sent here before everything is up; but when one service is lost
// later, the others are still worth coming for.
static void answer_readyz(struct exchange *x)
{
    const struct gateway *g = x->gateway;
    size_t serving = 0, coming = 0;
    for (size_t i = 0; i < g->router.n_services; i++) {
        serving += balancer_serving(&g->balancer, g->router.services[i]) ||
                   on_demand_is(&g->on_demand, g->router.services[i]);
        coming += !g->balancer.lanes[i].served && g->balancer.lanes[i].n_workers > 0;
    }
    bool ready = !g->draining && serving > 0 && coming == 0;
    struct buf *body = begin(x, ready ? 200 : 503);
    buf_printf(body, "{\"status\":\"%s\",\"services\":{",
               ready         ? "ready"
               : g->draining ? "draining"
                             : "not ready");
    for (size_t i = 0; i < g->router.n_services; i++) {
        const struct service *service = g->router.services[i];
        buf_printf(body, "%s\"%s\":%zu", i ? "," : "", service->name,
                   balancer_serving(&g->balancer, service));
    }
    buf_append_z(body, "}}");
    answer_document(x, ready ? 200 : 503, JSON, STR(""), NEVER_CACHED);
}

static void answer_description(struct exchange *x, struct document *document)
{
    struct str json, etag;
    if (document_get(document, &x->gateway->router, &json, &etag)) {
        answer_problem(x, PROBLEM_INTERNAL, NULL);
        return;
    }
    buf_append_str(begin(x, 200), json);
    answer_document(x, 200, JSON, etag, "no-cache");
}

static void answer_openapi(struct exchange *x)
{
    answer_description(x, x->gateway->openapi);
}

static void answer_asyncapi(struct exchange *x)
{
    answer_description(x, x->gateway->asyncapi);
}

// /docs, and /docs/{file}.
static void answer_docs(struct exchange *x)
{
    struct str name = x->match.n_params ? x->match.params[0] : STR("");
    for (const struct page_file *f = docs_files; f->path; f++) {
        const char *of_file = f->path + strlen("/docs");
        if (str_eq(name, str_of(*of_file ? of_file + 1 : of_file))) {
            answer_page(x, f);
            return;
        }
    }
    answer_problem(x, PROBLEM_NOT_FOUND, NULL);
}

static void answer_jwks(struct exchange *x)
{
    jwks_render(authenticator_keys(x->gateway->authenticator), begin(x, 200));
    answer_document(x, 200, "application/jwk-set+json", STR(""), "public, max-age=300");
}

static void answer_problems(struct exchange *x)
{
    const struct router *r = &x->gateway->router;
    struct buf *body = begin(x, 200);
    buf_append_z(body, "{\"items\":[");
    for (enum problem p = (enum problem)0; p < PROBLEM_COUNT; p++) {
        const struct problem_type *t = problem_type(p);
        buf_append_z(body, p ? "," : "");
        problem_write_page(t->slug, t->title, t->status, t->meaning, body);
    }
    for (size_t i = 0; i < r->n_services * TABLES_MAX; i++) {
        const struct table *t = r->services[i / TABLES_MAX]->tables[i % TABLES_MAX];
        for (size_t k = 0; t && k < t->hello.n_problems; k++) {
            const struct frame_problem *f = &t->hello.problems[k];
            if (!problem_find(f->slug) &&
                router_problem(r, f->slug) == f) { // the first one of its name
                buf_append_char(body, ',');
                problem_write_page(f->slug, f->title, (int)f->status, f->meaning, body);
            }
        }
    }
    buf_append_z(body, "]}");
    answer_document(x, 200, JSON, STR(""), "public, max-age=300");
}

static void answer_problem_page(struct exchange *x)
{
    struct str slug = x->match.params[0];
    const struct problem_type *own = problem_find(slug);
    const struct frame_problem *announced = own ? NULL : router_problem(&x->gateway->router, slug);
    if (!own && !announced) {
        answer_problem(x, PROBLEM_NOT_FOUND, "There is no problem type of this name.");
        return;
    }
    struct buf *body = begin(x, 200);
    if (own) {
        problem_write_page(own->slug, own->title, own->status, own->meaning, body);
    } else {
        problem_write_page(announced->slug, announced->title, (int)announced->status,
                           announced->meaning, body);
    }
    answer_document(x, 200, JSON, STR(""), "public, max-age=300");
}

#define OPERATION(id, summary, parameters, responses)                                              \
    "{\"operationId\":\"" id "\",\"summary\":\"" summary                                           \
    "\",\"tags\":[\"gateway\"],\"security\":[],"                                                   \
    "\"parameters\":[" parameters "],\"responses\":{" responses "}}"
#define ANSWER(status, text)                                                                       \
    "\"" status "\":{\"description\":\"" text "\",\"content\":{\"application/json\":{}}}"
#define PROBLEM_ANSWER(status, text)                                                               \
    "\"" status "\":{\"description\":\"" text                                                      \
    "\",\"content\":{\"application/problem+json\":{\"schema\":"                                    \
    "{\"$ref\":\"#/components/schemas/problem\"}}}}"

static const struct {
    const char *pattern, *operation;
    route_own_fn *answer;
    enum docs needs; // DOCS_OFF: always there
} own_routes[] = {
    { "/", OPERATION("getIndex", "Where to go from here", "", ANSWER("200", "Links")), answer_index,
      DOCS_OFF },
    { "/livez", OPERATION("getLivez", "Whether the gateway runs", "", ANSWER("200", "It runs")),
      answer_livez, DOCS_OFF },
    { "/readyz",
      OPERATION(
          "getReadyz", "Whether requests can be served", "",
          ANSWER("200", "They can") "," ANSWER("503", "Not yet, or the gateway is being stopped")),
      answer_readyz, DOCS_OFF },
    { "/openapi.json", OPERATION("getOpenapi", "This document", "", ANSWER("200", "OpenAPI 3.1")),
      answer_openapi, DOCS_DOCUMENTS },
    { "/asyncapi.json",
      OPERATION("getAsyncapi", "The events that services publish", "",
                ANSWER("200", "AsyncAPI 3.0")),
      answer_asyncapi, DOCS_DOCUMENTS },
    { "/docs",
      OPERATION("getDocs", "The page that shows this document and the one of the events", "",
                "\"200\":{\"description\":\"The page\",\"content\":{\"text/html\":{}}}"),
      answer_docs, DOCS_PAGE },
    { "/docs/{file}", "", answer_docs, DOCS_PAGE }, // parts of the page: not in the document
    { "/.well-known/jwks.json",
      OPERATION("getJwks", "Public keys of access tokens", "",
                "\"200\":{\"description\":\"JSON Web Key "
                "Set\",\"content\":{\"application/jwk-set+json\":{}}}"),
      answer_jwks, DOCS_OFF },
    { "/problems", OPERATION("listProblems", "All problem types", "", ANSWER("200", "The list")),
      answer_problems, DOCS_OFF },
    { "/problems/{slug}",
      OPERATION(
          "getProblem", "What a problem type means",
          "{\"name\":\"slug\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}",
          ANSWER("200", "The explanation") "," PROBLEM_ANSWER("404", "There is no such type")),
      answer_problem_page, DOCS_OFF },
};

int own_routes_add(struct router *r, const char *docs)
{
    int rc = 0;
    for (size_t i = 0; i < sizeof own_routes / sizeof *own_routes && rc == 0; i++) {
        if (docs_of(docs) >= own_routes[i].needs) {
            rc = router_own(r, METHOD_GET, own_routes[i].pattern, own_routes[i].operation,
                            own_routes[i].answer);
        }
    }
    return rc;
}
