// SPDX-License-Identifier: MIT
// Message tables: one X-macro list describes each message, and its struct, its MessagePack form,
// its validation and its JSON Schema (OpenAPI 3.1) all come from that list, so they cannot drift
// apart.
//
// A list takes six macros, one for each kind of field:
//
//     #define USER_CREATE_FIELDS(S, I, B, T, O, L)
//         S(email, REQUIRED, 3, 254, EMAIL, "Where we reach you")
//         O(price, REQUIRED, money, "Price of one")
//         L(items, REQUIRED, 1, 50, order_line, "What is ordered")
//     MESSAGE_DECLARE(user_create, USER_CREATE_FIELDS)       // in the header: the struct, the field numbers
//     MESSAGE_DEFINE(user_create, USER_CREATE_FIELDS)        // in one .c file: const struct message
//
//   S(name, flags, min, max, format, description)  string; min and max count characters (code points)
//   I(name, flags, min, max, description)          64-bit integer
//   B(name, flags, description)                    boolean
//   T(name, flags, description)                    time: int64_t milliseconds here, RFC 3339 text on the wire
//   O(name, flags, message, description)           another message, embedded
//   L(name, flags, min, max, message, description) up to max messages, embedded: name[max] and n_name
//
// flags is REQUIRED or OPTIONAL, or NULLABLE (optional, and null is a value: in a merge patch it
// removes). format is one of FORMAT_* without its prefix.
//
// To change a message: change its list. Fields may be added as OPTIONAL at any time; a worker that
// does not know a field refuses it, so deploy workers before clients use it.
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include "proto/buf.h"
#include "proto/reader.h"

enum field_kind { FIELD_STRING, FIELD_INTEGER, FIELD_BOOLEAN, FIELD_TIME, FIELD_OBJECT, FIELD_LIST };

enum field_flags { FIELD_OPTIONAL = 0, FIELD_REQUIRED = 1, FIELD_NULLABLE = 2 };

enum field_format {
    FORMAT_ANY,      // any valid UTF-8 without NUL
    FORMAT_LINE,     // no control characters
    FORMAT_TEXT,     // no control characters but tab and newline
    FORMAT_EMAIL,    // local@domain, one @, no blanks or control characters, a dot in the domain
    FORMAT_UUID,     // 8-4-4-4-12 lower-case hexadecimal digits
    FORMAT_SKU,      // A-Z a-z 0-9 . _ + : ~ -
    FORMAT_CURRENCY, // three upper-case letters
    FORMAT_TOKEN     // printable ASCII without blanks
};

struct message;

struct field {
    const char *name;
    const char *description;
    enum field_kind kind;
    enum field_flags flags;
    enum field_format format;
    int64_t min, max;          // of the value, the characters or the items
    size_t offset;             // of the field in the struct
    size_t count_offset;       // of n_<name>, for a list
    const struct message *sub; // for an object or a list
};

struct message {
    const char *name;           // as in OpenAPI's components.schemas
    size_t size;                // of the struct
    const struct field *fields;
    size_t n_fields;            // at most 64
};

// Every generated struct begins with this. Bit i stands for field i.
struct message_head {
    uint64_t present; // fields that were in the input, null or not
    uint64_t null;    // those that were null
};

#define MESSAGE_MAX_ERRORS 16

struct message_error {
    char pointer[128]; // JSON Pointer into the body, as a fragment ("#/items/0/sku"); "#" is the body itself
    char detail[192];  // what is wrong and what is allowed
};

struct message_errors {
    size_t n; // entries in use; further errors are not recorded
    struct message_error item[MESSAGE_MAX_ERRORS];
};

// Records an error at pointer, which message_unpack() also does itself. Used by workers for rules
// that span fields or need the store.
__attribute__((format(printf, 3, 4))) void message_error_add(struct message_errors *e, const char *pointer,
                                                              const char *format, ...);

// Reads one MessagePack map into *ret_struct (m->size bytes, cleared first); strings borrow the
// reader's input. Checks types, limits, formats, required, unknown and duplicate fields. Returns 0;
// or -EINVAL with every mistake (up to the limit) in *errors; or -EBADMSG when the input is not
// decodable at all.
__attribute__((warn_unused_result)) int message_unpack(const struct message *m, struct reader *r,
                                                       void *ret_struct, struct message_errors *errors);

// Reads like message_unpack() but skips unknown fields and checks nothing but types: for events and
// replies made by another version of Sluice.
__attribute__((warn_unused_result)) int message_unpack_lenient(const struct message *m, struct reader *r,
                                                               void *ret_struct);

// Writes the struct as a MessagePack map: required fields always, optional ones when their bit in
// head.present is set (as nil when their bit in head.null is).
void message_pack(const struct message *m, const void *object, struct buf *b);

// Writes the struct as a JSON object with the same members: for files that people and other
// programs read.
void message_json(const struct message *m, const void *object, struct buf *b);

// Writes the message's JSON Schema, with references to #/components/schemas/<name> for embedded
// messages. closed: with members that the table does not have it is refused, also within what it
// embeds, as message_unpack() does it with requests. Otherwise more may come some day, and a reader
// ignores what it does not know, as message_unpack_lenient() does it with events and answers.
void message_schema(const struct message *m, bool closed, struct buf *b);

#define MESSAGE_S_(name, ...) struct str name;
#define MESSAGE_I_(name, ...) int64_t name;
#define MESSAGE_B_(name, ...) bool name;
#define MESSAGE_T_(name, ...) int64_t name;
#define MESSAGE_O_(name, flags, sub, description) struct sub name;
#define MESSAGE_L_(name, flags, min, max, sub, description) \
    struct sub name[max];                                   \
    size_t n_##name;

// Declares struct NAME, the bit of each field as NAME_has(object, field) uses it, and NAME_message.
#define MESSAGE_DECLARE(NAME, LIST)                                                                \
    struct NAME {                                                                                  \
        struct message_head head;                                                                  \
        LIST(MESSAGE_S_, MESSAGE_I_, MESSAGE_B_, MESSAGE_T_, MESSAGE_O_, MESSAGE_L_)               \
    };                                                                                             \
    struct NAME##_bits_ {                                                                          \
        LIST(MESSAGE_BIT_, MESSAGE_BIT_, MESSAGE_BIT_, MESSAGE_BIT_, MESSAGE_BIT_, MESSAGE_BIT_)   \
    };                                                                                             \
    extern const struct message NAME##_message;

#define MESSAGE_BIT_(name, ...) char name;

// The bit of a field in head.present and head.null.
#define MESSAGE_BIT(NAME, field) (UINT64_C(1) << offsetof(struct NAME##_bits_, field))

// Whether the field was in the input (or was set for output).
#define MESSAGE_HAS(object, NAME, field) (((object)->head.present & MESSAGE_BIT(NAME, field)) != 0)

// Whether the field was null in the input.
#define MESSAGE_IS_NULL(object, NAME, field) (((object)->head.null & MESSAGE_BIT(NAME, field)) != 0)

// Defines NAME_message. The file defines MESSAGE_SELF_ as the struct at hand around each of these:
//     #define MESSAGE_SELF_ struct user_create
//     MESSAGE_DEFINE(user_create, USER_CREATE_FIELDS)
//     #undef MESSAGE_SELF_
#define MESSAGE_DEFINE(NAME, LIST)                                                                 \
    static const struct field NAME##_fields_[] = { LIST(MESSAGE_DS_, MESSAGE_DI_, MESSAGE_DB_,     \
                                                        MESSAGE_DT_, MESSAGE_DO_, MESSAGE_DL_) };  \
    const struct message NAME##_message = { #NAME, sizeof(struct NAME), NAME##_fields_,            \
                                            sizeof NAME##_fields_ / sizeof *NAME##_fields_ };

#define MESSAGE_DS_(name_, flags_, min_, max_, format_, description_)                              \
    { .name = #name_, .description = description_, .kind = FIELD_STRING, .flags = FIELD_##flags_,  \
      .format = FORMAT_##format_, .min = min_, .max = max_,                                        \
      .offset = offsetof(MESSAGE_SELF_, name_) },
#define MESSAGE_DI_(name_, flags_, min_, max_, description_)                                       \
    { .name = #name_, .description = description_, .kind = FIELD_INTEGER, .flags = FIELD_##flags_, \
      .min = min_, .max = max_, .offset = offsetof(MESSAGE_SELF_, name_) },
#define MESSAGE_DB_(name_, flags_, description_)                                                   \
    { .name = #name_, .description = description_, .kind = FIELD_BOOLEAN, .flags = FIELD_##flags_, \
      .offset = offsetof(MESSAGE_SELF_, name_) },
#define MESSAGE_DT_(name_, flags_, description_)                                                   \
    { .name = #name_, .description = description_, .kind = FIELD_TIME, .flags = FIELD_##flags_,    \
      .offset = offsetof(MESSAGE_SELF_, name_) },
#define MESSAGE_DO_(name_, flags_, sub_, description_)                                             \
    { .name = #name_, .description = description_, .kind = FIELD_OBJECT, .flags = FIELD_##flags_,  \
      .offset = offsetof(MESSAGE_SELF_, name_), .sub = &sub_##_message },
#define MESSAGE_DL_(name_, flags_, min_, max_, sub_, description_)                                 \
    { .name = #name_, .description = description_, .kind = FIELD_LIST, .flags = FIELD_##flags_,    \
      .min = min_, .max = max_, .offset = offsetof(MESSAGE_SELF_, name_),                          \
      .count_offset = offsetof(MESSAGE_SELF_, n_##name_), .sub = &sub_##_message },

#endif
