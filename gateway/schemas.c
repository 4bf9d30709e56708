// SPDX-License-Identifier: MIT
// One walk over the text: what it finds is appended to the same text, so that the walk comes by what
// that refers to in turn.
#include "gateway/schemas.h"

#define REFERENCE "#/components/schemas/"
#define NAMES_MAX_BYTES (1024 * 1024) // of all schemas in a document

// The first schema of this name in any table, or NULL.
static const struct frame_pair *find_schema(const struct router *r, struct str name)
{
    for (size_t i = 0; i < r->n_services * TABLES_MAX; i++) {
        const struct table *t = r->services[i / TABLES_MAX]->tables[i % TABLES_MAX];
        for (size_t k = 0; t && k < t->hello.n_schemas; k++) {
            if (str_eq(t->hello.schemas[k].name, name)) {
                return &t->hello.schemas[k];
            }
        }
    }
    return NULL;
}

// The name of the next reference from *at on, which then is behind it; p == NULL: no more.
static struct str next_reference(const struct buf *b, size_t *at)
{
    struct str rest = { b->data + *at, b->len - *at };
    const char *found = rest.n ? memmem(rest.p, rest.n, REFERENCE, strlen(REFERENCE)) : NULL;
    const char *name = found ? found + strlen(REFERENCE) : NULL;
    const char *end = name ? memchr(name, '"', rest.n - (size_t)(name - rest.p)) : NULL;
    if (!end) {
        return (struct str){ NULL, 0 };
    }
    *at = (size_t)(end - b->data);
    return (struct str){ name, (size_t)(end - name) };
}

// Whether the name is new; then it is in `names`, a line each, from now on. Names have no control
// characters (hello_check()).
static bool is_new(struct buf *names, struct str name)
{
    size_t before = names->len - 1; // the end of the last line
    buf_append_str(names, name);
    buf_append_char(names, '\n');
    struct str line = { names->data + before, names->len - before };
    if (!buf_ok(names) || memmem(names->data, before + 1, line.p, line.n)) {
        names->len = before + 1;
        return false;
    }
    return true;
}

void schemas_append(const struct router *r, struct str own, struct buf *b)
{
    struct buf names;
    buf_init(&names, NAMES_MAX_BYTES);
    buf_append_char(&names, '\n');
    buf_append_str(&names, own);
    buf_append_char(&names, '\n');
    size_t at = 0;
    while (buf_ok(b) && buf_ok(&names)) {
        struct str name = next_reference(b, &at);
        if (!name.p) {
            break;
        }
        const struct frame_pair *schema = find_schema(r, name);
        if (schema && is_new(&names, schema->name)) {
            buf_append_z(b, b->data[b->len - 1] == '{' ? "\"" : ",\"");
            buf_append_str(b, schema->name);
            buf_append_z(b, "\":");
            buf_append_str(b, schema->value);
        }
    }
    if (buf_ok(b) && !buf_ok(&names)) {
        b->error = buf_error(&names);
    }
    buf_fini(&names);
}
