#include "server/slowlog.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/mem.h"
#include "server/server.h"

#define ARGS_MAX    32 /* arguments an entry shows, the last one telling how many more there were */
#define ARG_LEN_MAX 128 /* bytes of each, then how many more there were */

struct entry {
    TAILQ_ENTRY(entry) link;
    uint64_t id, at_s, us;
    struct slowlog_args *args;
    char *address, *name;
};

struct slowlog {
    TAILQ_HEAD(entry_list, entry) entries; /* newest first */
    size_t n;
    uint64_t next_id;
};

static size_t cut_text(char *out, size_t size, const struct resp_arg *a, bool secret)
{
    if (secret)
        return (size_t)snprintf(out, size, "(redacted)");
    if (a->len <= ARG_LEN_MAX) {
        memcpy(out, a->data, a->len);
        return a->len;
    }
    memcpy(out, a->data, ARG_LEN_MAX);
    return ARG_LEN_MAX + (size_t)snprintf(out + ARG_LEN_MAX, size - ARG_LEN_MAX,
                                          "... (%zu more bytes)", a->len - ARG_LEN_MAX);
}

struct slowlog_args *slowlog_args_new(const struct resp_arg *argv, size_t argc, bool secret)
{
    size_t n = argc < ARGS_MAX ? argc : ARGS_MAX, used = 0;
    char text[ARGS_MAX * (ARG_LEN_MAX + 40)];
    size_t lens[ARGS_MAX];
    for (size_t i = 0; i < n; i++) {
        if (i == ARGS_MAX - 1 && argc > ARGS_MAX)
            lens[i] = (size_t)sprintf(text + used, "... (%zu more arguments)", argc - ARGS_MAX + 1);
        else
            lens[i] = cut_text(text + used, ARG_LEN_MAX + 40, &argv[i], secret && i > 0);
        used += lens[i];
    }
    struct slowlog_args *a = mem_alloc(sizeof(*a) + n * sizeof(a->at[0]) + used);
    char *to = (char *)&a->at[n];
    memcpy(to, text, used);
    a->n = n;
    for (size_t i = 0; i < n; i++) {
        a->at[i] = (struct resp_arg){to, lens[i]};
        to += lens[i];
    }
    return a;
}

void slowlog_args_free(struct slowlog_args *a)
{
    mem_free(a);
}

struct slowlog *slowlog_new(void)
{
    struct slowlog *l = mem_zalloc(sizeof(*l));
    TAILQ_INIT(&l->entries);
    return l;
}

static void drop(struct slowlog *l, struct entry *e)
{
    TAILQ_REMOVE(&l->entries, e, link);
    l->n--;
    slowlog_args_free(e->args);
    mem_free(e->address);
    mem_free(e->name);
    mem_free(e);
}

static void cut(struct slowlog *l, size_t max)
{
    /* A few at a time, so that a smaller slowlog-max-len costs no turn much. */
    for (unsigned i = 0; l->n > max && i < 64; i++)
        drop(l, TAILQ_LAST(&l->entries, entry_list));
}

void slowlog_free(struct slowlog *l)
{
    if (!l)
        return;
    while (l->n)
        cut(l, 0);
    mem_free(l);
}

void slowlog_add(struct slowlog *l, struct slowlog_args *args, uint64_t now_ms, uint64_t us,
                 const char *address, const char *name, size_t max)
{
    struct entry *e = mem_zalloc(sizeof(*e));
    *e = (struct entry){.id = l->next_id++,
                        .at_s = now_ms / 1000,
                        .us = us,
                        .args = args,
                        .address = mem_strndup(address, strlen(address)),
                        .name = mem_strndup(name, strlen(name))};
    TAILQ_INSERT_HEAD(&l->entries, e, link);
    l->n++;
    cut(l, max);
}

/* ---- commands ---- */

enum cmd_result slowlog_get_command(struct cmd_call *call)
{
    struct slowlog *l = server_of(call)->slowlog;
    long long count = 10;
    if (call->argc > 3) {
        resp_error(call->reply, "ERR wrong number of arguments for 'slowlog|get' command");
        return CMD_DONE;
    }
    if (call->argc == 3 && (!resp_to_int(&call->argv[2], &count) || count < -1)) {
        resp_error(call->reply, "ERR count should be greater than or equal to -1");
        return CMD_DONE;
    }
    size_t n = count < 0 || (size_t)count > l->n ? l->n : (size_t)count;
    resp_array(call->reply, n);
    struct entry *e = TAILQ_FIRST(&l->entries);
    for (size_t i = 0; i < n; i++, e = TAILQ_NEXT(e, link)) {
        resp_array(call->reply, 6);
        resp_int(call->reply, (long long)e->id);
        resp_int(call->reply, (long long)e->at_s);
        resp_int(call->reply, (long long)e->us);
        resp_array(call->reply, e->args->n);
        for (size_t j = 0; j < e->args->n; j++)
            resp_bulk(call->reply, e->args->at[j].data, e->args->at[j].len);
        resp_bulk_text(call->reply, e->address);
        resp_bulk_text(call->reply, e->name);
    }
    return CMD_DONE;
}

enum cmd_result slowlog_len_command(struct cmd_call *call)
{
    resp_int(call->reply, (long long)server_of(call)->slowlog->n);
    return CMD_DONE;
}

enum cmd_result slowlog_reset_command(struct cmd_call *call)
{
    struct slowlog *l = server_of(call)->slowlog;
    cut(l, 0);
    if (l->n)
        return CMD_AGAIN;
    resp_status(call->reply, "OK");
    return CMD_DONE;
}
