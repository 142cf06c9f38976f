/* TIME, and HELP of every command with subcommands. */
#include <ctype.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/client.h"
#include "server/commands.h"

enum cmd_result server_time_command(struct cmd_call *call)
{
    char text[32];
    uint64_t us = clock_wall_us();
    resp_array(call->reply, 2);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(us / 1000000));
    resp_bulk_text(call->reply, text);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(us % 1000000));
    resp_bulk_text(call->reply, text);
    return CMD_DONE;
}

/* ---- HELP ---- */

static void upper(char *text)
{
    for (; *text; text++)
        *text = (char)toupper((unsigned char)*text);
}

static void usage_of(const struct cmd_arg *args, const char *separator, struct buf *out);

static void usage_of_one(const struct cmd_arg *a, struct buf *out)
{
    if (a->flags & ARG_OPTIONAL)
        buf_puts(out, "[");
    if (a->token && a->type != ARG_TOKEN)
        buf_printf(out, "%s ", a->token);
    if (a->type == ARG_TOKEN)
        buf_puts(out, a->token);
    else if (a->type == ARG_ONEOF)
        usage_of(a->children, "|", out);
    else if (a->type == ARG_BLOCK)
        usage_of(a->children, " ", out);
    else
        buf_printf(out, "<%s>", a->name);
    if (a->flags & ARG_MULTIPLE)
        buf_puts(out, " ...");
    if (a->flags & ARG_OPTIONAL)
        buf_puts(out, "]");
}

static void usage_of(const struct cmd_arg *args, const char *separator, struct buf *out)
{
    for (const struct cmd_arg *a = args; a && a->name; a++) {
        if (a != args)
            buf_puts(out, separator);
        usage_of_one(a, out);
    }
}

enum cmd_result help_command(struct cmd_call *call)
{
    const struct cmd_spec *parent;
    cmd_row(server_of(call)->commands, cmd_id(server_of(call)->commands, call->spec), &parent);
    char name[64];
    snprintf(name, sizeof(name), "%s", parent->name);
    upper(name);
    size_t n = 0;
    while (parent->subcommands[n].name)
        n++;
    resp_array(call->reply, 1 + 2 * n);
    char line[160];
    snprintf(line, sizeof(line),
             "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
    resp_status(call->reply, line);
    for (size_t i = 0; i < n; i++) {
        const struct cmd_spec *sub = &parent->subcommands[i];
        struct buf out = {0};
        char word[64];
        snprintf(word, sizeof(word), "%s", sub->name);
        upper(word);
        buf_puts(&out, word);
        if (sub->args) {
            buf_puts(&out, " ");
            usage_of(sub->args, " ", &out);
        }
        buf_append(&out, "", 1);
        resp_status(call->reply, out.data);
        buf_release(&out);
        snprintf(line, sizeof(line), "    %s", sub->summary);
        resp_status(call->reply, line);
    }
    return CMD_DONE;
}
