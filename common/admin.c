// SPDX-License-Identifier: MIT
// One request per connection keeps this small: the request is collected in one buffer, answered
// when its head is complete (a body is wanted only where a POST is), and the connection is read
// empty until the peer closes it, because closing with unread bytes would reset it and could take
// the answer away. A handler may answer later, or go on answering: a stream.
#include "common/admin.h"

#include "common/address.h"
#include "common/admin_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINGER_MS 1000 // how long a peer may take to close after the answer
#define BACKLOG 32     // connections that the kernel holds while the loop is busy

static void on_connection(uv_stream_t *listener, int status);

// --- Closing

static void release(struct admin *a)
{
    assert(a->n_open > 0);
    if (--a->n_open == 0 && a->closing) {
        for (size_t i = 0; i < a->n_listeners; i++) {
            free(a->listeners[i].path);
        }
        free(a);
    }
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    release(l->admin);
}

static void accept_waiting(struct admin *a)
{
    for (size_t i = 0; i < a->n_listeners; i++) {
        struct listener *l = &a->listeners[i];
        if (l->waiting) {
            l->waiting = false;
            on_connection(&l->socket.stream, 0);
        }
    }
}

static void on_connection_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    assert(c->phase == CLOSING && c->n_open > 0);
    if (--c->n_open == 0) {
        buf_fini(&c->body);
        c->phase = FREE;
        accept_waiting(c->admin);
        release(c->admin);
    }
}

void admin_connection_close(struct connection *c)
{
    assert(c->phase != FREE);
    if (c->phase == CLOSING) {
        return;
    }
    bool handled = c->phase == HANDLING || c->phase == STREAMING;
    c->admin->n_streams -= c->phase == STREAMING;
    c->phase = CLOSING;
    uv_close(&c->socket.handle, on_connection_closed);
    uv_close((uv_handle_t *)&c->timer, on_connection_closed);
    if (handled && c->on_gone) {
        c->on_gone(c->on_gone_data);
    }
}

// --- Answering

static void on_shutdown(uv_shutdown_t *shutdown, int status)
{
    if (status < 0 && status != UV_ECANCELED) {
        admin_connection_close(shutdown->data);
    }
}

static void on_linger_timer(uv_timer_t *timer)
{
    admin_connection_close(timer->data);
}

static void on_written(uv_write_t *write, int status)
{
    struct connection *c = write->data;
    if (c->phase == CLOSING) {
        return;
    }
    assert(c->phase == ANSWERING);
    if (status < 0) {
        admin_connection_close(c);
        return;
    }
    c->phase = LINGERING;
    c->shutdown.data = c;
    if (uv_shutdown(&c->shutdown, &c->socket.stream, on_shutdown) < 0 ||
        uv_timer_start(&c->timer, on_linger_timer, LINGER_MS, 0) < 0) {
        admin_connection_close(c);
    }
}

struct methods {
    const char *allow, *refusal;
};

// What a page (NULL: none) takes, in words.
static const struct methods *methods_of(const struct page *page)
{
    static const struct methods methods[] = {
        [ADMIN_TAKES_GET] = { "Allow: GET, HEAD\r\n", "GET and HEAD only" },
        [ADMIN_TAKES_POST] = { "Allow: POST\r\n", "POST only" },
        [ADMIN_TAKES_GET_AND_PUT] = { "Allow: GET, HEAD, PUT\r\n", "GET, HEAD and PUT only" },
    };
    return &methods[page ? page->takes : ADMIN_TAKES_GET];
}

void admin_connection_answer(struct connection *c, int status, const char *media_type,
                             const char *fields)
{
    assert(c->phase == READING || c->phase == HANDLING);
    int n = snprintf(c->head, sizeof(c->head),
                     "HTTP/1.1 %d %s\r\n"
                     "Content-Type: %s\r\n"
                     "Content-Length: %zu\r\n"
                     "%s%s"
                     "Cache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\n"
                     "Connection: close\r\n\r\n",
                     status, llhttp_status_name((llhttp_status_t)status), media_type, c->body.len,
                     status == 405 ? methods_of(c->page)->allow : "", fields);
    assert(n > 0 && n < HEAD_SIZE);
    c->phase = ANSWERING;
    bool head_only = c->parser.method == HTTP_HEAD;
    uv_buf_t parts[] = {
        uv_buf_init(c->head, (unsigned)n),
        uv_buf_init(c->body.data, (unsigned)c->body.len),
    };
    c->write.data = c;
    if (uv_write(&c->write, &c->socket.stream, parts, head_only ? 1 : 2, on_written) < 0) {
        admin_connection_close(c);
    }
}

void admin_connection_refuse(struct connection *c, int status, const char *text)
{
    buf_reset(&c->body);
    buf_append_z(&c->body, text);
    buf_append_char(&c->body, '\n');
    if (!buf_ok(&c->body)) {
        buf_reset(&c->body); // no memory for a sentence: the status must do
    }
    admin_connection_answer(c, status, "text/plain; charset=utf-8", "");
}

static void send_not_found(struct connection *c)
{
    buf_append_z(&c->body, "no such page; there are:");
    for (size_t i = 0; i < c->admin->n_pages; i++) {
        buf_printf(&c->body, " %s", c->admin->pages[i].path);
    }
    buf_append_char(&c->body, '\n');
    if (!buf_ok(&c->body)) {
        buf_reset(&c->body);
    }
    admin_connection_answer(c, 404, "text/plain; charset=utf-8", "");
}

static void send_page(struct connection *c, const struct page *page, struct str query)
{
    const char *media_type = "text/plain; charset=utf-8";
    int status = page->write(query, &c->body, &media_type, page->data);
    assert(status >= 200 && status <= 599);
    if (buf_ok(&c->body)) {
        admin_connection_answer(c, status, media_type, "");
    } else {
        admin_connection_refuse(c, 500,
                                buf_error(&c->body) == -ENOMEM ? "no memory for this page"
                                                               : "page is too large");
    }
}

struct str admin_connection_path(const struct connection *c, struct str *ret_query)
{
    struct str path = admin_connection_text(c, c->target);
    *ret_query = (struct str){ NULL, 0 };
    const char *mark = path.n ? memchr(path.p, '?', path.n) : NULL;
    if (mark) {
        *ret_query = (struct str){ mark + 1, path.n - (size_t)(mark + 1 - path.p) };
        path.n = (size_t)(mark - path.p);
    }
    return path;
}

static const struct page *find_page(const struct connection *c)
{
    struct str query, path = admin_connection_path(c, &query);
    for (size_t i = 0; i < c->admin->n_pages; i++) {
        if (str_eq(str_of(c->admin->pages[i].path), path)) {
            return &c->admin->pages[i];
        }
    }
    return NULL;
}

// Whether the method is one that the page (NULL: none) takes.
static bool takes_method(const struct page *page, const llhttp_t *parser)
{
    enum admin_takes takes = page ? page->takes : ADMIN_TAKES_GET;
    if (takes == ADMIN_TAKES_POST || parser->method == HTTP_POST) {
        return takes == ADMIN_TAKES_POST && parser->method == HTTP_POST;
    }
    return parser->method == HTTP_GET || parser->method == HTTP_HEAD ||
           (takes == ADMIN_TAKES_GET_AND_PUT && parser->method == HTTP_PUT);
}

static void handle(struct connection *c)
{
    c->phase = HANDLING;
    c->on_gone = NULL;
    c->page->on_request((struct admin_request *)c, c->page->data);
}

static void answer(struct connection *c)
{
    struct str query;
    if (c->parser.http_major != 1) {
        admin_connection_refuse(c, 505, "HTTP/1.1 or HTTP/1.0 only");
    } else if (!takes_method(c->page, &c->parser)) {
        admin_connection_refuse(c, 405, methods_of(c->page)->refusal);
    } else if (c->refused == 411) {
        admin_connection_refuse(c, 411, "a body needs a Content-Length");
    } else if (c->refused) {
        admin_connection_refuse(c, c->refused, "the body is too long");
    } else if (!c->page) {
        send_not_found(c);
    } else if (c->page->write) {
        (void)admin_connection_path(c, &query);
        send_page(c, c->page, query);
    } else {
        handle(c);
    }
}

// --- Reading

// What is parsed may come in several pieces; they are one stretch of request[].
static int extend(struct connection *c, struct span *span, const char *at, size_t n)
{
    if (span->n == 0) {
        span->at = (size_t)(at - c->request);
    }
    span->n += n;
    assert(span->at + span->n <= sizeof(c->request));
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    struct connection *c = parser->data;
    return extend(c, &c->target, at, n);
}

static int on_header_field(llhttp_t *parser, const char *at, size_t n)
{
    struct connection *c = parser->data;
    return extend(c, &c->name, at, n);
}

static int on_header_value(llhttp_t *parser, const char *at, size_t n)
{
    struct connection *c = parser->data;
    return extend(c, &c->value, at, n);
}

static int on_header_value_complete(llhttp_t *parser)
{
    static const char *const names[ADMIN_FIELDS] = { [ADMIN_ACCEPT] = "accept",
                                                     [ADMIN_AUTHORIZATION] = "authorization",
                                                     [ADMIN_CONTENT_TYPE] = "content-type" };
    struct connection *c = parser->data;
    struct str name = admin_connection_text(c, c->name), value = admin_connection_text(c, c->value);
    while (value.n > 0 && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t')) {
        value.n--;
    }
    for (int i = 0; i < ADMIN_FIELDS; i++) {
        if (name.n == strlen(names[i]) && strncasecmp(name.p, names[i], name.n) == 0) {
            c->twice = c->twice || c->fields[i].n > 0;
            c->fields[i] = (struct span){ c->value.at, value.n };
        }
    }
    c->name.n = c->value.n = 0;
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct connection *c = parser->data;
    c->page = find_page(c);
    if (!c->page || c->page->takes != ADMIN_TAKES_POST || parser->method != HTTP_POST) {
        return HPE_PAUSED; // a body, or a next request, is not read
    }
    if (parser->flags & F_CHUNKED) {
        c->refused = 411;
    } else if (parser->content_length > ADMIN_BODY_BYTES) {
        c->refused = 413;
    }
    return c->refused ? HPE_PAUSED : 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct connection *c = parser->data;
    return extend(c, &c->body_span, at, n);
}

static int on_message_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = { .on_url = on_url,
                                            .on_header_field = on_header_field,
                                            .on_header_value = on_header_value,
                                            .on_header_value_complete = on_header_value_complete,
                                            .on_headers_complete = on_headers_complete,
                                            .on_body = on_body,
                                            .on_message_complete = on_message_complete };

static void parse(struct connection *c, size_t n)
{
    assert(c->phase == READING);
    llhttp_errno_t e = llhttp_execute(&c->parser, c->request + c->n_request, n);
    c->n_request += n;
    if (e == HPE_PAUSED || e == HPE_PAUSED_UPGRADE) {
        answer(c);
    } else if (e != HPE_OK) {
        admin_connection_refuse(c, 400, "not an HTTP/1.1 request");
    } else if (c->n_request == sizeof(c->request) && c->page) {
        admin_connection_refuse(c, 413, "head and body are too long");
    } else if (c->n_request == sizeof(c->request)) {
        admin_connection_refuse(c, 431, "request line and headers are too long");
    }
}

static void on_read_timer(uv_timer_t *timer)
{
    struct connection *c = timer->data;
    if (c->phase == READING && c->n_request > 0) {
        admin_connection_refuse(c, 408, "the request took too long");
    } else {
        admin_connection_close(c);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    (void)suggested;
    struct connection *c = handle->data;
    size_t from = c->phase == READING ? c->n_request : 0;
    assert(from < sizeof(c->request));
    *ret_buf = uv_buf_init(c->request + from, (unsigned)(sizeof(c->request) - from));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct connection *c = stream->data;
    if (n < 0) {
        // After a half-close by the peer the answer is still wanted; a stream is not.
        if (n == UV_EOF && (c->phase == ANSWERING || c->phase == HANDLING)) {
            uv_read_stop(stream);
        } else {
            admin_connection_close(c);
        }
    } else if (n > 0 && c->phase == READING) {
        parse(c, (size_t)n);
    }
}

// --- Accepting

// Neither can fail: they only fill in the struct.
static void init_handle(uv_loop_t *loop, union stream_handle *h, uv_handle_type type)
{
    int r = type == UV_NAMED_PIPE ? uv_pipe_init(loop, &h->pipe, 0) : uv_tcp_init(loop, &h->tcp);
    assert(r == 0);
}

static int start_connection(struct connection *c, uv_stream_t *listener)
{
    int r = uv_accept(listener, &c->socket.stream);
    if (r < 0) {
        return r;
    }
    r = uv_read_start(&c->socket.stream, on_alloc, on_read);
    if (r < 0) {
        return r;
    }
    return uv_timer_start(&c->timer, on_read_timer, ADMIN_TIMEOUT_MS, 0);
}

static void init_connection(struct connection *c, struct admin *a, uv_handle_type type)
{
    assert(c->phase == FREE);
    c->admin = a;
    c->phase = READING;
    c->n_request = 0;
    c->page = NULL;
    c->refused = 0;
    c->twice = false;
    c->target = c->name = c->value = c->body_span = (struct span){ 0, 0 };
    memset(c->fields, 0, sizeof c->fields);
    buf_init(&c->body, ADMIN_PAGE_BYTES);
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->parser.data = c;
    init_handle(a->loop, &c->socket, type);
    c->socket.handle.data = c;
    (void)uv_timer_init(a->loop, &c->timer); // only fills in the struct
    c->timer.data = c;
    c->n_open = 2;
    a->n_open++;
}

static struct connection *find_free(struct admin *a)
{
    for (size_t i = 0; i < ADMIN_MAX_CONNECTIONS; i++) {
        if (a->connections[i].phase == FREE) {
            return &a->connections[i];
        }
    }
    return NULL;
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *l = stream->data;
    if (status < 0 || l->admin->closing) {
        return; // out of descriptors: libuv tries again by itself
    }
    struct connection *c = find_free(l->admin);
    if (!c) {
        l->waiting = true;
        return;
    }
    init_connection(c, l->admin, stream->type);
    if (start_connection(c, stream) < 0) {
        admin_connection_close(c);
    }
}

// --- Listening

static int remember_path(struct listener *l, const struct address *address)
{
    const char *path = address_path(address);
    if (!path) {
        return 0;
    }
    struct stat st;
    if (lstat(path, &st) < 0) {
        return -errno;
    }
    l->inode = st.st_ino;
    l->path = strdup(path);
    return l->path ? 0 : -ENOMEM;
}

static int add_listener(struct admin *a, struct str text)
{
    struct address address;
    int r = address_parse(text, &address);
    if (r < 0) {
        return r;
    }
    if (a->n_listeners == ADMIN_MAX_LISTENERS) {
        return -E2BIG;
    }
    int fd = address_bind(&address);
    if (fd < 0) {
        return fd;
    }
    struct listener *l = &a->listeners[a->n_listeners];
    bool local = address_path(&address) != NULL;
    init_handle(a->loop, &l->socket, local ? UV_NAMED_PIPE : UV_TCP);
    l->admin = a;
    l->socket.handle.data = l;
    a->n_listeners++;
    a->n_open++;
    r = local ? uv_pipe_open(&l->socket.pipe, fd) : uv_tcp_open(&l->socket.tcp, fd);
    if (r < 0) {
        close(fd);
        return r;
    }
    r = remember_path(l, &address);
    return r < 0 ? r : uv_listen(&l->socket.stream, BACKLOG, on_connection);
}

static int add_listeners(struct admin *a, const char *addresses)
{
    for (const char *p = addresses;;) {
        size_t n = strcspn(p, ",");
        int r = add_listener(a, (struct str){ p, n });
        if (r < 0) {
            return r;
        }
        if (p[n] == '\0') {
            return 0;
        }
        p += n + 1;
    }
}

int admin_open(uv_loop_t *loop, const char *addresses, struct admin **ret_admin)
{
    struct admin *a = calloc(1, sizeof(*a));
    if (!a) {
        return -ENOMEM;
    }
    a->loop = loop;
    int r = add_listeners(a, addresses);
    if (r < 0) {
        admin_close(&a);
        return r;
    }
    *ret_admin = a;
    return 0;
}

static int add_page(struct admin *a, const struct page *page)
{
    if (!a) {
        return 0;
    }
    if (a->n_pages == ADMIN_MAX_PAGES) {
        return -ENOSPC;
    }
    a->pages[a->n_pages++] = *page;
    return 0;
}

int admin_page(struct admin *a, const char *path, admin_page_fn *page, void *data)
{
    assert(path[0] == '/');
    return add_page(a, &(struct page){ .path = path, .write = page, .data = data });
}

int admin_handle(struct admin *a, const char *path, enum admin_takes takes, admin_handler_fn *f,
                 void *data)
{
    assert(path[0] == '/');
    return add_page(a,
                    &(struct page){ .path = path, .on_request = f, .takes = takes, .data = data });
}

static void close_listener(struct listener *l)
{
    struct stat st;
    if (l->path && lstat(l->path, &st) == 0 && st.st_ino == l->inode) {
        (void)unlink(l->path); // what stays is stale, and the next one replaces it
    }
    uv_close(&l->socket.handle, on_listener_closed);
}

void admin_close(struct admin **admin)
{
    struct admin *a = *admin;
    *admin = NULL;
    if (!a) {
        return;
    }
    a->closing = true;
    a->n_open++; // so that it lives through this function
    for (size_t i = 0; i < ADMIN_MAX_CONNECTIONS; i++) {
        if (a->connections[i].phase != FREE) {
            admin_connection_close(&a->connections[i]);
        }
    }
    for (size_t i = 0; i < a->n_listeners; i++) {
        close_listener(&a->listeners[i]);
    }
    release(a);
}
