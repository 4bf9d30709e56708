// SPDX-License-Identifier: MIT
#include "gateway/asyncapi.h"

#include "gateway/schemas.h"

static const char head[] =
    "{\"asyncapi\":\"3.0.0\",\"info\":{\"title\":\"Sluice events\",\"version\":\"" SLUICE_VERSION
    "\",\"description\":\"Events are stored in the transaction of the change that they tell of: if "
    "it was committed the event will be delivered, and if not it never was. The queue acknowledges "
    "an event after it is on disk, and stores what a service sends twice once.\\n\\nDelivery: a "
    "consumer group gets each event at least once: again until a member has settled it, and as a "
    "dead letter (topic $dead.GROUP) after too many failures. A consumer that keeps its position "
    "in its own store, in the transaction of the effect, has each effect once.\\n\\nOrder: events "
    "of one key come in the order of the changes, in a group too, unless it asks for none. Between "
    "keys there is an order only for who reads the log itself.\\n\\nContent: the attributes are "
    "those of CloudEvents 1.0, the data is MessagePack. An event has the whole entity and its "
    "version, so that a listener needs nobody to ask, and ignores a version that is not above the "
    "one it knows. Fields may be added; a listener ignores those that it does not know. Events "
    "stay for as long as retention says, and can be read again from any position.\","
    "\"license\":{\"name\":\"MIT\",\"url\":\"https://spdx.org/licenses/MIT.html\"}},"
    "\"defaultContentType\":\"application/vnd.msgpack\","
    "\"servers\":{\"queue\":{\"host\":\"queue\",\"protocol\":\"zmq\",\"protocolVersion\":\"3.1\","
    "\"description\":\"sluice-queue, where SLUICE_QUEUE says: a socket on one machine, TCP with "
    "CURVE between machines. proto/PROTOCOL.md, section 3, is how to talk to it; sluice-tap does "
    "so.\",\"security\":[{\"$ref\":\"#/components/securitySchemes/curve\"}]}}";

static const char schemes[] =
    "\"securitySchemes\":{\"curve\":{\"type\":\"asymmetricEncryption\",\"description\":\"On TCP "
    "both sides prove by CURVE that they have a key of this deployment, and what it may do here is "
    "the queue's to say (proto/PROTOCOL.md, sections 1.1 and 3.11); a socket on one machine is its "
    "owner's.\"}}";

// The fields of an event (PROTOCOL.md 3.2), as sluice-tap shows them.
static const char trait[] =
    "\"messageTraits\":{\"event\":{\"headers\":{\"type\":\"object\","
    "\"description\":\"Attributes of CloudEvents 1.0. On the wire they are fields of an array "
    "(proto/PROTOCOL.md, section 3.2); sluice-tap -o json shows them as they are here.\","
    "\"required\":[\"id\",\"type\",\"source\",\"time\",\"sequence\"],\"properties\":{"
    "\"id\":{\"type\":\"string\",\"format\":\"uuid\",\"description\":\"UUIDv7, unique for ever\"},"
    "\"type\":{\"type\":\"string\",\"maxLength\":128,\"description\":\"The topic\"},"
    "\"source\":{\"type\":\"string\",\"format\":\"uri-reference\","
    "\"description\":\"The service: /sluice/NAME\"},"
    "\"subject\":{\"type\":\"string\",\"description\":\"Id of the entity\"},"
    "\"partitionkey\":{\"type\":\"string\",\"maxLength\":256,"
    "\"description\":\"The key: events with the same one keep their order\"},"
    "\"time\":{\"type\":\"string\",\"format\":\"date-time\",\"description\":\"When it happened\"},"
    "\"sequence\":{\"type\":\"string\",\"pattern\":\"^[0-9]{20}$\","
    "\"description\":\"Position in the log, from 1, with zeros before it\"},"
    "\"traceparent\":{\"type\":\"string\","
    "\"description\":\"W3C Trace Context of the request that changed the entity\"}}}}}";

struct event_position {
    size_t service, slot, index;
};

// The next event of any table, or NULL at the end; then at->service is its service.
static const struct frame_pair *next_event(const struct router *r, struct event_position *at)
{
    for (; at->service < r->n_services; at->service++, at->slot = 0) {
        for (; at->slot < TABLES_MAX; at->slot++, at->index = 0) {
            const struct table *t = r->services[at->service]->tables[at->slot];
            if (t && at->index < t->hello.n_events) {
                return &t->hello.events[at->index++];
            }
        }
    }
    return NULL;
}

// Whether no earlier table has the topic: the first one counts.
static bool is_first(const struct router *r, const struct frame_pair *event)
{
    struct event_position at = { 0, 0, 0 };
    const struct frame_pair *other;
    while ((other = next_event(r, &at)) != event) {
        if (str_eq(other->name, event->name)) {
            return false;
        }
    }
    return true;
}

// What a member of one of the document's objects says; service is who publishes the event.
typedef void append_fn(const char *service, const struct frame_pair *event, struct buf *b);

// A topic has letters, digits and "._-" (hello_check()): it can stand in strings and in references.
static void append_channel(const char *service, const struct frame_pair *event, struct buf *b)
{
    (void)service;
    int n = (int)event->name.n;
    const char *topic = event->name.p;
    buf_printf(b,
               "{\"address\":\"%.*s\",\"messages\":{\"%.*s\":{\"$ref\":\"#/components/messages/"
               "%.*s\"}}}",
               n, topic, n, topic, n, topic);
}

static void append_operation(const char *service, const struct frame_pair *event, struct buf *b)
{
    int n = (int)event->name.n;
    const char *topic = event->name.p;
    buf_printf(b,
               "{\"action\":\"send\",\"summary\":\"%s publishes %.*s\",\"channel\":{\"$ref\":"
               "\"#/channels/%.*s\"},\"messages\":[{\"$ref\":\"#/channels/%.*s/messages/%.*s\"}],"
               "\"tags\":[{\"$ref\":\"#/components/tags/%s\"}]}",
               service, n, topic, n, topic, n, topic, n, topic, service);
}

static void append_message(const char *service, const struct frame_pair *event, struct buf *b)
{
    (void)service;
    buf_append_str(b, event->value);
}

// An object with one member for each topic.
static void append_events(const struct router *r, append_fn *append, struct buf *b)
{
    struct event_position at = { 0, 0, 0 };
    const struct frame_pair *event;
    bool first = true;
    buf_append_char(b, '{');
    while ((event = next_event(r, &at))) {
        if (is_first(r, event)) {
            buf_append_z(b, first ? "\"" : ",\"");
            buf_append_str(b, event->name);
            buf_append_z(b, "\":");
            append(r->services[at.service]->name, event, b);
            first = false;
        }
    }
    buf_append_char(b, '}');
}

// One tag for each service that publishes something.
static void append_tags(const struct router *r, struct buf *b)
{
    const char *last = NULL;
    struct event_position at = { 0, 0, 0 };
    const struct frame_pair *event;
    buf_append_z(b, "\"tags\":{");
    while ((event = next_event(r, &at))) {
        const char *service = r->services[at.service]->name;
        if (service != last) { // those of one service come together
            buf_printf(b, "%s\"%s\":{\"name\":\"%s\",\"description\":\"Published by %s\"}",
                       last ? "," : "", service, service, service);
            last = service;
        }
    }
    buf_append_char(b, '}');
}

void asyncapi_write(const struct router *r, struct buf *b)
{
    buf_append_z(b, head);
    buf_append_z(b, ",\"channels\":");
    append_events(r, append_channel, b);
    buf_append_z(b, ",\"operations\":");
    append_events(r, append_operation, b);
    buf_append_z(b, ",\"components\":{");
    append_tags(r, b);
    buf_append_char(b, ',');
    buf_append_z(b, schemes);
    buf_append_char(b, ',');
    buf_append_z(b, trait);
    buf_append_z(b, ",\"messages\":");
    append_events(r, append_message, b);
    buf_append_z(b, ",\"schemas\":{");
    schemas_append(r, STR(""), b);
    buf_append_z(b, "}}}");
}
