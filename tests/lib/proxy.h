/* A TCP proxy on the loopback, for tests of links that fail: it forwards to one port, and cuts, holds or refuses as
 * it is told. Any thread; the forwarding is a thread of its own. */
#ifndef LIB_PROXY_H
#define LIB_PROXY_H

#include <stdbool.h>
#include <stdint.h>

struct proxy;

/* NULL: the system gave no socket. */
struct proxy *proxy_start(int to_port);
void proxy_stop(struct proxy *p);
int proxy_port(const struct proxy *p);
/* Connections made from now on are cut when so many bytes have gone from the far side to the near one; only the
 * first `times` of them. */
void proxy_cut_after(struct proxy *p, uint64_t bytes, unsigned times);
/* Cuts all there are. */
void proxy_cut(struct proxy *p);
/* Nothing is forwarded, in either direction, and new connections hang, until it is false again: a net that is gone. */
void proxy_hold(struct proxy *p, bool hold);
/* Bytes forwarded to the near side, of all connections. */
uint64_t proxy_bytes(struct proxy *p);
unsigned proxy_cuts(struct proxy *p);

#endif
