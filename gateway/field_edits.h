// SPDX-License-Identifier: MIT
// Header fields that are set, removed or renamed by configuration, on the way in or on the way out.
// Within one set of edits, fields are renamed first, then removed, then set; sets are applied one
// after the other. Fields that frame messages, that belong to one hop, or that the gateway itself
// decides about cannot be edited.
#ifndef GATEWAY_FIELD_EDITS_H
#define GATEWAY_FIELD_EDITS_H

#include "proto/str.h"

#define FIELD_EDITS_MAX 32        // in one set
#define FIELD_EDIT_VALUE_MAX 1024 // bytes

enum field_edit_kind { FIELD_RENAME, FIELD_REMOVE, FIELD_SET };

struct field_edit {
    enum field_edit_kind kind;
    struct str name;  // in lower case
    struct str value; // FIELD_SET: the value; FIELD_RENAME: the new name
};

struct field_edits {
    struct field_edit *edits; // borrowed, in the order in which they apply
    size_t n;
};

// Why a field must not be edited, as the end of a sentence; NULL when it may be. The name must be a
// token (RFC 9110 section 5.6.2) in lower case.
const char *field_edits_refusal(struct str name, bool response);

// What becomes of a field of an answer: 0 with *name changed if it is renamed; or -ENOENT when it is
// gone, because it is removed or another value is set. Edits before `from` are not applied.
int field_edits_apply(const struct field_edits *e, size_t from, struct str *name);

// Whether the edits set this field.
bool field_edits_set(const struct field_edits *e, struct str name);

#endif
