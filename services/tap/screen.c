// SPDX-License-Identifier: MIT
#include "services/tap/screen.h"

#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define OTHER_SCREEN "\033[?1049h"
#define FIRST_SCREEN "\033[?1049l"
#define HIDE_CURSOR "\033[?25l"
#define SHOW_CURSOR "\033[?25h"
#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"
#define UP "\033[A"
#define DEFAULT_ROWS 24
#define DEFAULT_COLUMNS 80

static void on_key(uv_poll_t *handle, int status, int events)
{
    struct screen *s = handle->data;
    char c;
    (void)events;
    ssize_t n = status ? 0 : read(STDIN_FILENO, &c, 1);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        (void)uv_poll_stop(handle); // the terminal is gone
        s->quit = true;
    } else if (n == 1 && (c == 'q' || c == 'Q')) {
        s->quit = true;
    }
}

static void read_keys(struct screen *s)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &s->before)) {
        return;
    }
    raw = s->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); // Ctrl-C stays a signal
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) ||
        uv_poll_init(&s->t->loop, &s->poll, STDIN_FILENO)) {
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
        return;
    }
    s->keys = true;
    s->poll.data = s;
    (void)uv_poll_start(&s->poll, UV_READABLE, on_key);
}

void screen_open(struct screen *s, struct tap *t, bool full)
{
    *s = (struct screen){ .t = t, .terminal = isatty(STDOUT_FILENO) == 1 };
    s->full = full && s->terminal;
    if (!s->terminal) {
        return;
    }
    tap_catch_signals(t);
    buf_append_z(&t->out, s->full ? OTHER_SCREEN HIDE_CURSOR : HIDE_CURSOR);
    (void)tap_flush(t);
    if (s->full && isatty(STDIN_FILENO)) {
        read_keys(s);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct screen *s = handle->data;
    s->closed = true;
}

void screen_close(struct screen *s)
{
    if (s->keys) {
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
        uv_close((uv_handle_t *)&s->poll, on_closed);
        while (!s->closed) {
            (void)uv_run(&s->t->loop, UV_RUN_NOWAIT);
        }
    }
    if (s->terminal) {
        buf_append_z(&s->t->out, s->full ? SHOW_CURSOR FIRST_SCREEN : SHOW_CURSOR);
        (void)tap_flush(s->t);
    }
}

static void size_of(struct winsize *w)
{
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, w) || w->ws_row == 0 || w->ws_col == 0) {
        *w = (struct winsize){ .ws_row = DEFAULT_ROWS, .ws_col = DEFAULT_COLUMNS };
    }
}

bool screen_draw(struct screen *s, struct str picture)
{
    struct winsize w;
    unsigned rows = 0;
    struct buf *out = &s->t->out;
    if (!s->terminal) {
        buf_append_str(out, picture);
        return tap_flush(s->t);
    }
    size_of(&w);
    for (unsigned i = 0; !s->full && i < s->drawn; i++) {
        buf_append_z(out, UP);
    }
    buf_append_z(out, s->full ? HOME : "\r");
    for (size_t at = 0; at < picture.n && !(s->full && rows + 1 >= w.ws_row); rows++) {
        const char *end = memchr(picture.p + at, '\n', picture.n - at);
        size_t n = end ? (size_t)(end - picture.p) - at : picture.n - at;
        buf_append(out, picture.p + at, n < w.ws_col ? n : w.ws_col);
        buf_append_z(out, CLEAR_LINE "\r\n");
        at += n + 1;
    }
    buf_append_z(out, CLEAR_BELOW);
    s->drawn = rows;
    return tap_flush(s->t);
}

bool screen_wait(struct screen *s, int64_t ms)
{
    int rc = tap_wait(s->t, &s->quit, ms);
    return rc == -ETIMEDOUT;
}
