#include "integration/lib/saves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "integration/lib/reply.h"
#include "lib/wait.h"

bool saves_idle(void *connection)
{
    return reply_info(connection, "persistence", "rdb_bgsave_in_progress") == 0 &&
           reply_info(connection, "persistence", "aof_rewrite_in_progress") == 0 &&
           reply_info(connection, "persistence", "aof_rewrite_scheduled") == 0;
}

struct asked {
    const char *file;
    int line;
    redisContext *c;
    const char *command;
};

static bool taken_on(void *arg)
{
    const struct asked *a = arg;
    redisReply *r = reply_any_at(a->file, a->line, a->c, a->command);
    bool error = r->type == REDIS_REPLY_ERROR;
    bool busy = error && (strstr(r->str, "already in progress") || strstr(r->str, "is being rewritten"));
    if (error && !busy) {
        print_error("%s: %s\n", a->command, r->str);
        freeReplyObject(r);
        _fail(a->file, a->line);
    }
    freeReplyObject(r);
    return !busy;
}

void saves_ask_at(const char *file, int line, redisContext *c, const char *command)
{
    struct asked a = {file, line, c, command};
    if (!wait_until(taken_on, &a, SAVES_DEADLINE_MS)) {
        print_error("%s: refused for %d s, since another one runs\n", command, SAVES_DEADLINE_MS / 1000);
        _fail(file, line);
    }
}
