// SPDX-License-Identifier: MIT
// What /metrics says of a process's log.
#ifndef COMMON_LOG_METRICS_H
#define COMMON_LOG_METRICS_H

void log_metrics_open(void);
void log_metrics_close(void);

#endif
