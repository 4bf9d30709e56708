// SPDX-License-Identifier: MIT
// The first admin: an account that is made with the store, so that there is somebody who can make
// other admins. It is made once; removed, it stays removed.
#ifndef USERS_FIRST_ADMIN_H
#define USERS_FIRST_ADMIN_H

#include "common/config.h"
#include "common/db.h"

#define FIRST_ADMIN_EMAIL "admin@sluice.local"
#define FIRST_ADMIN_NAME "Administrator"

// Sets the password, or that there is none (empty), which is an error only when the account has to
// be made. is_new: it will be, so a weak password is refused. Returns 0 or -EINVAL with one line in
// error.
__attribute__((warn_unused_result)) int first_admin_open(struct str password, bool is_new,
                                                         char error[CONFIG_ERROR_SIZE]);
void first_admin_close(void);

// Makes the account and its event unless it was ever made. Inside a transaction of the writer. 0 or
// -errno, with one line logged.
int on_first_admin(struct db *db, int64_t now_ms);

#endif
