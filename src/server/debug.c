/* DEBUG: guarded by enable-debug-command; see CMD_PROTECTED in exec.c. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/glob.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/vfs_fault.h"
#include "server/commands.h"
#include "server/persistence.h"

#define MATCH_LEN_MAX (64 << 10)
#define SLEEP_MAX_S   3600

enum cmd_result debug_sleep_command(struct cmd_call *call)
{
    double seconds;
    if (!resp_to_double(&call->argv[2], &seconds) || seconds < 0 || seconds > SLEEP_MAX_S) {
        resp_error(call->reply, "ERR value is not a valid float");
        return CMD_DONE;
    }
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0)
        ;
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result debug_segfault_command(struct cmd_call *call)
{
    (void)call;
    int *volatile nowhere = (int *)8;
    *nowhere = 1;
    return CMD_DONE;
}

enum cmd_result debug_panic_command(struct cmd_call *call)
{
    (void)call;
    log_warning("DEBUG PANIC: aborting");
    abort();
}

enum cmd_result debug_stringmatch_len_command(struct cmd_call *call)
{
    long long len;
    if (!resp_to_int(&call->argv[2], &len) || len < 0 || len > MATCH_LEN_MAX) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
        return CMD_DONE;
    }
    char *text = mem_alloc((size_t)len + 1);
    memset(text, 'a', (size_t)len);
    resp_int(call->reply,
             glob_match(call->argv[3].data, call->argv[3].len, text, (size_t)len, false));
    mem_free(text);
    return CMD_DONE;
}

enum cmd_result debug_error_command(struct cmd_call *call)
{
    resp_error(call->reply, "%.*s", (int)call->argv[2].len, call->argv[2].data);
    return CMD_DONE;
}

enum cmd_result debug_protocol_command(struct cmd_call *call)
{
    const struct resp_arg *type = &call->argv[2];
    struct resp_writer *w = call->reply;
    if (resp_is(type, "string"))
        resp_bulk_text(w, "Hello World");
    else if (resp_is(type, "integer"))
        resp_int(w, 12345);
    else if (resp_is(type, "double"))
        resp_double(w, 3.141);
    else if (resp_is(type, "null"))
        resp_null(w);
    else if (resp_is(type, "true") || resp_is(type, "false"))
        resp_bool(w, resp_is(type, "true"));
    else if (resp_is(type, "verbatim"))
        resp_verbatim(w, "txt", "This is a verbatim\nstring", 25);
    else if (resp_is(type, "array") || resp_is(type, "set") || resp_is(type, "push")) {
        (resp_is(type, "array") ? resp_array : resp_is(type, "set") ? resp_set : resp_push)(w, 3);
        for (int i = 0; i < 3; i++)
            resp_int(w, i);
    } else if (resp_is(type, "map")) {
        resp_map(w, 3);
        for (int i = 0; i < 3; i++) {
            resp_int(w, i);
            resp_bool(w, i == 1);
        }
    } else
        resp_error(w, "ERR Wrong protocol type name. Please use one of the following: "
                      "string|integer|double|null|array|set|map|push|verbatim|true|false");
    return CMD_DONE;
}

enum cmd_result debug_vfs_fault_command(struct cmd_call *call)
{
    struct vfs_fault *faults = server_of(call)->faults;
    char why[256], text[256];
    const struct resp_arg *rules = &call->argv[2];
    if (resp_is(rules, "hits")) {
        resp_int(call->reply, (long long)vfs_fault_hits(faults));
        return CMD_DONE;
    }
    if (rules->len >= sizeof(text)) {
        resp_error(call->reply, "ERR the rules are too long");
        return CMD_DONE;
    }
    memcpy(text, rules->data, rules->len);
    text[rules->len] = 0;
    if (!vfs_fault_parse(faults, text, why, sizeof(why)))
        resp_error(call->reply, "ERR %s", why);
    else
        resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result debug_alloc_fault_command(struct cmd_call *call)
{
    long long n;
    if (resp_is(&call->argv[2], "hit")) {
        resp_int(call->reply, mem_fault_hit());
        return CMD_DONE;
    }
    if (!resp_to_int(&call->argv[2], &n) || n < 0) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
        return CMD_DONE;
    }
    mem_fault_after((long)n);
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

static enum cmd_result reload(struct cmd_call *call, bool save)
{
    struct server *s = server_of(call);
    if (s->reload || s->saving.runs || s->shutdown != SHUTDOWN_NO) {
        resp_error(call->reply, "ERR A snapshot, a reload or a shutdown is under way");
        return CMD_DONE;
    }
    reload_begin(s, save, cmd_defer(call));
    return CMD_PENDING;
}

enum cmd_result debug_reload_command(struct cmd_call *call)
{
    bool nosave = call->argc == 3 && resp_is(&call->argv[2], "nosave");
    if (call->argc > 2 && !nosave) {
        resp_error(call->reply, "ERR syntax error");
        return CMD_DONE;
    }
    return reload(call, !nosave);
}

enum cmd_result debug_loadaof_command(struct cmd_call *call)
{
    if (!server_of(call)->config->appendonly) {
        resp_error(call->reply, "ERR There is no journal: appendonly is no");
        return CMD_DONE;
    }
    return reload(call, false);
}
