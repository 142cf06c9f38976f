#include "integration/lib/raw.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cmocka.h>

#include "lib/wait.h"

#define DEADLINE_MS 20000

static void give_up(const char *file, int line, const char *what, const char *why)
{
    print_error("%s: %s\n", what, why);
    _fail(file, line);
}

/* Up to `len` bytes; 0 when the connection is closed. */
static size_t receive(const char *file, int line, int fd, void *out, size_t len, int64_t end)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t left = end - wait_now_ms();
    if (left <= 0 || poll(&p, 1, (int)left) <= 0)
        give_up(file, line, "receive", "nothing came before the deadline");
    ssize_t n = recv(fd, out, len, 0);
    if (n < 0 && errno != ECONNRESET)
        give_up(file, line, "receive", strerror(errno));
    return n > 0 ? (size_t)n : 0;
}

void raw_send_at(const char *file, int line, int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0)
            give_up(file, line, "send", strerror(errno));
        p += n;
        len -= (size_t)n;
    }
}

void raw_puts_at(const char *file, int line, int fd, const char *text)
{
    raw_send_at(file, line, fd, text, strlen(text));
}

void raw_read_at(const char *file, int line, int fd, void *out, size_t len)
{
    int64_t end = wait_now_ms() + DEADLINE_MS;
    for (size_t have = 0; have < len;) {
        size_t n = receive(file, line, fd, (char *)out + have, len - have, end);
        if (n == 0)
            give_up(file, line, "receive", "the connection was closed");
        have += n;
    }
}

void raw_expect_at(const char *file, int line, int fd, const char *text)
{
    size_t len = strlen(text), have = 0;
    int64_t end = wait_now_ms() + DEADLINE_MS;
    char *got = calloc(1, len + 1);
    while (have < len) {
        size_t n = receive(file, line, fd, got + have, len - have, end);
        have += n;
        if (n == 0 || memcmp(got, text, have) != 0) {
            print_error("expected:\n%s\ngot%s:\n%s\n", text, n == 0 ? ", and then the end" : "", got);
            free(got);
            _fail(file, line);
            return;
        }
    }
    free(got);
}

void raw_line_at(const char *file, int line, int fd, char *out, size_t size)
{
    size_t have = 0;
    do {
        if (have + 1 >= size)
            give_up(file, line, "receive", "the line is too long");
        raw_read_at(file, line, fd, out + have, 1);
        have++;
    } while (out[have - 1] != '\n');
    out[have >= 2 && out[have - 2] == '\r' ? have - 2 : have - 1] = '\0';
}

void raw_expect_closed_at(const char *file, int line, int fd)
{
    int64_t end = wait_now_ms() + DEADLINE_MS;
    char dropped[4096];
    while (receive(file, line, fd, dropped, sizeof dropped, end) > 0) {
    }
}
