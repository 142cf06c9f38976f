/* COMMAND: what the table says, in the forms that clients read. DOCS is in command_docs.c. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/glob.h"
#include "base/mem.h"
#include "server/commands.h"
#include "server/server.h"

static const struct {
    unsigned flag;
    const char *name;
} flag_names[] =
    {
        {CMD_WRITE, "write"},
        {CMD_READONLY, "readonly"},
        {CMD_DENYOOM, "denyoom"},
        {CMD_ADMIN, "admin"},
        {CMD_PUBSUB, "pubsub"},
        {CMD_NOSCRIPT, "noscript"},
        {CMD_BLOCKING, "blocking"},
        {CMD_LOADING, "loading"},
        {CMD_STALE, "stale"},
        {CMD_SKIP_MONITOR, "skip_monitor"},
        {CMD_SKIP_SLOWLOG, "skip_slowlog"},
        {CMD_FAST, "fast"},
        {CMD_NO_AUTH, "no_auth"},
        {CMD_MOVABLE_KEYS, "movablekeys"},
        {CMD_NO_MULTI, "no_multi"},
        {CMD_ALLOW_BUSY, "allow_busy"},
},
  category_names[] = {
      {ACL_KEYSPACE, "keyspace"},
      {ACL_READ, "read"},
      {ACL_WRITE, "write"},
      {ACL_VECTORSET, "vectorset"},
      {ACL_ADMIN, "admin"},
      {ACL_FAST, "fast"},
      {ACL_SLOW, "slow"},
      {ACL_DANGEROUS, "dangerous"},
      {ACL_CONNECTION, "connection"},
      {ACL_PUBSUB, "pubsub"},
      {ACL_TRANSACTION, "transaction"},
      {ACL_BLOCKING, "blocking"},
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void write_flags(struct resp_writer *w, unsigned flags)
{
    size_t n = 0;
    for (size_t i = 0; i < COUNT(flag_names); i++)
        n += (flags & flag_names[i].flag) != 0;
    resp_set(w, n);
    for (size_t i = 0; i < COUNT(flag_names); i++)
        if (flags & flag_names[i].flag)
            resp_status(w, flag_names[i].name);
}

static void write_categories(struct resp_writer *w, unsigned acl)
{
    size_t n = 0;
    char text[32];
    for (size_t i = 0; i < COUNT(category_names); i++)
        n += (acl & category_names[i].flag) != 0;
    resp_set(w, n);
    for (size_t i = 0; i < COUNT(category_names); i++) {
        if (!(acl & category_names[i].flag))
            continue;
        snprintf(text, sizeof(text), "@%s", category_names[i].name);
        resp_status(w, text);
    }
}

static const char *key_access(const struct cmd_spec *spec)
{
    return spec->flags & CMD_WRITE ? "RW" : "RO";
}

static const char *key_effect(const struct cmd_spec *spec)
{
    return spec->flags & CMD_WRITE ? "update" : "access";
}

static void write_key_spec(struct resp_writer *w, const struct cmd_spec *spec)
{
    resp_map(w, 3);
    resp_bulk_text(w, "flags");
    resp_set(w, 2);
    resp_status(w, key_access(spec));
    resp_status(w, key_effect(spec));
    resp_bulk_text(w, "begin_search");
    resp_map(w, 2);
    resp_bulk_text(w, "type");
    resp_bulk_text(w, "index");
    resp_bulk_text(w, "spec");
    resp_map(w, 1);
    resp_bulk_text(w, "index");
    resp_int(w, spec->first_key);
    resp_bulk_text(w, "find_keys");
    resp_map(w, 2);
    resp_bulk_text(w, "type");
    resp_bulk_text(w, "range");
    resp_bulk_text(w, "spec");
    resp_map(w, 3);
    resp_bulk_text(w, "lastkey");
    resp_int(w, spec->last_key < 0 ? spec->last_key : spec->last_key - spec->first_key);
    resp_bulk_text(w, "keystep");
    resp_int(w, spec->key_step);
    resp_bulk_text(w, "limit");
    resp_int(w, 0);
}

static void write_entry(struct resp_writer *w, const struct cmd_table *t,
                        const struct cmd_spec *spec)
{
    char name[128];
    resp_array(w, 10);
    resp_bulk(w, name, cmd_full_name(t, spec, name, sizeof(name)));
    resp_int(w, spec->arity);
    write_flags(w, spec->flags);
    resp_int(w, spec->first_key);
    resp_int(w, spec->last_key);
    resp_int(w, spec->key_step);
    write_categories(w, spec->acl);
    resp_array(w, 0);
    resp_array(w, spec->key_step > 0);
    if (spec->key_step > 0)
        write_key_spec(w, spec);
    size_t n = 0;
    while (spec->subcommands && spec->subcommands[n].name)
        n++;
    resp_array(w, n);
    for (size_t i = 0; i < n; i++)
        write_entry(w, t, &spec->subcommands[i]);
}

/* "get", or "client|kill". */
static const struct cmd_spec *find_any(const struct cmd_table *t, const struct resp_arg *name)
{
    const char *bar = memchr(name->data, '|', name->len);
    if (!bar)
        return cmd_find(t, name->data, name->len);
    const struct cmd_spec *parent = cmd_find(t, name->data, (size_t)(bar - name->data));
    return parent ? cmd_find_sub(parent, bar + 1, name->len - (size_t)(bar - name->data) - 1)
                  : NULL;
}

/* All commands, a slice at a time; state is the next one's position + 1. */
enum cmd_result command_command(struct cmd_call *call)
{
    const struct cmd_table *t = server_of(call)->commands;
    size_t *at = call->state;
    if (!at) {
        at = call->state = mem_zalloc(sizeof(*at));
        call->state_free = mem_free;
        resp_array(call->reply, cmd_count(t));
    }
    while (*at < cmd_count(t)) {
        write_entry(call->reply, t, cmd_at(t, (*at)++));
        if (clock_mono_ns() >= call->slice_end_ns)
            return CMD_AGAIN;
    }
    return CMD_DONE;
}

enum cmd_result command_count_command(struct cmd_call *call)
{
    resp_int(call->reply, (long long)cmd_count(server_of(call)->commands));
    return CMD_DONE;
}

enum cmd_result command_info_command(struct cmd_call *call)
{
    const struct cmd_table *t = server_of(call)->commands;
    if (call->argc == 2)
        return command_command(call);
    resp_array(call->reply, call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) {
        const struct cmd_spec *spec = find_any(t, &call->argv[i]);
        if (spec)
            write_entry(call->reply, t, spec);
        else
            resp_null_array(call->reply);
    }
    return CMD_DONE;
}

/* ---- LIST ---- */

struct list_filter {
    const struct resp_arg *module, *pattern;
    unsigned category;
    bool nothing;
};

static bool parse_filter(struct cmd_call *call, struct list_filter *f)
{
    const struct resp_arg *value = call->argc == 5 ? &call->argv[4] : NULL;
    if (call->argc == 2)
        return true;
    if (!value || !resp_is(&call->argv[2], "filterby"))
        return false;
    if (resp_is(&call->argv[3], "module"))
        f->nothing = true;
    else if (resp_is(&call->argv[3], "pattern"))
        f->pattern = value;
    else if (resp_is(&call->argv[3], "aclcat")) {
        for (size_t i = 0; i < COUNT(category_names); i++)
            if (resp_is(value, category_names[i].name))
                f->category = category_names[i].flag;
        f->nothing = f->category == 0;
    } else
        return false;
    return true;
}

enum cmd_result command_list_command(struct cmd_call *call)
{
    const struct cmd_table *t = server_of(call)->commands;
    struct list_filter f = {0};
    if (!parse_filter(call, &f)) {
        resp_error(call->reply, "ERR syntax error");
        return CMD_DONE;
    }
    bool plain = call->argc == 2;
    size_t n = 0;
    /* Two passes: count, then write. With a filter subcommands count, too, as in Redis. */
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1)
            resp_array(call->reply, n);
        for (size_t i = 0; i < cmd_rows(t); i++) {
            const struct cmd_spec *parent, *spec = cmd_row(t, i, &parent);
            char name[128];
            size_t len = cmd_full_name(t, spec, name, sizeof(name));
            bool wanted = plain ? !parent
                                : !f.nothing && (!f.category || (spec->acl & f.category)) &&
                                      (!f.pattern || glob_match(f.pattern->data, f.pattern->len,
                                                                name, len, true));
            if (!wanted)
                continue;
            n += pass == 0;
            if (pass == 1)
                resp_bulk(call->reply, name, len);
        }
    }
    return CMD_DONE;
}

/* ---- GETKEYS ---- */

static bool fits(const struct cmd_spec *spec, size_t argc)
{
    return spec->arity >= 0 ? argc == (size_t)spec->arity : argc >= (size_t)-spec->arity;
}

/* The command that argv[2..] runs; NULL with the error written. */
static const struct cmd_spec *asked_command(struct cmd_call *call)
{
    const struct cmd_table *t = server_of(call)->commands;
    const struct cmd_spec *spec = cmd_find(t, call->argv[2].data, call->argv[2].len);
    size_t argc = call->argc - 2;
    if (spec && spec->subcommands && argc > 1)
        spec = cmd_find_sub(spec, call->argv[3].data, call->argv[3].len);
    if (!spec)
        resp_error(call->reply, "ERR Invalid command specified");
    else if (!fits(spec, argc))
        resp_error(call->reply, "ERR Invalid number of arguments specified for command");
    else if (spec->key_step <= 0)
        resp_error(call->reply, "ERR The command has no key arguments");
    else
        return spec;
    return NULL;
}

static enum cmd_result write_keys(struct cmd_call *call, bool flags)
{
    const struct cmd_spec *spec = asked_command(call);
    if (!spec)
        return CMD_DONE;
    long argc = (long)call->argc - 2,
         last = spec->last_key < 0 ? argc + spec->last_key : spec->last_key;
    if (last >= argc)
        last = argc - 1;
    size_t n =
        last >= spec->first_key ? (size_t)((last - spec->first_key) / spec->key_step + 1) : 0;
    resp_array(call->reply, n);
    for (long i = spec->first_key; n-- > 0; i += spec->key_step) {
        const struct resp_arg *key = &call->argv[i + 2];
        if (flags)
            resp_array(call->reply, 2);
        resp_bulk(call->reply, key->data, key->len);
        if (flags) {
            resp_set(call->reply, 2);
            resp_status(call->reply, key_access(spec));
            resp_status(call->reply, key_effect(spec));
        }
    }
    return CMD_DONE;
}

enum cmd_result command_getkeys_command(struct cmd_call *call)
{
    return write_keys(call, false);
}

enum cmd_result command_getkeysandflags_command(struct cmd_call *call)
{
    return write_keys(call, true);
}
