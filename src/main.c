/* The server program: the only file that knows every layer. It gathers the commands that the
 * layers register, and hands
 * the process to boot. */
#include "cmd/command.h"
#include "repl/repl.h"
#include "server/boot.h"
#include "server/server.h"

int main(int argc, char **argv)
{
    struct cmd_table *commands = cmd_table_new();
    cmd_register(commands, cmd_vector_specs);
    cmd_register(commands, cmd_partition_specs);
    cmd_register(commands, cmd_keyspace_specs);
    cmd_register(commands, cmd_dump_specs);
    cmd_register(commands, cmd_expire_specs);
    cmd_register(commands, cmd_vexpire_specs);
    cmd_register(commands, server_connection_specs);
    cmd_register(commands, server_admin_specs);
    cmd_register(commands, server_persist_specs);
    cmd_register(commands, server_pubsub_specs);
    cmd_register(commands, server_multi_specs);
    cmd_register(commands, repl_specs);
    int status = boot_run(argc, argv, commands, &repl_hooks);
    cmd_table_free(commands);
    return status;
}
