// SPDX-License-Identifier: MIT
// The head is gathered in text, line by line, and given to llhttp at once: spans are then whole,
// limits are compared before anything is parsed, and a request that drips in costs nothing more.
// The body goes through llhttp as it comes.
#include "gateway/http_request.h"

#include "gateway/authority.h"

#include <assert.h>
#include <strings.h>

// Two of these would let two readers see two different requests.
static const struct str single_fields[] = {
    STR_INIT("host"),          STR_INIT("content-length"),  STR_INIT("transfer-encoding"),
    STR_INIT("authorization"), STR_INIT("content-type"),    STR_INIT("content-encoding"),
    STR_INIT("expect"),        STR_INIT("idempotency-key"),
};

static void fail(struct http_request *r, enum problem problem, const char *detail)
{
    if (r->stage != HTTP_STAGE_FAILED) {
        r->stage = HTTP_STAGE_FAILED;
        r->problem = problem;
        r->detail = detail;
    }
}

static void fail_malformed(struct http_request *r, const char *detail)
{
    fail(r, PROBLEM_MALFORMED_REQUEST, detail);
}

// --- llhttp's callbacks

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    struct http_request *r = parser->data;
    if (r->raw_target.n == 0) {
        r->raw_target.p = at;
    }
    r->raw_target.n += n; // the head is one piece, so a further span follows the first
    return 0;
}

static int on_field_name(llhttp_t *parser, const char *at, size_t n)
{
    struct http_request *r = parser->data;
    if (r->stage == HTTP_STAGE_BODY) {
        r->trailer_bytes += n;
        if (r->trailer_bytes > HTTP_MAX_TRAILER_BYTES) {
            fail(r, PROBLEM_HEADERS_TOO_LARGE,
                 "The trailer fields are over the limit of 4096 bytes.");
        }
        return r->stage == HTTP_STAGE_FAILED ? HPE_USER : 0;
    }
    bool begins = r->n_fields == 0 || r->in_value;
    if (begins && r->n_fields == HTTP_MAX_FIELDS) {
        fail(r, PROBLEM_HEADERS_TOO_LARGE, "There are more than 100 header fields.");
        return HPE_USER;
    }
    if (begins) {
        r->fields[r->n_fields++] = (struct http_field){ .name = (uint16_t)(at - r->text) };
        r->in_value = false;
    }
    struct http_field *f = &r->fields[r->n_fields - 1];
    f->name_n = (uint16_t)(f->name_n + n);
    return 0;
}

static int on_field_value(llhttp_t *parser, const char *at, size_t n)
{
    struct http_request *r = parser->data;
    if (r->stage == HTTP_STAGE_BODY) {
        return on_field_name(parser, at, n);
    }
    assert(r->n_fields > 0);
    struct http_field *f = &r->fields[r->n_fields - 1];
    if (!r->in_value) {
        f->value = (uint16_t)(at - r->text);
        r->in_value = true;
    }
    f->value_n = (uint16_t)(f->value_n + n);
    return 0;
}

static int on_field_complete(llhttp_t *parser)
{
    struct http_request *r = parser->data;
    r->in_value = true; // also when the value is empty
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct http_request *r = parser->data;
    r->keep_alive = llhttp_should_keep_alive(parser) && !(parser->flags & F_CONNECTION_CLOSE);
    r->chunked = (parser->flags & F_CHUNKED) != 0;
    r->content_length = r->chunked ? 0 : parser->content_length;
    return 0;
}

static int on_chunk_header(llhttp_t *parser)
{
    struct http_request *r = parser->data;
    r->extension_bytes = 0;
    return 0;
}

static int on_chunk_extension(llhttp_t *parser, const char *at, size_t n)
{
    struct http_request *r = parser->data;
    (void)at;
    r->extension_bytes += n;
    if (r->extension_bytes > HTTP_MAX_CHUNK_EXTENSION) {
        fail_malformed(r, "The extensions of a chunk are over the limit of 256 bytes.");
        return HPE_USER;
    }
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct http_request *r = parser->data;
    r->body_bytes += n;
    if (r->body_bytes > r->max_body_bytes) {
        fail(r, PROBLEM_BODY_TOO_LARGE, NULL);
        return HPE_USER;
    }
    if (!r->discard_body) {
        buf_append(&r->body, at, n);
        if (!buf_ok(&r->body)) {
            fail(r, PROBLEM_OVERLOADED, "There is no memory for the body at the moment.");
            return HPE_USER;
        }
    }
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct http_request *r = parser->data;
    r->stage = HTTP_STAGE_COMPLETE;
    // The next request stays unread until this one is answered. An Upgrade field is ignored by
    // this, too, as RFC 9110 section 7.8 allows.
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field_name,
    .on_header_value = on_field_value,
    .on_header_value_complete = on_field_complete,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_chunk_extension_name = on_chunk_extension,
    .on_chunk_extension_value = on_chunk_extension,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

// --- The head

void http_request_start(struct http_request *r, uint64_t max_body_bytes)
{
    struct buf body = r->body;
    memset(r, 0, offsetof(struct http_request, fields));
    r->body = body;
    buf_reset(&r->body);
    r->body.max = max_body_bytes;
    r->max_body_bytes = max_body_bytes;
    llhttp_init(&r->parser, HTTP_REQUEST, &settings);
    r->parser.data = r;
}

struct str http_request_field(const struct http_request *r, struct str name)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct http_field *f = &r->fields[i];
        if (f->name_n == name.n && memcmp(r->text + f->name, name.p, name.n) == 0) {
            return (struct str){ r->text + f->value, f->value_n };
        }
    }
    return (struct str){ NULL, 0 };
}

static size_t count_fields(const struct http_request *r, struct str name)
{
    size_t count = 0;
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct http_field *f = &r->fields[i];
        count += f->name_n == name.n && memcmp(r->text + f->name, name.p, name.n) == 0;
    }
    return count;
}

// "METHOD target HTTP/1.x" with exactly two blanks, before llhttp, which is lenient about blanks
// and versions.
static void check_request_line(struct http_request *r)
{
    struct str line = { r->text, r->line_n - 2 };
    const char *first = memchr(line.p, ' ', line.n);
    if (!first) {
        fail_malformed(r, "The request line is not method, target and version.");
        return;
    }
    r->method = method_find((struct str){ line.p, (size_t)(first - line.p) });
    const char *second = memchr(first + 1, ' ', (size_t)(line.p + line.n - first - 1));
    struct str version = { second ? second + 1 : NULL,
                           second ? (size_t)(line.p + line.n - second - 1) : 0 };
    r->http_1_0 = str_eq(version, STR("HTTP/1.0"));
    if (second && memchr(version.p, ' ', version.n)) {
        fail_malformed(r, "The request line must have exactly two blanks.");
    } else if (!r->http_1_0 && !str_eq(version, STR("HTTP/1.1"))) {
        fail_malformed(r, "The version must be HTTP/1.1 or HTTP/1.0.");
    } else if (r->method == METHOD_COUNT) {
        fail(r, PROBLEM_NOT_IMPLEMENTED,
             "The method is none of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.");
    }
}

static void end_line(struct http_request *r)
{
    const char *line = r->text + r->line_start;
    size_t n = r->head_n - r->line_start;
    if (n < 2 || line[n - 2] != '\r') {
        fail_malformed(r, "A line of the head does not end with CR LF.");
    } else if (r->line_n == 0) {
        r->line_n = n;
        check_request_line(r);
    }
    r->line_start = r->head_n;
}

static void fail_too_long(struct http_request *r)
{
    if (r->line_n) {
        fail(r, PROBLEM_HEADERS_TOO_LARGE, "The header fields are over the limit of 16384 bytes.");
    } else if (memchr(r->text, ' ', r->head_n)) {
        fail(r, PROBLEM_URI_TOO_LONG, "The request line is over the limit of 8192 bytes.");
    } else {
        fail(r, PROBLEM_NOT_IMPLEMENTED, "The method is longer than any that this server knows.");
    }
}

// Blank lines that old clients send behind a body.
static size_t skip_blank_lines(struct http_request *r, const char *data, size_t n)
{
    size_t i = 0;
    while (i < n && (data[i] == '\r' || data[i] == '\n') && r->stage == HTTP_STAGE_HEAD) {
        i++;
        if (++r->blank_n > HTTP_MAX_BLANK_LINES) {
            fail_malformed(r, "There are blank lines where a request should begin.");
        }
    }
    if (i < n && !(data[i] >= 'A' && data[i] <= 'Z') && !(data[i] >= 'a' && data[i] <= 'z')) {
        fail_malformed(r, "This is not an HTTP/1.1 request: it must begin with a method.");
    }
    return i;
}

// Moves bytes into text up to the end of the head; returns true when it is there.
static bool gather_head(struct http_request *r, const char *data, size_t n, size_t *ret_used)
{
    size_t used = r->head_n == 0 ? skip_blank_lines(r, data, n) : 0;
    bool complete = false;
    while (used < n && !complete && r->stage == HTTP_STAGE_HEAD) {
        const char *end = memchr(data + used, '\n', n - used);
        size_t part = end ? (size_t)(end - data) + 1 - used : n - used;
        size_t limit = r->line_n ? r->line_n + HTTP_MAX_FIELDS_BYTES : HTTP_MAX_LINE;
        bool too_long = part > limit - r->head_n;
        part = too_long ? limit - r->head_n : part;
        memcpy(r->text + r->head_n, data + used, part);
        r->head_n += part;
        used += part;
        if (too_long) {
            fail_too_long(r);
        } else if (end) {
            complete =
                r->line_n && r->head_n - r->line_start == 2 && r->text[r->line_start] == '\r';
            end_line(r);
        }
    }
    *ret_used = used;
    return complete && r->stage == HTTP_STAGE_HEAD;
}

// Names in lower case, values without the blanks behind them (llhttp takes those before).
static void normalise_fields(struct http_request *r)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        struct http_field *f = &r->fields[i];
        for (size_t k = f->name; k < (size_t)f->name + f->name_n; k++) {
            char c = r->text[k];
            r->text[k] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        }
        while (f->value_n && (r->text[f->value + f->value_n - 1] == ' ' ||
                              r->text[f->value + f->value_n - 1] == '\t')) {
            f->value_n--;
        }
    }
}

static void check_framing(struct http_request *r)
{
    struct str coding = http_request_field(r, STR("transfer-encoding"));
    if (!coding.p) {
        return;
    }
    if (r->http_1_0) {
        fail_malformed(r, "Transfer-Encoding does not exist in HTTP/1.0.");
    } else if (http_request_field(r, STR("content-length")).p) {
        fail_malformed(r, "Content-Length and Transfer-Encoding exclude each other.");
    } else if (coding.n != 7 || strncasecmp(coding.p, "chunked", 7) != 0) {
        fail(r, PROBLEM_NOT_IMPLEMENTED, "The only transfer coding is chunked.");
    }
}

static void check_fields(struct http_request *r)
{
    for (size_t i = 0; i < sizeof single_fields / sizeof *single_fields; i++) {
        if (count_fields(r, single_fields[i]) > 1) {
            fail_malformed(r, "A header field that may only be there once is repeated.");
        }
    }
    struct str host = http_request_field(r, STR("host"));
    if (!host.p && !r->http_1_0) {
        fail_malformed(r, "The Host field is missing.");
    } else if (host.p && !authority_valid(host)) {
        fail_malformed(r, "The Host field is not a host name or address with an optional port.");
    }
    struct str expect = http_request_field(r, STR("expect"));
    r->expects_continue =
        !r->http_1_0 && expect.n == 12 && strncasecmp(expect.p, "100-continue", 12) == 0;
}

static void check_target(struct http_request *r)
{
    const char *detail = NULL;
    char *raw = r->text + (r->raw_target.p - r->text);
    int rc = target_parse(raw, r->raw_target.n, &r->target, &detail);
    if (rc < 0 && detail) {
        fail_malformed(r, detail);
    } else if (rc < 0) {
        fail(r, PROBLEM_INVALID_PARAMETER, "There are more than 32 query parameters.");
    } else if (r->target.asterisk && r->method != METHOD_OPTIONS) {
        fail_malformed(r, "The target * goes with OPTIONS only.");
    }
}

static void parse_head(struct http_request *r)
{
    llhttp_errno_t error = llhttp_execute(&r->parser, r->text, r->head_n);
    if (error != HPE_OK && error != HPE_PAUSED) {
        fail_malformed(r, llhttp_get_error_reason(&r->parser));
        return;
    }
    if (r->stage == HTTP_STAGE_HEAD) {
        r->stage = HTTP_STAGE_BODY;
    }
    normalise_fields(r);
    check_framing(r);
    check_fields(r);
    check_target(r);
}

// --- The body

static size_t feed_body(struct http_request *r, const char *data, size_t n)
{
    llhttp_errno_t error = llhttp_execute(&r->parser, data, n);
    if (error == HPE_PAUSED) {
        n = (size_t)(llhttp_get_error_pos(&r->parser) - data);
    } else if (error != HPE_OK) {
        fail_malformed(r, llhttp_get_error_reason(&r->parser));
    }
    r->framed_bytes += n;
    if (r->framed_bytes > 8 * r->body_bytes + HTTP_CHUNK_SLACK) {
        fail_malformed(r, "The chunks of the body are mostly framing.");
    }
    return n;
}

enum http_stage http_request_feed(struct http_request *r, const char *data, size_t n,
                                  size_t *ret_used)
{
    assert(r->stage == HTTP_STAGE_HEAD || r->stage == HTTP_STAGE_BODY);
    *ret_used = 0;
    if (r->stage == HTTP_STAGE_BODY) {
        *ret_used = feed_body(r, data, n);
    } else if (gather_head(r, data, n, ret_used)) {
        parse_head(r);
    }
    return r->stage;
}

void http_request_time_out(struct http_request *r)
{
    fail(r, PROBLEM_REQUEST_TIMEOUT, NULL);
}
