/* From the command line to a running server, and back to an exit status. */
#ifndef SERVER_BOOT_H
#define SERVER_BOOT_H

#include "cmd/command.h"

/* Runs the server with these rows; the process's exit status. */
int boot_run(int argc, char **argv, struct cmd_table *commands);

#endif
