// SPDX-License-Identifier: MIT
// External identity providers whose access tokens are taken besides our own: a JSON file names
// them, the files with their public keys, and how what they say becomes a role (docs/tokens.md).
//
//     [{ "name": "corp", "issuer": "https://id.example.com/", "audience": "shop",
//        "jwks": "corp.jwks.json", "algorithms": ["RS256"], "type": "at+jwt",
//        "roles": { "claim": "realm_access.roles", "map": { "shop-admin": "admin" },
//                   "default": "user" } }]
//
// Nothing is fetched from anywhere: keys come as files, so that no token makes us connect to a
// place that it names.
#ifndef GATEWAY_EXTERNALS_H
#define GATEWAY_EXTERNALS_H

#include "gateway/jwks.h"

#define EXTERNALS_MAX 8                // issuers
#define EXTERNALS_MAX_BYTES 65536      // of the file
#define EXTERNALS_MAX_JWKS_FILES 16    // of one issuer's directory
#define EXTERNALS_MAX_ROLES 32         // of one map
#define EXTERNALS_MAX_PATH 8           // names in the path of a claim
#define EXTERNALS_MAX_NAME 16          // bytes of a name, which is part of user ids
#define EXTERNALS_MAX_ROLE 32          // bytes of a role of ours
#define EXTERNALS_MAX_CLAIM_VALUES 256 // of a token that are looked at
#define EXTERNALS_ERROR_SIZE 512

struct external_role {
    const char *theirs, *ours;
};

struct external_issuer {
    const char *name, *issuer, *audience, *jwks; // of the document, as the other strings
    struct jwks keys;
    bool plain_jwt; // "type": "JWT": takes `typ: JWT`, too
    size_t n_claim, n_roles;
    const char *claim[EXTERNALS_MAX_PATH]; // path of the claim that has their roles
    struct external_role roles[EXTERNALS_MAX_ROLES];
    const char *fallback; // role of those who have none of them; NULL: refused
};

struct externals {
    size_t n;
    struct external_issuer issuers[EXTERNALS_MAX];
    struct yyjson_doc *doc; // owned
    uint64_t state;         // of all files, when they were read
};

// Reads the file and all files that it names, relative to its directory. own_issuer may not be in
// it. Returns 0 with *ret_externals for externals_destroy(), or a negative errno with one line in
// error that says where the mistake is and what is allowed: -EBADMSG, or what the system said of a
// file (-EMFILE, -ENOMEM), which may pass.
__attribute__((warn_unused_result)) int externals_load(const char *path, const char *own_issuer,
                                                       struct externals **ret_externals,
                                                       char error[EXTERNALS_ERROR_SIZE]);
void externals_destroy(struct externals **e);

// A number that is another one when the file, or one that it named when e was loaded, has changed.
uint64_t externals_state(const char *path, const struct externals *e);

// The issuer of this name (`iss`), or NULL.
const struct external_issuer *externals_find(const struct externals *e, struct str issuer);

// How many keys all of them have.
size_t externals_count_keys(const struct externals *e);

// Our role of somebody with these claims: of those that the map lists, the first one in the map's
// order; else the fallback. NULL: none.
struct yyjson_val;
const char *externals_role(const struct external_issuer *issuer, struct yyjson_val *claims);

#endif
