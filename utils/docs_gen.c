/* Writes the pages of docs/commands from the table of commands: one for each, its subcommands within, and a list of all.
 *
 *   docs_gen DIRECTORY
 *
 * The pages are committed; tests/check/docs.sh compares them with what this program writes. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cmd/command.h"
#include "repl/repl.h"
#include "server/server.h"

static const struct {
    unsigned bit;
    const char *name;
} flags[] = {
    { CMD_WRITE, "write" }, { CMD_READONLY, "readonly" }, { CMD_DENYOOM, "denyoom" }, { CMD_ADMIN, "admin" },
    { CMD_FAST, "fast" }, { CMD_NO_AUTH, "no_auth" }, { CMD_LOADING, "loading" }, { CMD_STALE, "stale" },
    { CMD_NOSCRIPT, "noscript" }, { CMD_SKIP_MONITOR, "skip_monitor" }, { CMD_SKIP_SLOWLOG, "skip_slowlog" },
    { CMD_PUBSUB, "pubsub" }, { CMD_BLOCKING, "blocking" }, { CMD_MOVABLE_KEYS, "movablekeys" },
    { CMD_NO_MULTI, "no_multi" }, { CMD_ALLOW_BUSY, "allow_busy" },
}, categories[] = {
    { ACL_KEYSPACE, "@keyspace" }, { ACL_READ, "@read" }, { ACL_WRITE, "@write" }, { ACL_VECTORSET, "@vectorset" },
    { ACL_ADMIN, "@admin" }, { ACL_FAST, "@fast" }, { ACL_SLOW, "@slow" }, { ACL_DANGEROUS, "@dangerous" },
    { ACL_CONNECTION, "@connection" }, { ACL_PUBSUB, "@pubsub" }, { ACL_TRANSACTION, "@transaction" },
    { ACL_BLOCKING, "@blocking" },
}, groups[] = {
    { 0, "vector_set" }, { 0, "generic" }, { 0, "connection" }, { 0, "server" },
    { 0, "pubsub" }, { 0, "transactions" },
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void put_upper(struct buf *b, const char *text)
{
    for (; *text; text++) {
        char c = (char)toupper((unsigned char)*text);
        buf_append(b, &c, 1);
    }
}

/* ---- the synopsis ---- */

static void put_args(struct buf *b, const struct cmd_arg *args, const char *between);

/* An argument without the brackets that say how often. */
static void put_bare(struct buf *b, const struct cmd_arg *a)
{
    if (a->token) {
        buf_puts(b, a->token);
        if (a->type == ARG_TOKEN)
            return;
        buf_puts(b, " ");
    }
    if (a->type == ARG_TOKEN) {
        buf_puts(b, a->name);
    } else if (a->type == ARG_ONEOF) {
        bool brackets = a->token || !(a->flags & ARG_OPTIONAL);
        buf_puts(b, brackets ? "<" : "");
        put_args(b, a->children, " | ");
        buf_puts(b, brackets ? ">" : "");
    } else if (a->type == ARG_BLOCK) {
        put_args(b, a->children, " ");
    } else {
        buf_puts(b, a->name);
    }
}

/* What is repeated: the argument without its word, or with it (ARG_MULTIPLE_TOKEN). */
static void put_again(struct buf *b, const struct cmd_arg *a)
{
    struct cmd_arg again = *a;
    if (!(a->flags & ARG_MULTIPLE_TOKEN))
        again.token = NULL;
    buf_puts(b, " [");
    put_bare(b, &again);
    buf_puts(b, " ...]");
}

static void put_args(struct buf *b, const struct cmd_arg *args, const char *between)
{
    for (const struct cmd_arg *a = args; a && a->name; a++) {
        if (a > args)
            buf_puts(b, between);
        if (a->flags & ARG_OPTIONAL)
            buf_puts(b, "[");
        put_bare(b, a);
        if (a->flags & (ARG_MULTIPLE | ARG_MULTIPLE_TOKEN))
            put_again(b, a);
        if (a->flags & ARG_OPTIONAL)
            buf_puts(b, "]");
    }
}

/* ---- a page ---- */

static void put_words(struct buf *b, const char *title, const char *words)
{
    if (words && *words)
        buf_printf(b, "- %s: %s\n", title, words);
}

static void put_facts(struct buf *b, const struct cmd_spec *s)
{
    put_words(b, "Since", s->since);
    put_words(b, "Complexity", s->complexity);
    bool any = false;
    for (size_t i = 0; i < COUNT(flags); i++) {
        if (s->flags & flags[i].bit) {
            buf_printf(b, "%s%s", any ? ", " : "- Flags: ", flags[i].name);
            any = true;
        }
    }
    buf_puts(b, any ? "\n" : "");
    any = false;
    for (size_t i = 0; i < COUNT(categories); i++) {
        if (s->acl & categories[i].bit) {
            buf_printf(b, "%s%s", any ? ", " : "- ACL: ", categories[i].name);
            any = true;
        }
    }
    buf_puts(b, any ? "\n" : "");
}

/* A cell of a table: a bar would end it. */
static void put_cell(struct buf *b, const char *text)
{
    for (; *text; text++)
        buf_puts(b, *text == '|' ? "\\|" : (char[]){ *text, 0 });
}

static void put_body(struct buf *b, const struct cmd_spec *parent, const struct cmd_spec *s, const char *heading)
{
    buf_printf(b, "%s\n\n", s->summary);
    if (s->handler) {
        buf_puts(b, "```\n");
        if (parent) {
            put_upper(b, parent->name);
            buf_puts(b, " ");
        }
        put_upper(b, s->name);
        if (s->args && s->args->name) {
            buf_puts(b, " ");
            put_args(b, s->args, " ");
        }
        buf_puts(b, "\n```\n\n");
    }
    put_facts(b, s);
    if (s->notes)
        buf_printf(b, "\n%s\n", s->notes);
    if (s->reply)
        buf_printf(b, "\n%s Reply\n\n%s\n", heading, s->reply);
    if (s->errors && s->errors->message) {
        buf_printf(b, "\n%s Errors\n\n| error | when |\n| --- | --- |\n", heading);
        for (const struct cmd_error_doc *e = s->errors; e->message; e++) {
            buf_puts(b, "| `");
            put_cell(b, e->message);
            buf_puts(b, "` | ");
            put_cell(b, e->when);
            buf_puts(b, " |\n");
        }
    }
    if (s->example)
        buf_printf(b, "\n%s Example\n\n```\n%s\n```\n", heading, s->example);
}

static int save(const char *dir, const char *name, struct buf *b)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.md", dir, name);
    FILE *f = fopen(path, "w");
    bool ok = f && fwrite(b->data, 1, b->len, f) == b->len;
    if (f && fclose(f))
        ok = false;
    if (!ok)
        fprintf(stderr, "docs_gen: %s: %s\n", path, strerror(errno));
    b->len = 0;
    return ok ? 0 : 1;
}

static int page(const char *dir, struct buf *b, const struct cmd_spec *s)
{
    buf_puts(b, "# ");
    put_upper(b, s->name);
    buf_puts(b, "\n\n");
    put_body(b, NULL, s, "##");
    for (const struct cmd_spec *sub = s->subcommands; sub && sub->name; sub++) {
        buf_puts(b, "\n## ");
        put_upper(b, s->name);
        buf_puts(b, " ");
        put_upper(b, sub->name);
        buf_puts(b, "\n\n");
        put_body(b, s, sub, "###");
    }
    return save(dir, s->name, b);
}

static int list(const char *dir, struct buf *b, const struct cmd_table *t)
{
    buf_puts(b, "# Commands\n\nThese pages are made from the table of commands by `make docs`.\n");
    for (size_t g = 0; g < COUNT(groups); g++) {
        bool any = false;
        for (size_t i = 0; i < cmd_count(t); i++) {
            const struct cmd_spec *s = cmd_at(t, i);
            if (strcmp(s->group, groups[g].name))
                continue;
            if (!any)
                buf_printf(b, "\n## %s\n\n| command | |\n| --- | --- |\n", groups[g].name);
            any = true;
            buf_puts(b, "| [");
            put_upper(b, s->name);
            buf_printf(b, "](%s.md) | ", s->name);
            put_cell(b, s->summary);
            buf_puts(b, " |\n");
        }
    }
    return save(dir, "README", b);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: docs_gen DIRECTORY\n", stderr);
        return 2;
    }
    struct cmd_table *t = cmd_table_new();
    cmd_register(t, cmd_vector_specs);
    cmd_register(t, cmd_partition_specs);
    cmd_register(t, cmd_keyspace_specs);
    cmd_register(t, cmd_dump_specs);
    cmd_register(t, cmd_expire_specs);
    cmd_register(t, cmd_vexpire_specs);
    cmd_register(t, server_connection_specs);
    cmd_register(t, server_admin_specs);
    cmd_register(t, server_persist_specs);
    cmd_register(t, server_pubsub_specs);
    cmd_register(t, server_multi_specs);
    cmd_register(t, repl_specs);
    struct buf b = { 0 };
    int failed = list(argv[1], &b, t);
    for (size_t i = 0; i < cmd_count(t); i++)
        failed |= page(argv[1], &b, cmd_at(t, i));
    buf_release(&b);
    cmd_table_free(t);
    return failed;
}
