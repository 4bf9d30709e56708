// SPDX-License-Identifier: MIT
// What a client sends: a mode, sizes of pieces, then bytes of some requests. What the parser says must not depend on
// how the bytes were cut; a request that is complete has no control character in its head and nothing but CR LF for
// line ends; and llhttp alone, given the same bytes, finds the same body and the same end, or refuses what it
// is known to refuse.
#include "tests/fuzz/fuzz.h"

#include "gateway/grammar.h"
#include "gateway/http_request.h"

#define SMALL_BODY 16 // bytes
#define LARGE_BODY (64 * 1024)
#define MAX_REQUESTS 4 // in one input
#define MAX_SIZES 7

struct outcome {
    enum http_stage stage;
    enum problem problem; // when FAILED
    size_t used;          // when COMPLETE
    uint64_t meaning;     // when COMPLETE: a hash of all that was understood
};

struct cuts {
    struct str sizes; // a byte for each piece, over and over; empty: one piece
    size_t next;
};

static struct http_request *request;

static uint64_t mix(uint64_t hash, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        hash = (hash ^ (uint8_t)s.p[i]) * UINT64_C(0x100000001b3);
    }
    return (hash ^ s.n) * UINT64_C(0x100000001b3);
}

static uint64_t meaning_of(const struct http_request *r)
{
    const struct target *t = &r->target;
    uint64_t hash =
        r->method + 100U * r->keep_alive + 200U * r->expects_continue + 400U * r->chunked;
    for (size_t i = 0; i < r->n_fields; i++) {
        hash = mix(hash, (struct str){ r->text + r->fields[i].name, r->fields[i].name_n });
        hash = mix(hash, (struct str){ r->text + r->fields[i].value, r->fields[i].value_n });
    }
    for (size_t i = 0; !t->asterisk && i < t->n_segments && i < HTTP_MAX_SEGMENTS; i++) {
        hash = mix(hash, t->segments[i]);
    }
    for (size_t i = 0; !t->asterisk && i < t->n_query; i++) {
        hash = mix(mix(hash, t->query[i].name), t->query[i].value);
    }
    return mix(hash, buf_str(&r->body));
}

static size_t next_size(struct cuts *c, size_t left)
{
    size_t n = c->sizes.n ? (uint8_t)c->sizes.p[c->next++ % c->sizes.n] : left;
    n = n ? n : 1;
    return n < left ? n : left;
}

static bool is_over(void)
{
    return request->stage == HTTP_STAGE_COMPLETE || request->stage == HTTP_STAGE_FAILED;
}

static struct outcome parse(struct str bytes, size_t max_body, struct cuts *c)
{
    size_t used = 0;
    http_request_start(request, max_body);
    while (used < bytes.n && !is_over()) {
        struct str piece = exact((struct str){ bytes.p + used, next_size(c, bytes.n - used) });
        for (size_t at = 0, n; at < piece.n && !is_over(); at += n, used += n) {
            http_request_feed(request, piece.p + at, piece.n - at, &n);
            REQUIRE(n <= piece.n - at);
        }
        drop(piece);
    }
    struct outcome o = { .stage = request->stage };
    if (o.stage == HTTP_STAGE_FAILED) {
        o.problem = request->problem;
    } else if (o.stage == HTTP_STAGE_COMPLETE) {
        o.used = used;
        o.meaning = meaning_of(request);
    }
    return o;
}

static void require_same(const struct outcome *a, const struct outcome *b)
{
    REQUIRE(a->stage == b->stage);
    REQUIRE(a->problem == b->problem);
    REQUIRE(a->used == b->used);
    REQUIRE(a->meaning == b->meaning);
}

// --- What must hold of a complete request

static void check_head(struct str bytes)
{
    const char *end = memmem(bytes.p, bytes.n, "\r\n\r\n", 4);
    while (end && end == bytes.p) { // empty lines before it
        bytes = (struct str){ bytes.p + 2, bytes.n - 2 };
        end = memmem(bytes.p, bytes.n, "\r\n\r\n", 4);
    }
    REQUIRE(end);
    struct str head = { bytes.p, (size_t)(end - bytes.p) + 4 };
    for (size_t i = 0; i < head.n; i++) {
        char c = head.p[i];
        bool line_end =
            (c == '\r' && head.p[i + 1] == '\n') || (c == '\n' && i && head.p[i - 1] == '\r');
        REQUIRE(line_end || is_text(c));
    }
}

static void check_request(const struct http_request *r, size_t max_body)
{
    REQUIRE(r->method < METHOD_COUNT);
    REQUIRE(r->body.len == r->body_bytes && r->body_bytes <= max_body);
    REQUIRE(r->chunked ? r->content_length == 0 : r->content_length == r->body_bytes);
    REQUIRE(!r->chunked || !r->http_1_0);
    REQUIRE(r->http_1_0 || http_request_field(r, STR("host")).n > 0);
    for (size_t i = 0; i < r->n_fields; i++) {
        for (size_t k = 0; k < r->fields[i].name_n; k++) {
            REQUIRE(is_token(r->text[r->fields[i].name + k]));
        }
        for (size_t k = 0; k < r->fields[i].value_n; k++) {
            REQUIRE(is_text(r->text[r->fields[i].value + k]));
        }
    }
}

// --- llhttp alone

struct reference {
    struct buf body;
    bool complete;
};

static int on_reference_body(llhttp_t *parser, const char *at, size_t n)
{
    struct reference *reference = parser->data;
    buf_append(&reference->body, at, n);
    return 0;
}

static int on_reference_complete(llhttp_t *parser)
{
    struct reference *reference = parser->data;
    reference->complete = true;
    return HPE_PAUSED;
}

// What llhttp refuses although RFC 9112 wants it read: tabs and blanks around values, blanks around the parts of chunk
// extensions, and some quoted strings in them. It also reads the framing fields of trailers, which nobody should.
static bool may_be_refused(struct str bytes)
{
    static const char *const causes[] = { "\t", " ;", "; ", " =", "= ", "\"", " \r\n" };
    for (size_t i = 0; i < sizeof causes / sizeof *causes; i++) {
        if (memmem(bytes.p, bytes.n, causes[i], strlen(causes[i]))) {
            return true;
        }
    }
    return request->chunked && request->chunks.n_trailers > 0;
}

// bytes are exactly one request for our parser.
static void check_reference(struct str bytes, struct str body)
{
    llhttp_settings_t settings;
    llhttp_t parser;
    struct reference reference = { .complete = false };
    buf_init(&reference.body, LARGE_BODY);
    llhttp_settings_init(&settings);
    settings.on_body = on_reference_body;
    settings.on_message_complete = on_reference_complete;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = &reference;
    llhttp_errno_t error = llhttp_execute(&parser, bytes.p, bytes.n);
    if (error == HPE_PAUSED) {
        REQUIRE(reference.complete);
        REQUIRE(llhttp_get_error_pos(&parser) == bytes.p + bytes.n);
        REQUIRE(str_eq(buf_str(&reference.body), body));
    } else {
        REQUIRE(error != HPE_OK); // it would wait for more
        REQUIRE(may_be_refused(bytes));
    }
    buf_fini(&reference.body);
}

// --- One input

static void check_complete(struct str bytes, size_t max_body)
{
    check_head(bytes);
    check_request(request, max_body);
    check_reference(bytes, buf_str(&request->body));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = { (const char *)data, size };
    uint8_t mode = take_byte(&rest);
    size_t max_body = mode & 8 ? SMALL_BODY : LARGE_BODY, n_sizes = mode % (MAX_SIZES + 1);
    n_sizes = n_sizes < rest.n ? n_sizes : rest.n;
    struct cuts whole = { .next = 0 }, single = { .sizes = STR("\1") },
                random = { .sizes = { rest.p, n_sizes } };
    rest = (struct str){ rest.p + n_sizes, rest.n - n_sizes };
    if (!request) {
        request = calloc(1, sizeof *request);
        REQUIRE(request);
        buf_init(&request->body, LARGE_BODY);
    }
    for (size_t i = 0; i < MAX_REQUESTS; i++) {
        struct outcome one = parse(rest, max_body, &single), other = parse(rest, max_body, &random);
        require_same(&one, &other);
        other = parse(rest, max_body, &whole);
        require_same(&one, &other);
        if (one.stage != HTTP_STAGE_COMPLETE) {
            break;
        }
        check_complete((struct str){ rest.p, one.used }, max_body);
        rest = (struct str){ rest.p + one.used, rest.n - one.used };
    }
    return 0;
}
