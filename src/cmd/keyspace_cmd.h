/* The handlers of the keyspace commands, for the rows of keyspace_specs.c. */
#ifndef CMD_KEYSPACE_CMD_H
#define CMD_KEYSPACE_CMD_H

#include "cmd/args.h"

enum cmd_result keyspace_del(struct cmd_call *call);        /* UNLINK too: memory is freed behind in any case */
enum cmd_result keyspace_exists(struct cmd_call *call);
enum cmd_result keyspace_touch(struct cmd_call *call);
enum cmd_result keyspace_type(struct cmd_call *call);
enum cmd_result keyspace_keys(struct cmd_call *call);
enum cmd_result keyspace_scan(struct cmd_call *call);
enum cmd_result keyspace_randomkey(struct cmd_call *call);
enum cmd_result keyspace_rename(struct cmd_call *call);
enum cmd_result keyspace_renamenx(struct cmd_call *call);
enum cmd_result keyspace_dbsize(struct cmd_call *call);
enum cmd_result keyspace_flushdb(struct cmd_call *call);
enum cmd_result keyspace_flushall(struct cmd_call *call);
enum cmd_result keyspace_swapdb(struct cmd_call *call);

/* keyspace_expire.c */
enum cmd_result keyspace_expire(struct cmd_call *call);
enum cmd_result keyspace_pexpire(struct cmd_call *call);
enum cmd_result keyspace_expireat(struct cmd_call *call);
enum cmd_result keyspace_pexpireat(struct cmd_call *call);
enum cmd_result keyspace_ttl(struct cmd_call *call);
enum cmd_result keyspace_pttl(struct cmd_call *call);
enum cmd_result keyspace_expiretime(struct cmd_call *call);
enum cmd_result keyspace_pexpiretime(struct cmd_call *call);
enum cmd_result keyspace_persist(struct cmd_call *call);

/* keyspace_object.c */
enum cmd_result keyspace_object_encoding(struct cmd_call *call);
enum cmd_result keyspace_object_freq(struct cmd_call *call);
enum cmd_result keyspace_object_help(struct cmd_call *call);
enum cmd_result keyspace_object_idletime(struct cmd_call *call);
enum cmd_result keyspace_object_refcount(struct cmd_call *call);

/* keyspace_dump.c */
enum cmd_result keyspace_dump(struct cmd_call *call);
enum cmd_result keyspace_restore(struct cmd_call *call);
enum cmd_result keyspace_copy(struct cmd_call *call);

#endif
