/* The handlers of the keyspace commands, for the rows of keyspace_specs.c. */
#ifndef CMD_KEYSPACE_CMD_H
#define CMD_KEYSPACE_CMD_H

#include "cmd/args.h"

enum cmd_result keyspace_del(struct cmd_call *call);        /* UNLINK too: memory is freed behind in any case */
enum cmd_result keyspace_exists(struct cmd_call *call);     /* TOUCH too: nothing keeps times of access */
enum cmd_result keyspace_type(struct cmd_call *call);
enum cmd_result keyspace_keys(struct cmd_call *call);
enum cmd_result keyspace_scan(struct cmd_call *call);
enum cmd_result keyspace_randomkey(struct cmd_call *call);
enum cmd_result keyspace_rename(struct cmd_call *call);
enum cmd_result keyspace_renamenx(struct cmd_call *call);
enum cmd_result keyspace_dbsize(struct cmd_call *call);
enum cmd_result keyspace_flushdb(struct cmd_call *call);
enum cmd_result keyspace_flushall(struct cmd_call *call);

#endif
