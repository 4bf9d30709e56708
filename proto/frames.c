// SPDX-License-Identifier: MIT
// Encoders and decoders of the gateway-worker frames. Decoders read field by field from a bounded
// cursor and give up at the first that is not as PROTOCOL.md says; what a newer peer added at the
// end is not looked at.
#include "proto/frames.h"

#include "proto/writer.h"

#include <errno.h>

static int read_u32(struct reader *r, uint32_t *ret)
{
    uint64_t v;
    if (reader_uint(r, &v) || v > UINT32_MAX) {
        return -EBADMSG;
    }
    *ret = (uint32_t)v;
    return 0;
}

static int read_limited(struct reader *r, uint64_t max, uint32_t *ret)
{
    uint32_t v;
    if (read_u32(r, &v) || v > max) {
        return -EBADMSG;
    }
    *ret = v;
    return 0;
}

static int read_pairs(struct reader *r, struct frame_pair *pairs, size_t max, size_t *ret_n)
{
    uint32_t count, two;
    if (reader_array(r, &count) || count > max) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (reader_array(r, &two) || two != 2 || reader_str(r, &pairs[i].name) ||
            reader_str(r, &pairs[i].value)) {
            return -EBADMSG;
        }
    }
    *ret_n = count;
    return 0;
}

static void write_pairs(struct buf *b, const struct frame_pair *pairs, size_t n)
{
    writer_array(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        writer_array(b, 2);
        writer_str(b, pairs[i].name);
        writer_str(b, pairs[i].value);
    }
}

static int read_strings(struct reader *r, struct str *strings, size_t max, size_t *ret_n)
{
    uint32_t count;
    if (reader_array(r, &count) || count > max) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (reader_str(r, &strings[i])) {
            return -EBADMSG;
        }
    }
    *ret_n = count;
    return 0;
}

static int read_body(struct reader *r, struct str *ret)
{
    if (reader_nil(r) == 0) {
        *ret = (struct str){ NULL, 0 };
        return 0;
    }
    return reader_bin(r, ret);
}

static void write_body(struct buf *b, struct str body)
{
    if (body.p) {
        writer_bin(b, body);
    } else {
        writer_nil(b);
    }
}

static void begin(struct buf *b, enum frame_type type, uint32_t fields)
{
    writer_array(b, fields + 1);
    writer_int(b, type);
}

int frame_next(struct reader *message, struct str *ret_frame)
{
    if (reader_left(message) == 0) {
        return 0;
    }
    return reader_raw(message, ret_frame) ? -EBADMSG : 1;
}

int frame_open(struct reader *r, enum frame_type *ret_type, uint32_t *ret_fields)
{
    uint32_t count, type;
    if (reader_array(r, &count) || count == 0 || read_u32(r, &type) || type < FRAME_HELLO ||
        type > FRAME_PADDING) {
        return -EBADMSG;
    }
    *ret_type = (enum frame_type)type;
    *ret_fields = count - 1;
    return 0;
}

// --- HELLO

static void encode_route(struct buf *b, const struct frame_route *f)
{
    writer_map(b, 14);
    writer_key(b, "method");
    writer_str(b, f->method);
    writer_key(b, "pattern");
    writer_str(b, f->pattern);
    writer_key(b, "write");
    writer_bool(b, f->write);
    writer_key(b, "keyed");
    writer_bool(b, f->keyed);
    writer_key(b, "auth");
    writer_int(b, f->auth);
    writer_key(b, "body");
    writer_int(b, f->body);
    writer_key(b, "deadline_ms");
    writer_uint(b, f->deadline_ms);
    writer_key(b, "max_body_bytes");
    writer_uint(b, f->max_body_bytes);
    writer_key(b, "headers");
    writer_array(b, (uint32_t)f->n_headers);
    for (size_t i = 0; i < f->n_headers; i++) {
        writer_str(b, f->headers[i]);
    }
    writer_key(b, "operation");
    writer_str(b, f->operation);
    writer_key(b, "sensitive");
    writer_bool(b, f->sensitive);
    writer_key(b, "internal");
    writer_bool(b, f->internal);
    writer_key(b, "class");
    writer_int(b, f->load);
    writer_key(b, "low");
    writer_bool(b, f->low);
}

static void encode_problem(struct buf *b, const struct frame_problem *f)
{
    writer_map(b, 4);
    writer_key(b, "slug");
    writer_str(b, f->slug);
    writer_key(b, "status");
    writer_int(b, f->status);
    writer_key(b, "title");
    writer_str(b, f->title);
    writer_key(b, "meaning");
    writer_str(b, f->meaning);
}

static void encode_pairs(struct buf *b, const struct frame_pair *pairs, size_t n)
{
    writer_map(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        writer_str(b, pairs[i].name);
        writer_str(b, pairs[i].value);
    }
}

void frame_hello_encode(struct buf *b, const struct frame_hello *f)
{
    begin(b, FRAME_HELLO, 1);
    writer_map(b, 13);
    writer_key(b, "protocol");
    writer_int(b, f->protocol);
    writer_key(b, "service");
    writer_str(b, f->service);
    writer_key(b, "version");
    writer_str(b, f->version);
    writer_key(b, "instance");
    writer_str(b, f->instance);
    writer_key(b, "role");
    writer_int(b, f->role);
    writer_key(b, "capacity");
    writer_uint(b, f->capacity);
    writer_key(b, "heartbeat_ms");
    writer_uint(b, f->heartbeat_ms);
    writer_key(b, "schema");
    writer_str(b, f->schema);
    writer_key(b, "routes");
    writer_array(b, (uint32_t)f->n_routes);
    for (size_t i = 0; i < f->n_routes; i++) {
        encode_route(b, &f->routes[i]);
    }
    writer_key(b, "problems");
    writer_array(b, (uint32_t)f->n_problems);
    for (size_t i = 0; i < f->n_problems; i++) {
        encode_problem(b, &f->problems[i]);
    }
    writer_key(b, "schemas");
    encode_pairs(b, f->schemas, f->n_schemas);
    writer_key(b, "summary");
    writer_str(b, f->summary);
    writer_key(b, "events");
    encode_pairs(b, f->events, f->n_events);
}

static bool is(struct str key, const char *name)
{
    return str_eq(key, str_of(name));
}

static int decode_route_member(struct reader *r, struct str key, struct frame_route *f)
{
    uint32_t v;
    if (is(key, "method")) {
        return reader_str(r, &f->method);
    } else if (is(key, "pattern")) {
        return reader_str(r, &f->pattern);
    } else if (is(key, "write")) {
        return reader_bool(r, &f->write);
    } else if (is(key, "keyed")) {
        return reader_bool(r, &f->keyed);
    } else if (is(key, "auth")) {
        int rc = read_limited(r, FRAME_AUTH_REQUIRED, &v);
        f->auth = rc ? FRAME_AUTH_NONE : (enum frame_auth)v;
        return rc;
    } else if (is(key, "body")) {
        int rc = read_limited(r, FRAME_BODY_MERGE_PATCH, &v);
        f->body = rc ? FRAME_BODY_NONE : (enum frame_body)v;
        return rc;
    } else if (is(key, "deadline_ms")) {
        return read_u32(r, &f->deadline_ms);
    } else if (is(key, "max_body_bytes")) {
        return read_u32(r, &f->max_body_bytes);
    } else if (is(key, "headers")) {
        return read_strings(r, f->headers, FRAME_MAX_HEADERS, &f->n_headers);
    } else if (is(key, "operation")) {
        return reader_str(r, &f->operation);
    } else if (is(key, "sensitive")) {
        return reader_bool(r, &f->sensitive);
    } else if (is(key, "internal")) {
        return reader_bool(r, &f->internal);
    } else if (is(key, "class")) {
        int rc = read_limited(r, FRAME_CLASSES - 1, &v);
        f->load = rc ? FRAME_CLASSES : (enum frame_class)v;
        return rc;
    } else if (is(key, "low")) {
        return reader_bool(r, &f->low);
    }
    return reader_skip(r);
}

static int decode_route(struct reader *r, struct frame_route *f)
{
    uint32_t members;
    struct str key;
    if (reader_map(r, &members)) {
        return -EBADMSG;
    }
    f->load = FRAME_CLASSES;
    for (uint32_t i = 0; i < members; i++) {
        if (reader_str(r, &key) || decode_route_member(r, key, f)) {
            return -EBADMSG;
        }
    }
    if (f->load == FRAME_CLASSES) {
        f->load = f->write ? FRAME_CLASS_WRITE : FRAME_CLASS_READ;
    }
    return f->method.n && f->pattern.n ? 0 : -EBADMSG;
}

static int decode_routes(struct reader *r, struct frame_hello *f)
{
    uint32_t count;
    if (reader_array(r, &count) || count > FRAME_MAX_ROUTES) {
        return -EBADMSG;
    }
    for (f->n_routes = 0; f->n_routes < count; f->n_routes++) {
        if (decode_route(r, &f->routes[f->n_routes])) {
            return -EBADMSG;
        }
    }
    return 0;
}

static int decode_problem(struct reader *r, struct frame_problem *f)
{
    uint32_t members;
    struct str key;
    if (reader_map(r, &members)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < members; i++) {
        if (reader_str(r, &key)) {
            return -EBADMSG;
        }
        int rc = is(key, "slug")      ? reader_str(r, &f->slug)
                 : is(key, "status")  ? reader_int(r, &f->status)
                 : is(key, "title")   ? reader_str(r, &f->title)
                 : is(key, "meaning") ? reader_str(r, &f->meaning)
                                      : reader_skip(r);
        if (rc) {
            return rc;
        }
    }
    return f->slug.n && f->status >= 400 && f->status <= 599 ? 0 : -EBADMSG;
}

static int decode_problems(struct reader *r, struct frame_hello *f)
{
    uint32_t count;
    if (reader_array(r, &count) || count > FRAME_MAX_PROBLEMS) {
        return -EBADMSG;
    }
    for (f->n_problems = 0; f->n_problems < count; f->n_problems++) {
        if (decode_problem(r, &f->problems[f->n_problems])) {
            return -EBADMSG;
        }
    }
    return 0;
}

static int decode_pairs(struct reader *r, uint32_t max, struct frame_pair *pairs, size_t *ret_n)
{
    uint32_t count;
    if (reader_map(r, &count) || count > max) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (reader_str(r, &pairs[i].name) || reader_str(r, &pairs[i].value)) {
            return -EBADMSG;
        }
    }
    *ret_n = count;
    return 0;
}

static int decode_hello_member(struct reader *r, struct str key, struct frame_hello *f)
{
    uint32_t v;
    if (is(key, "protocol")) {
        return reader_int(r, &f->protocol);
    } else if (is(key, "service")) {
        return reader_str(r, &f->service);
    } else if (is(key, "version")) {
        return reader_str(r, &f->version);
    } else if (is(key, "instance")) {
        return reader_str(r, &f->instance);
    } else if (is(key, "role")) {
        int rc = read_limited(r, FRAME_ROLE_READER, &v);
        f->role = rc ? FRAME_ROLE_ANY : (enum frame_role)v;
        return rc;
    } else if (is(key, "capacity")) {
        return read_limited(r, 65535, &f->capacity);
    } else if (is(key, "heartbeat_ms")) {
        return read_limited(r, 60000, &f->heartbeat_ms);
    } else if (is(key, "schema")) {
        return reader_str(r, &f->schema);
    } else if (is(key, "routes")) {
        return decode_routes(r, f);
    } else if (is(key, "problems")) {
        return decode_problems(r, f);
    } else if (is(key, "schemas")) {
        return decode_pairs(r, FRAME_MAX_SCHEMAS, f->schemas, &f->n_schemas);
    } else if (is(key, "summary")) {
        return reader_str(r, &f->summary);
    } else if (is(key, "events")) {
        return decode_pairs(r, FRAME_MAX_EVENTS, f->events, &f->n_events);
    }
    return reader_skip(r);
}

static bool service_name_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (i > 0 && ((c >= '0' && c <= '9') || c == '-')))) {
            return false;
        }
    }
    return s.n >= 1 && s.n <= 32;
}

int frame_hello_decode(struct reader *r, uint32_t fields, struct frame_hello *ret)
{
    uint32_t members;
    struct str key;
    memset(ret, 0, sizeof *ret);
    if (fields < 1 || reader_map(r, &members)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < members; i++) {
        if (reader_str(r, &key) || decode_hello_member(r, key, ret)) {
            return -EBADMSG;
        }
    }
    if (!service_name_valid(ret->service) || ret->instance.n < 1 || ret->instance.n > 64 ||
        ret->capacity < 1 || ret->heartbeat_ms < 50) {
        return -EBADMSG;
    }
    return 0;
}

// --- WELCOME

void frame_welcome_encode(struct buf *b, const struct frame_welcome *f)
{
    begin(b, FRAME_WELCOME, 2);
    writer_str(b, f->gateway);
    writer_uint(b, f->heartbeat_ms);
}

int frame_welcome_decode(struct reader *r, uint32_t fields, struct frame_welcome *ret)
{
    return fields < 2 || reader_str(r, &ret->gateway) || read_u32(r, &ret->heartbeat_ms) ? -EBADMSG
                                                                                         : 0;
}

// --- REQUEST

static void write_principal(struct buf *b, const struct frame_principal *p)
{
    if (!p->id.p) {
        writer_nil(b);
        return;
    }
    writer_array(b, 3);
    writer_str(b, p->id);
    writer_str(b, p->role);
    writer_str(b, p->session);
}

static int read_principal(struct reader *r, struct frame_principal *p)
{
    uint32_t count;
    if (reader_nil(r) == 0) {
        *p = (struct frame_principal){ 0 };
        return 0;
    }
    return reader_array(r, &count) || count != 3 || reader_str(r, &p->id) ||
                   reader_str(r, &p->role) || reader_str(r, &p->session)
               ? -EBADMSG
               : 0;
}

void frame_request_encode(struct buf *b, const struct frame_request *f)
{
    begin(b, FRAME_REQUEST, 11);
    writer_uint(b, f->id);
    writer_uint(b, f->attempt);
    writer_uint(b, f->deadline_ms);
    writer_str(b, f->traceparent);
    write_principal(b, &f->principal);
    writer_uint(b, f->route);
    writer_array(b, (uint32_t)f->n_params);
    for (size_t i = 0; i < f->n_params; i++) {
        writer_str(b, f->params[i]);
    }
    write_pairs(b, f->query, f->n_query);
    write_pairs(b, f->headers, f->n_headers);
    write_body(b, f->body);
    writer_str(b, f->client);
}

int frame_request_decode(struct reader *r, uint32_t fields, struct frame_request *ret)
{
    ret->client = STR("");
    return fields < 10 || reader_uint(r, &ret->id) || read_u32(r, &ret->attempt) ||
                   read_u32(r, &ret->deadline_ms) || reader_str(r, &ret->traceparent) ||
                   read_principal(r, &ret->principal) || read_u32(r, &ret->route) ||
                   read_strings(r, ret->params, FRAME_MAX_PARAMS, &ret->n_params) ||
                   read_pairs(r, ret->query, FRAME_MAX_QUERY, &ret->n_query) ||
                   read_pairs(r, ret->headers, FRAME_MAX_HEADERS, &ret->n_headers) ||
                   read_body(r, &ret->body) || (fields > 10 && reader_str(r, &ret->client))
               ? -EBADMSG
               : 0;
}

// --- REPLY

void frame_reply_encode(struct buf *b, const struct frame_reply *f)
{
    begin(b, FRAME_REPLY, 7);
    writer_uint(b, f->id);
    writer_uint(b, f->status);
    write_pairs(b, f->headers, f->n_headers);
    writer_uint(b, f->queue_us);
    writer_uint(b, f->handler_us);
    writer_uint(b, f->store_us);
    write_body(b, f->body);
}

int frame_reply_decode(struct reader *r, uint32_t fields, struct frame_reply *ret)
{
    if (fields < 7 || reader_uint(r, &ret->id) || read_limited(r, 599, &ret->status) ||
        read_pairs(r, ret->headers, FRAME_MAX_HEADERS, &ret->n_headers) ||
        read_u32(r, &ret->queue_us) || read_u32(r, &ret->handler_us) ||
        read_u32(r, &ret->store_us) || read_body(r, &ret->body)) {
        return -EBADMSG;
    }
    return ret->status >= 200 ? 0 : -EBADMSG;
}

// --- PONG

void frame_pong_encode(struct buf *b, const struct frame_pong *f)
{
    begin(b, FRAME_PONG, 3);
    writer_uint(b, f->token);
    writer_uint(b, f->oldest_ms);
    writer_uint(b, f->in_flight);
}

int frame_pong_decode(struct reader *r, uint32_t fields, struct frame_pong *ret)
{
    return fields < 3 || reader_uint(r, &ret->token) || read_u32(r, &ret->oldest_ms) ||
                   read_u32(r, &ret->in_flight)
               ? -EBADMSG
               : 0;
}

// --- Small frames

void frame_refused_encode(struct buf *b, struct str reason, struct str detail)
{
    begin(b, FRAME_REFUSED, 2);
    writer_str(b, reason);
    writer_str(b, detail);
}

int frame_refused_decode(struct reader *r, uint32_t fields, struct str *ret_reason,
                         struct str *ret_detail)
{
    return fields < 2 || reader_str(r, ret_reason) || reader_str(r, ret_detail) ? -EBADMSG : 0;
}

void frame_return_encode(struct buf *b, uint64_t id, struct str reason)
{
    begin(b, FRAME_RETURN, 2);
    writer_uint(b, id);
    writer_str(b, reason);
}

int frame_return_decode(struct reader *r, uint32_t fields, uint64_t *ret_id, struct str *ret_reason)
{
    return fields < 2 || reader_uint(r, ret_id) || reader_str(r, ret_reason) ? -EBADMSG : 0;
}

void frame_number_encode(struct buf *b, enum frame_type type, uint64_t number)
{
    begin(b, type, 1);
    writer_uint(b, number);
}

int frame_number_decode(struct reader *r, uint32_t fields, uint64_t *ret_number)
{
    return fields < 1 ? -EBADMSG : reader_uint(r, ret_number);
}

void frame_credit_encode(struct buf *b, enum frame_type type, const struct frame_credit *f)
{
    begin(b, type, 2);
    writer_uint(b, f->credit);
    writer_array(b, FRAME_CLASSES);
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        writer_uint(b, f->classes[i]);
    }
}

// A number that may be larger than anybody needs.
static int read_count(struct reader *r, uint32_t *ret)
{
    uint64_t n;
    if (reader_uint(r, &n)) {
        return -EBADMSG;
    }
    *ret = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    return 0;
}

int frame_credit_decode(struct reader *r, uint32_t fields, struct frame_credit *ret)
{
    uint32_t n = 0;
    if (fields < 1 || read_count(r, &ret->credit)) {
        return -EBADMSG;
    }
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        ret->classes[i] = ret->credit;
    }
    if (fields < 2) {
        return 0;
    }
    if (reader_array(r, &n) || n > 16) {
        return -EBADMSG;
    }
    for (uint32_t i = 0, count; i < n; i++) {
        if (read_count(r, i < FRAME_CLASSES ? &ret->classes[i] : &count)) {
            return -EBADMSG;
        }
    }
    return 0;
}

void frame_plain_encode(struct buf *b, enum frame_type type)
{
    begin(b, type, 0);
}

// --- PADDING

struct str frame_padding(void)
{
    // An array of two: the type and 8192 bytes (bin 16), which are zeros.
    static const uint8_t frame[FRAME_PADDING_BYTES] = { 0x92, FRAME_PADDING, 0xc5, 0x20, 0x00 };
    return (struct str){ (const char *)frame, sizeof frame };
}
