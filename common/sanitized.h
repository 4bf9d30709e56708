// SPDX-License-Identifier: MIT
// SANITIZED: 1 in a build whose sanitizer keeps accounts of memory or threads (ASan, TSan), else 0.
#ifndef COMMON_SANITIZED_H
#define COMMON_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
