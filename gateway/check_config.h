// SPDX-License-Identifier: MIT
// The command `sluice-gateway check-config`: whether the gateway would start with these options and
// this policy file. Says every mistake of the file, and what is in it when there is none.
#ifndef GATEWAY_CHECK_CONFIG_H
#define GATEWAY_CHECK_CONFIG_H

#include "common/process.h"

extern const struct process_command gateway_commands[];

#endif
