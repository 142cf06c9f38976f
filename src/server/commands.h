/* The handlers of the server layer's own commands, by file; the rows are in table_connection.c,
 * table_admin.c, table_persist.c, table_pubsub.c and
 * table_multi.c. Loop thread. */
#ifndef SERVER_COMMANDS_H
#define SERVER_COMMANDS_H

#include "cmd/command.h"

/* cmd_connection.c */
enum cmd_result connection_ping(struct cmd_call *call);
enum cmd_result connection_echo(struct cmd_call *call);
enum cmd_result connection_hello(struct cmd_call *call);
enum cmd_result connection_auth(struct cmd_call *call);
enum cmd_result connection_reset(struct cmd_call *call);
enum cmd_result connection_quit(struct cmd_call *call);
enum cmd_result connection_select(struct cmd_call *call);

/* cmd_client.c */
enum cmd_result client_id_command(struct cmd_call *call);
enum cmd_result client_setname_command(struct cmd_call *call);
enum cmd_result client_getname_command(struct cmd_call *call);
enum cmd_result client_setinfo_command(struct cmd_call *call);
enum cmd_result client_noevict_command(struct cmd_call *call);
enum cmd_result client_notouch_command(struct cmd_call *call);
enum cmd_result client_reply_command(struct cmd_call *call);
enum cmd_result client_pause_command(struct cmd_call *call);
enum cmd_result client_unpause_command(struct cmd_call *call);
enum cmd_result client_unblock_command(struct cmd_call *call);
/* client_list.c */
enum cmd_result client_info_command(struct cmd_call *call);
enum cmd_result client_list_command(struct cmd_call *call);
enum cmd_result client_kill_command(struct cmd_call *call);

/* cmd_server.c */
enum cmd_result server_time_command(struct cmd_call *call);
/* Answers HELP of any command with subcommands from their rows. */
enum cmd_result help_command(struct cmd_call *call);

/* pubsub.c */
enum cmd_result pubsub_subscribe_command(struct cmd_call *call);
enum cmd_result pubsub_psubscribe_command(struct cmd_call *call);
enum cmd_result pubsub_unsubscribe_command(struct cmd_call *call);
enum cmd_result pubsub_punsubscribe_command(struct cmd_call *call);
enum cmd_result pubsub_publish_command(struct cmd_call *call);
enum cmd_result pubsub_channels_command(struct cmd_call *call);
enum cmd_result pubsub_numsub_command(struct cmd_call *call);
enum cmd_result pubsub_numpat_command(struct cmd_call *call);

/* multi.c */
enum cmd_result multi_multi_command(struct cmd_call *call);
enum cmd_result multi_exec_command(struct cmd_call *call);
enum cmd_result multi_discard_command(struct cmd_call *call);
enum cmd_result multi_watch_command(struct cmd_call *call);
enum cmd_result multi_unwatch_command(struct cmd_call *call);

/* cmd_persist.c */
enum cmd_result persist_save_command(struct cmd_call *call);
enum cmd_result persist_bgsave_command(struct cmd_call *call);
enum cmd_result persist_lastsave_command(struct cmd_call *call);
enum cmd_result persist_bgrewriteaof_command(struct cmd_call *call);
enum cmd_result persist_shutdown_command(struct cmd_call *call);

/* info.c */
enum cmd_result info_command(struct cmd_call *call);

/* cmd_config.c */
enum cmd_result config_get_command(struct cmd_call *call);
enum cmd_result config_set_command(struct cmd_call *call);
enum cmd_result config_rewrite_command(struct cmd_call *call);
enum cmd_result config_resetstat_command(struct cmd_call *call);

/* cmd_command.c, command_docs.c */
enum cmd_result command_command(struct cmd_call *call);
enum cmd_result command_count_command(struct cmd_call *call);
enum cmd_result command_info_command(struct cmd_call *call);
enum cmd_result command_list_command(struct cmd_call *call);
enum cmd_result command_getkeys_command(struct cmd_call *call);
enum cmd_result command_getkeysandflags_command(struct cmd_call *call);
enum cmd_result command_docs_command(struct cmd_call *call);

/* memory.c */
enum cmd_result memory_usage_command(struct cmd_call *call);
enum cmd_result memory_stats_command(struct cmd_call *call);
enum cmd_result memory_doctor_command(struct cmd_call *call);
enum cmd_result memory_malloc_stats_command(struct cmd_call *call);
enum cmd_result memory_purge_command(struct cmd_call *call);

/* debug.c */
enum cmd_result debug_sleep_command(struct cmd_call *call);
enum cmd_result debug_segfault_command(struct cmd_call *call);
enum cmd_result debug_panic_command(struct cmd_call *call);
enum cmd_result debug_stringmatch_len_command(struct cmd_call *call);
enum cmd_result debug_error_command(struct cmd_call *call);
enum cmd_result debug_protocol_command(struct cmd_call *call);
enum cmd_result debug_reload_command(struct cmd_call *call);
enum cmd_result debug_loadaof_command(struct cmd_call *call);
enum cmd_result debug_vfs_fault_command(struct cmd_call *call);
enum cmd_result debug_alloc_fault_command(struct cmd_call *call);

#endif
