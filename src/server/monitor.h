/* MONITOR: every command as it begins, in Redis' format, to the clients that asked. Loop thread. */
#ifndef SERVER_MONITOR_H
#define SERVER_MONITOR_H

#include "server/client.h"

/* Commands whose arguments are passwords. */
bool monitor_is_secret(const struct cmd_spec *spec);
void monitor_feed(struct server *s, const struct cmd_client *from, const struct cmd_spec *spec,
                  const struct resp_arg *argv, size_t argc);
enum cmd_result monitor_command(struct cmd_call *call);

#endif
