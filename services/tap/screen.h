// SPDX-License-Identifier: MIT
// A picture that is drawn again and again: in place on a terminal, one below the other elsewhere.
// Whatever ends the command, the terminal is given back as it was.
#ifndef TAP_SCREEN_H
#define TAP_SCREEN_H

#include <termios.h>

#include "services/tap/tap.h"

struct screen {
    struct tap *t;
    bool terminal; // standard output is one
    bool full;     // the whole of it, on its other screen
    bool keys;     // keys are read one by one
    bool quit;     // q was pressed
    bool closed;   // the handle of the keys is
    struct termios before;
    uv_poll_t poll; // of standard input
    unsigned drawn; // lines of the last picture, when it is not full
};

// full: takes the whole screen, and reads keys if standard input is the terminal too.
void screen_open(struct screen *s, struct tap *t, bool full);
void screen_close(struct screen *s);

// Draws the picture, which is lines of printable text. On a full screen what is too wide or too
// long for it is left out. False: nobody reads any more.
bool screen_draw(struct screen *s, struct str picture);

// Waits; false when it is time to end: q, a signal, or nobody reads any more.
bool screen_wait(struct screen *s, int64_t ms);

#endif
