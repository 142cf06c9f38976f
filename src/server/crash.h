/* The crash report: what is known when the process dies by a signal of its own making, written to
 * the log with async-signal-safe calls only. Assertion failures and aborts come through it too. */
#ifndef SERVER_CRASH_H
#define SERVER_CRASH_H

#include "server/server.h"

/* Installs the handlers (or removes them). `s` is read by the handler; NULL before the server is
 * built. Main thread. */
void crash_install(bool on, const struct server *s);

#endif
