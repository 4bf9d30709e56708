// SPDX-License-Identifier: MIT
// The key `routes` of the policy file: what is done to requests and answers of some routes. Only
// policy_file.c uses it.
#ifndef GATEWAY_POLICY_RULES_H
#define GATEWAY_POLICY_RULES_H

#include "common/json_check.h"
#include "gateway/policy.h"

// target is the struct policy.
void policy_take_rules(struct json_check *c, struct json_item item, void *target);

#endif
