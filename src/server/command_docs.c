/* COMMAND DOCS: texts and the grammar of arguments. redis-cli asks for it when it connects and
 * hints from it. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/commands.h"
#include "server/server.h"

static const char *type_name(enum cmd_arg_type type)
{
    static const char *const names[] = {
        [ARG_STRING] = "string",    [ARG_INTEGER] = "integer", [ARG_DOUBLE] = "double",
        [ARG_KEY] = "key",          [ARG_PATTERN] = "pattern", [ARG_UNIX_TIME] = "unix-time",
        [ARG_TOKEN] = "pure-token", [ARG_ONEOF] = "oneof",     [ARG_BLOCK] = "block",
    };
    return names[type];
}

static void write_args(struct resp_writer *w, const struct cmd_arg *args);

static void write_arg(struct resp_writer *w, const struct cmd_arg *a)
{
    static const struct {
        unsigned flag;
        const char *name;
    } flags[] = {{ARG_OPTIONAL, "optional"},
                 {ARG_MULTIPLE, "multiple"},
                 {ARG_MULTIPLE_TOKEN, "multiple_token"}};
    bool display = a->type != ARG_ONEOF && a->type != ARG_BLOCK, key = a->type == ARG_KEY;
    resp_map(w, 2 + (size_t)display + key + (a->token != NULL) + (a->flags != 0) +
                    (a->children != NULL));
    resp_bulk_text(w, "name");
    resp_bulk_text(w, a->name);
    resp_bulk_text(w, "type");
    resp_bulk_text(w, type_name(a->type));
    if (display) {
        resp_bulk_text(w, "display_text");
        resp_bulk_text(w, a->name);
    }
    if (key) {
        resp_bulk_text(w, "key_spec_index");
        resp_int(w, 0);
    }
    if (a->token) {
        resp_bulk_text(w, "token");
        resp_bulk_text(w, a->token);
    }
    if (a->flags) {
        size_t n = 0;
        for (size_t i = 0; i < 3; i++)
            n += (a->flags & flags[i].flag) != 0;
        resp_bulk_text(w, "flags");
        resp_set(w, n);
        for (size_t i = 0; i < 3; i++)
            if (a->flags & flags[i].flag)
                resp_status(w, flags[i].name);
    }
    if (a->children) {
        resp_bulk_text(w, "arguments");
        write_args(w, a->children);
    }
}

static void write_args(struct resp_writer *w, const struct cmd_arg *args)
{
    size_t n = 0;
    while (args[n].name)
        n++;
    resp_array(w, n);
    for (size_t i = 0; i < n; i++)
        write_arg(w, &args[i]);
}

static void write_docs(struct resp_writer *w, const struct cmd_table *t,
                       const struct cmd_spec *spec)
{
    char name[128];
    resp_bulk(w, name, cmd_full_name(t, spec, name, sizeof(name)));
    resp_map(w, 4 + (spec->args != NULL) + (spec->subcommands != NULL));
    resp_bulk_text(w, "summary");
    resp_bulk_text(w, spec->summary);
    resp_bulk_text(w, "since");
    resp_bulk_text(w, spec->since);
    resp_bulk_text(w, "group");
    resp_bulk_text(w, spec->group);
    resp_bulk_text(w, "complexity");
    resp_bulk_text(w, spec->complexity ? spec->complexity : "O(1)");
    if (spec->args) {
        resp_bulk_text(w, "arguments");
        write_args(w, spec->args);
    }
    if (spec->subcommands) {
        size_t n = 0;
        while (spec->subcommands[n].name)
            n++;
        resp_bulk_text(w, "subcommands");
        resp_map(w, n);
        for (size_t i = 0; i < n; i++)
            write_docs(w, t, &spec->subcommands[i]);
    }
}

static const struct cmd_spec *find_any(const struct cmd_table *t, const struct resp_arg *name)
{
    const char *bar = memchr(name->data, '|', name->len);
    const struct cmd_spec *spec =
        cmd_find(t, name->data, bar ? (size_t)(bar - name->data) : name->len);
    return !bar || !spec ? spec
                         : cmd_find_sub(spec, bar + 1, name->len - (size_t)(bar - name->data) - 1);
}

/* The whole table goes out in slices. */
static enum cmd_result all_docs(struct cmd_call *call)
{
    const struct cmd_table *t = server_of(call)->commands;
    size_t *at = call->state;
    if (!at) {
        at = call->state = mem_zalloc(sizeof(*at));
        call->state_free = mem_free;
        resp_map(call->reply, cmd_count(t));
    }
    while (*at < cmd_count(t)) {
        write_docs(call->reply, t, cmd_at(t, (*at)++));
        if (clock_mono_ns() >= call->slice_end_ns)
            return CMD_AGAIN;
    }
    return CMD_DONE;
}

enum cmd_result command_docs_command(struct cmd_call *call)
{
    const struct cmd_table *t = server_of(call)->commands;
    if (call->argc == 2)
        return all_docs(call);
    size_t n = 0;
    for (size_t i = 2; i < call->argc; i++)
        n += find_any(t, &call->argv[i]) != NULL;
    resp_map(call->reply, n);
    for (size_t i = 2; i < call->argc; i++) {
        const struct cmd_spec *spec = find_any(t, &call->argv[i]);
        if (spec)
            write_docs(call->reply, t, spec);
    }
    return CMD_DONE;
}
