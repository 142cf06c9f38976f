#include "integration/lib/both.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct both both_start(const char *const *args)
{
    struct both b = { .server = server_start(args) };
    b.two = server_socket(b.server);
    b.three = server_socket(b.server);
    char line[256];
    raw_puts(b.three, "HELLO 3\r\n");
    raw_line(b.three, line, sizeof line);
    assert_int_equal(line[0], '%');
    raw_puts(b.three, "ECHO end-of-hello\r\n");
    do
        raw_line(b.three, line, sizeof line);
    while (strcmp(line, "end-of-hello"));
    return b;
}

void both_stop(struct both *b)
{
    close(b->two);
    close(b->three);
    server_stop(b->server);
}
