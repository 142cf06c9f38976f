#include "server/monitor.h"

#include <string.h>

#include "base/clock.h"

/* Bytes of an argument that are shown: vectors would make the feed cost more than the command. */
#define ARG_SHOWN_MAX ((size_t)4096)

bool monitor_is_secret(const struct cmd_spec *spec)
{
    return strcmp(spec->name, "auth") == 0 || strcmp(spec->name, "hello") == 0;
}

static void quote(struct buf *out, const struct resp_arg *a)
{
    size_t n = a->len < ARG_SHOWN_MAX ? a->len : ARG_SHOWN_MAX;
    char *to = buf_reserve(out, n * 4 + 2), *from = to;
    *to++ = '"';
    for (size_t i = 0; i < n; i++) {
        static const char hex[] = "0123456789abcdef";
        unsigned char c = (unsigned char)a->data[i];
        const char *plain = "\n\r\t\a\b\\\"", *named = "nrtab\\\"",
                   *hit = c ? strchr(plain, c) : NULL;
        if (hit) {
            *to++ = '\\';
            *to++ = named[hit - plain];
        } else if (c >= ' ' && c < 127) {
            *to++ = (char)c;
        } else {
            *to++ = '\\';
            *to++ = 'x';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
        }
    }
    *to++ = '"';
    out->len += (size_t)(to - from);
}

static bool redacted(const struct cmd_spec *spec, const struct resp_arg *argv, size_t i)
{
    if (i == 0)
        return false;
    if (strcmp(spec->name, "auth") == 0)
        return true;
    if (strcmp(spec->name, "hello") != 0)
        return false;
    /* HELLO 3 AUTH user password */
    return (i > 1 && resp_is(&argv[i - 1], "auth")) || (i > 2 && resp_is(&argv[i - 2], "auth"));
}

void monitor_feed(struct server *s, const struct cmd_client *from, const struct cmd_spec *spec,
                  const struct resp_arg *argv, size_t argc)
{
    if (spec->flags & (CMD_SKIP_MONITOR | CMD_ADMIN))
        return;
    struct buf line = {0};
    uint64_t us = clock_wall_us();
    const char *peer = net_conn_peer(from->conn);
    bool is_unix = net_conn_is_unix(from->conn);
    buf_printf(&line, "+%llu.%06llu [%u %s%.*s]", (unsigned long long)(us / 1000000),
               (unsigned long long)(us % 1000000), from->db, is_unix ? "unix:" : "",
               (int)(strlen(peer) - (is_unix ? 2 : 0)), peer);
    for (size_t i = 0; i < argc && line.len < 65536; i++) {
        buf_append(&line, " ", 1);
        if (redacted(spec, argv, i))
            buf_puts(&line, "\"(redacted)\"");
        else
            quote(&line, &argv[i]);
    }
    buf_puts(&line, "\r\n");
    struct cmd_client *c;
    TAILQ_FOREACH(c, &s->clients->monitors, monitor_link)
    if (!c->closing)
        reply_push(c, line.data, line.len);
    buf_release(&line);
}

enum cmd_result monitor_command(struct cmd_call *call)
{
    struct cmd_client *c = call->client;
    if (!(c->flags & CLIENT_MONITOR)) {
        c->flags |= CLIENT_MONITOR;
        TAILQ_INSERT_TAIL(&c->server->clients->monitors, c, monitor_link);
    }
    resp_status(call->reply, "OK");
    return CMD_DONE;
}
