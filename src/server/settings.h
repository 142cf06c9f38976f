/* Settings that take effect by an action: what CONFIG SET of them does. Loop thread. */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include "server/server.h"

/* Puts a NUL-terminated message into `error`. */
void config_error(struct buf *error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Registers with the configuration. */
void settings_listen(struct server *s);
/* Opens the listeners that the settings ask for. */
bool settings_open_listeners(struct server *s, struct buf *error);
/* Raises the limit of open files for maxclients; lowers maxclients when that cannot be had. */
void settings_open_files(struct config *c);

#endif
