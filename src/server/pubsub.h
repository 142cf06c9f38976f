/* Publish and subscribe: who listens to what, and the way of a message.
 *
 *   topic (a channel or a pattern) <--> subscription <--> client
 *
 * A topic lives as long as it has subscriptions. A client that has none costs one NULL pointer.
 *
 * ORDER. A message stands behind all replies so far, and never inside one: while a command of the
 * receiver is under way, its messages are kept aside until the command has ended (pubsub_flush).
 * Messages and confirmations leave whatever CLIENT REPLY says. Loop thread only. */
#ifndef SERVER_PUBSUB_H
#define SERVER_PUBSUB_H

#include "server/client.h"

enum pubsub_kind { PUBSUB_CHANNEL, PUBSUB_PATTERN, PUBSUB_KINDS };

struct pubsub *pubsub_new(void);
void pubsub_free(struct pubsub *p);
/* Is there anybody to hear anything? */
bool pubsub_heard(const struct pubsub *p);
/* Channels, or patterns, that somebody listens to. */
size_t pubsub_topics(const struct pubsub *p, enum pubsub_kind kind);
size_t pubsub_clients(const struct pubsub *p);
/* To all who listen to the channel, and to each pattern that fits; how many got it. */
size_t pubsub_publish(struct server *s, const void *channel, size_t channel_len,
                      const void *message, size_t len);
/* Of a client. */
size_t pubsub_count(const struct cmd_client *c, enum pubsub_kind kind);
/* Ends all its subscriptions, without a word. */
void pubsub_leave(struct cmd_client *c);
/* What was kept aside leaves. */
void pubsub_flush(struct cmd_client *c);
/* May this command run while a RESP2 client listens? */
bool pubsub_allows(const struct cmd_spec *spec);

#endif
