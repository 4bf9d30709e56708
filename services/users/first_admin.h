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
// be made. All that is kept of it is a hash; and not even that, which takes as long as a login, where it
// can be read again: home, borrowed until the end, is where secrets/admin-password has it; NULL: it came
// from elsewhere. After password_open(). is_new: the account will be made, so a weak password is
// refused, and the hash is made in any case. Returns 0, -EINVAL or -ENOMEM with one line in error.
__attribute__((warn_unused_result)) int first_admin_open(struct str password, const char *home,
                                                         bool is_new,
                                                         char error[CONFIG_ERROR_SIZE]);
void first_admin_close(void);

// Makes the account and its event unless it was ever made. Inside a transaction of the writer. 0 or
// -errno, with one line logged.
int on_first_admin(struct db *db, int64_t now_ms);

#endif
