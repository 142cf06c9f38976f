/* The password. Loop thread. */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "server/client.h"

/* Does this password let `user` (NULL: "default") in? Takes a time that depends on the lengths
 * alone. */
bool auth_check(const struct server *s, const struct resp_arg *user,
                const struct resp_arg *password);
/* AUTH's reply on failure. */
void auth_refuse(struct resp_writer *w);

#endif
