/* The handlers, grammars and errors of VPARTITION's subcommands, for the rows of partition_specs.c. */
#ifndef CMD_PARTITION_CMD_H
#define CMD_PARTITION_CMD_H

#include "cmd/args.h"

enum cmd_result partition_create(struct cmd_call *call);
enum cmd_result partition_list(struct cmd_call *call);
enum cmd_result partition_info(struct cmd_call *call);
enum cmd_result partition_balance(struct cmd_call *call);
enum cmd_result partition_drop(struct cmd_call *call);
enum cmd_result partition_pin(struct cmd_call *call);
enum cmd_result partition_unpin(struct cmd_call *call);
enum cmd_result partition_help(struct cmd_call *call);

#endif
