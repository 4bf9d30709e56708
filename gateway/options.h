// SPDX-License-Identifier: MIT
// The gateway's configuration: one table, of struct gateway_config.
#ifndef GATEWAY_OPTIONS_H
#define GATEWAY_OPTIONS_H

#include "common/config.h"

extern const struct config_option gateway_options[];

#endif
