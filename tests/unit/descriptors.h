// SPDX-License-Identifier: MIT
// A process without a descriptor left: what it opens fails with EMFILE.
#ifndef TESTS_UNIT_DESCRIPTORS_H
#define TESTS_UNIT_DESCRIPTORS_H

void descriptors_take_all(void);

// Gives back what was taken.
void descriptors_give_back(void);

#endif
