/* From the command line to a running server, and back to an exit status. */
#ifndef SERVER_BOOT_H
#define SERVER_BOOT_H

#include "cmd/command.h"

struct server_repl;

/* Runs the server with these rows, and this replication (NULL: none); the process's exit status. */
int boot_run(int argc, char **argv, struct cmd_table *commands, const struct server_repl *repl);

#endif
