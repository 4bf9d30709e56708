// SPDX-License-Identifier: MIT
// The pages of an admin listener that are the same in every process.
#ifndef COMMON_ADMIN_PAGES_H
#define COMMON_ADMIN_PAGES_H

struct admin;

// Adds /livez, which says that the loop turns, /metrics, in the format that the client likes best,
// and /log-level: a GET answers the level that is set, and PUT /log-level?level=LEVEL sets another
// one until the process ends, over a unix socket only (403 elsewhere). 0 or a negative errno, as
// admin_page().
__attribute__((warn_unused_result)) int admin_pages_add(struct admin *a);

#endif
