/* The slow log: the last commands that took longer than slowlog-log-slower-than, with arguments
 * cut as Redis cuts them. Loop thread. */
#ifndef SERVER_SLOWLOG_H
#define SERVER_SLOWLOG_H

#include <stddef.h>
#include <stdint.h>

#include "cmd/command.h"

struct slowlog;

/* Arguments cut to what the log shows, one block. */
struct slowlog_args {
    size_t n;
    struct resp_arg at[];
};
struct slowlog_args *slowlog_args_new(const struct resp_arg *argv, size_t argc, bool secret);
void slowlog_args_free(struct slowlog_args *a);

struct slowlog *slowlog_new(void);
void slowlog_free(struct slowlog *l);
/* Takes `args`. */
void slowlog_add(struct slowlog *l, struct slowlog_args *args, uint64_t now_ms, uint64_t us,
                 const char *address, const char *name, size_t max);

enum cmd_result slowlog_get_command(struct cmd_call *call);
enum cmd_result slowlog_len_command(struct cmd_call *call);
enum cmd_result slowlog_reset_command(struct cmd_call *call);

#endif
