// SPDX-License-Identifier: MIT
// The head is gathered in text, line by line, and given to llhttp at once: spans are then whole,
// limits are compared before anything is parsed, and a request that drips in costs nothing more.
// llhttp sees no byte of the body: chunked.h takes that apart.
#include "gateway/http_request.h"

#include "gateway/authority.h"
#include "gateway/grammar.h"

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
    r->chunked = (parser->flags & F_CHUNKED) != 0;
    r->content_length = r->chunked ? 0 : parser->content_length;
    r->stage = r->chunked || r->content_length ? HTTP_STAGE_BODY : HTTP_STAGE_COMPLETE;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field_name,
    .on_header_value = on_field_value,
    .on_header_value_complete = on_field_complete,
    .on_headers_complete = on_headers_complete,
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

void http_request_wipe_head(struct http_request *r)
{
    // Joined values are of no more bytes than the lines that they come from.
    size_t n = 2 * r->head_n + r->stripped_n;
    explicit_bzero(r->text, n < sizeof r->text ? n : sizeof r->text);
}

static struct str name_of(const struct http_request *r, const struct http_field *f)
{
    return (struct str){ r->text + f->name, f->name_n };
}

static struct str value_of(const struct http_request *r, const struct http_field *f)
{
    return (struct str){ r->text + f->value, f->value_n };
}

struct str http_request_field(const struct http_request *r, struct str name)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        if (str_eq(name_of(r, &r->fields[i]), name)) {
            return value_of(r, &r->fields[i]);
        }
    }
    return (struct str){ NULL, 0 };
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
    struct str method = { line.p, (size_t)(first - line.p) };
    r->method = method_find(method);
    const char *second = memchr(first + 1, ' ', (size_t)(line.p + line.n - first - 1));
    struct str version = { second ? second + 1 : NULL,
                           second ? (size_t)(line.p + line.n - second - 1) : 0 };
    r->http_1_0 = str_eq(version, STR("HTTP/1.0"));
    size_t n = 0;
    while (n < method.n && is_token(method.p[n])) {
        n++;
    }
    if (n == 0 || n < method.n) {
        fail_malformed(r, "The request does not begin with a method.");
    } else if (second && memchr(version.p, ' ', version.n)) {
        fail_malformed(r, "The request line must have exactly two blanks.");
    } else if (!r->http_1_0 && !str_eq(version, STR("HTTP/1.1"))) {
        fail_malformed(r, "The version must be HTTP/1.1 or HTTP/1.0.");
    } else if (r->method == METHOD_COUNT) {
        fail(r, PROBLEM_NOT_IMPLEMENTED,
             "The method is none of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.");
    }
}

// Blanks behind a field's value (OWS) are taken off its line, which has n bytes, before llhttp sees
// them: it knows none behind some values.
static void strip_line(struct http_request *r, size_t n)
{
    char *line = r->text + r->line_start;
    const char *colon = memchr(line, ':', n);
    size_t least = colon ? (size_t)(colon - line) + 1 : n - 2, end = n - 2;
    while (end > least && is_blank(line[end - 1])) {
        end--;
    }
    memcpy(line + end, "\r\n", 2);
    r->stripped_n += n - 2 - end;
    r->head_n -= n - 2 - end;
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
    } else {
        strip_line(r, n);
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

// Blank lines that old clients send behind a body (RFC 9112 section 2.2).
static size_t skip_blank_lines(struct http_request *r, const char *data, size_t n)
{
    size_t i = 0;
    while (i < n && data[i] == "\r\n"[r->blank_n % 2] && r->blank_n < 2 * HTTP_MAX_BLANK_LINES) {
        r->blank_n++;
        i++;
    }
    bool letter = i < n && is_alphanumeric(data[i]) && data[i] > '9';
    if (i < n && (data[i] == '\r' || data[i] == '\n' || r->blank_n % 2)) {
        fail_malformed(r, "Before a request there may be two empty lines of CR LF, and no more.");
    } else if (i < n && !letter) {
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
        size_t room = limit - r->head_n - r->stripped_n;
        bool too_long = part > room;
        part = too_long ? room : part;
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

static void lower_names(struct http_request *r)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct http_field *f = &r->fields[i];
        for (size_t k = f->name; k < (size_t)f->name + f->name_n; k++) {
            char c = r->text[k];
            r->text[k] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        }
    }
}

static bool is_single(struct str name)
{
    for (size_t i = 0; i < sizeof single_fields / sizeof *single_fields; i++) {
        if (str_eq(name, single_fields[i])) {
            return true;
        }
    }
    return false;
}

// Appends ", value" to the field at first, whose value has been moved to the end of text. There is
// room: a line has a name, a colon and a line end more than its value.
static void append_value(struct http_request *r, struct http_field *first, struct str value)
{
    char *end = r->text + first->value + first->value_n;
    assert(end + 2 + value.n <= r->text + sizeof r->text);
    memcpy(end, ", ", 2);
    memcpy(end + 2, value.p, value.n);
    first->value_n = (uint16_t)(first->value_n + 2 + value.n);
}

// Joins the values of all lines that have the name of the field at `index` (RFC 9110 section 5.3),
// at *at of text, which is moved behind them.
static void join_repeated(struct http_request *r, size_t index, size_t *at)
{
    struct http_field *first = &r->fields[index];
    struct str name = name_of(r, first);
    bool moved = false;
    for (size_t i = index + 1; i < r->n_fields; i++) {
        struct http_field *f = &r->fields[i];
        if (!str_eq(name_of(r, f), name)) {
            continue;
        }
        if (is_single(name)) {
            fail_malformed(r, "A header field that may only be there once is repeated.");
            return;
        }
        if (!moved) {
            memcpy(r->text + *at, r->text + first->value, first->value_n);
            first->value = (uint16_t)*at;
            moved = true;
        }
        append_value(r, first, value_of(r, f));
        f->name_n = 0; // it has no name any more, so nothing finds it
    }
    *at += moved ? first->value_n : 0;
}

static void join_fields(struct http_request *r)
{
    size_t at = HTTP_HEAD_BYTES;
    uint64_t seen = 0; // a bit for each length and first letter: most requests repeat nothing
    bool repeated = false;
    for (size_t i = 0; i < r->n_fields; i++) {
        struct str name = name_of(r, &r->fields[i]);
        uint64_t bit = UINT64_C(1) << ((name.n * 5 + (unsigned char)name.p[0]) % 64);
        repeated = repeated || (seen & bit);
        seen |= bit;
    }
    for (size_t i = 0; repeated && i < r->n_fields; i++) {
        if (r->fields[i].name_n) {
            join_repeated(r, i, &at);
        }
    }
}

static bool is_chunked(struct str coding)
{
    return coding.n == 7 && strncasecmp(coding.p, "chunked", 7) == 0;
}

static void check_coding(struct http_request *r, struct str coding)
{
    size_t last = coding.n;
    while (last > 0 && coding.p[last - 1] != ',') {
        last--;
    }
    while (last < coding.n && is_blank(coding.p[last])) {
        last++;
    }
    if (r->http_1_0) {
        fail_malformed(r, "Transfer-Encoding does not exist in HTTP/1.0.");
    } else if (http_request_field(r, STR("content-length")).p) {
        fail_malformed(r, "Content-Length and Transfer-Encoding exclude each other.");
    } else if (!is_chunked((struct str){ coding.p + last, coding.n - last })) {
        fail_malformed(r, "The last transfer coding is not chunked.");
    } else if (!is_chunked(coding)) {
        fail(r, PROBLEM_NOT_IMPLEMENTED, "The only transfer coding is chunked.");
    }
}

// RFC 9112 section 6.3. llhttp has found out how the body is framed, if all is well.
static void check_framing(struct http_request *r)
{
    struct str coding = http_request_field(r, STR("transfer-encoding"));
    struct str length = http_request_field(r, STR("content-length"));
    for (size_t i = 0; i < length.n; i++) {
        if (length.p[i] < '0' || length.p[i] > '9') {
            fail_malformed(r, "The Content-Length is not a number in decimal digits.");
        }
    }
    if (length.p && length.n == 0) {
        fail_malformed(r, "The Content-Length is empty.");
    }
    if (coding.p) {
        check_coding(r, coding);
    }
    if (r->chunked != is_chunked(coding)) {
        fail_malformed(r, "It is not clear where the body ends.");
    }
}

static void check_fields(struct http_request *r)
{
    struct str host = http_request_field(r, STR("host"));
    if (!host.p && !r->http_1_0) {
        fail_malformed(r, "The Host field is missing.");
    } else if (host.p && !authority_valid(host)) {
        fail_malformed(r, "The Host field is not a host name or address with an optional port.");
    }
    struct str expect = http_request_field(r, STR("expect"));
    r->expects_continue =
        !r->http_1_0 && expect.n == 12 && strncasecmp(expect.p, "100-continue", 12) == 0;
    struct str connection = http_request_field(r, STR("connection"));
    r->keep_alive = !list_has(connection, STR("close")) &&
                    (!r->http_1_0 || list_has(connection, STR("keep-alive")));
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
    if (llhttp_execute(&r->parser, r->text, r->head_n) != HPE_PAUSED) {
        const char *reason = llhttp_get_error_reason(&r->parser); // NULL: it wants more
        fail_malformed(r, reason ? reason : "The head is not complete.");
        return;
    }
    lower_names(r);
    join_fields(r);
    check_framing(r);
    check_fields(r);
    check_target(r);
    if (r->chunked) {
        chunked_start(&r->chunks);
    }
}

// --- The body

static void add_body(struct http_request *r, struct str data)
{
    r->body_bytes += data.n;
    if (r->body_bytes > r->max_body_bytes) {
        fail(r, PROBLEM_BODY_TOO_LARGE, NULL);
    } else if (!r->discard_body) {
        buf_append_str(&r->body, data);
        if (!buf_ok(&r->body)) {
            fail(r, PROBLEM_OVERLOADED, "There is no memory for the body at the moment.");
        }
    }
}

static size_t feed_length(struct http_request *r, const char *data, size_t n)
{
    uint64_t left = r->content_length - r->body_bytes;
    n = n < left ? n : (size_t)left;
    add_body(r, (struct str){ data, n });
    if (r->stage == HTTP_STAGE_BODY && r->body_bytes == r->content_length) {
        r->stage = HTTP_STAGE_COMPLETE;
    }
    return n;
}

// A chunk is refused by its size, before any of it is read. That is also where the framing is
// weighed: there alone, because the places do not depend on how the bytes were cut.
static void begin_chunk(struct http_request *r)
{
    if (r->chunks.left > r->max_body_bytes - r->body_bytes) {
        fail(r, PROBLEM_BODY_TOO_LARGE, NULL);
    } else if (r->framed_bytes > 8 * r->body_bytes + HTTP_CHUNK_SLACK) {
        fail_malformed(r, "The chunks of the body are mostly framing.");
    }
}

static void on_chunked(struct http_request *r, enum chunked_event event, struct str data)
{
    switch (event) {
    case CHUNKED_MORE:
        break;
    case CHUNKED_BEGIN:
        begin_chunk(r);
        break;
    case CHUNKED_DATA:
        add_body(r, data);
        break;
    case CHUNKED_END:
        r->stage = HTTP_STAGE_COMPLETE;
        break;
    case CHUNKED_MALFORMED:
        fail_malformed(r, r->chunks.detail);
        break;
    case CHUNKED_TOO_LARGE:
        fail(r, PROBLEM_HEADERS_TOO_LARGE, r->chunks.detail);
        break;
    }
}

static size_t feed_chunks(struct http_request *r, const char *data, size_t n)
{
    struct str rest = { data, n }, piece = { NULL, 0 };
    while (rest.n && r->stage == HTTP_STAGE_BODY) {
        size_t before = rest.n;
        enum chunked_event event = chunked_next(&r->chunks, &rest, &piece);
        r->framed_bytes += before - rest.n;
        on_chunked(r, event, piece);
    }
    return n - rest.n;
}

enum http_stage http_request_feed(struct http_request *r, const char *data, size_t n,
                                  size_t *ret_used)
{
    assert(r->stage == HTTP_STAGE_HEAD || r->stage == HTTP_STAGE_BODY);
    *ret_used = 0;
    if (r->stage == HTTP_STAGE_BODY) {
        *ret_used = r->chunked ? feed_chunks(r, data, n) : feed_length(r, data, n);
    } else if (gather_head(r, data, n, ret_used)) {
        parse_head(r);
    }
    return r->stage;
}

void http_request_time_out(struct http_request *r)
{
    fail(r, PROBLEM_REQUEST_TIMEOUT, NULL);
}
