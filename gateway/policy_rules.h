// SPDX-License-Identifier: MIT
// The key `routes` of the policy file: what is done to requests and answers of some routes. Only
// policy_file.c uses it.
#ifndef GATEWAY_POLICY_RULES_H
#define GATEWAY_POLICY_RULES_H

#include "gateway/policy_check.h"

// target is the struct policy.
void policy_take_rules(struct policy_check *c, struct policy_item item, void *target);

#endif
