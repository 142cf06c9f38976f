/* The rows of publish and subscribe. Summaries and versions are facts about Redis' commands; texts
 * are ours. */
#include "server/commands.h"
#include "server/server.h"

#define LISTEN (CMD_PUBSUB | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_MULTI)
#define ASK    (CMD_PUBSUB | CMD_LOADING | CMD_STALE)

#define END {.name = NULL}

#define CONFIRMED                                                                                  \
    "For each, an array (RESP3: a push) of three: the word `"
#define COUNTED                                                                                    \
    "`, the name, and how many subscriptions the connection has now."
#define LISTENING                                                                                  \
    "With RESP2 a connection that has subscriptions may only change them, PING, RESET and QUIT; "  \
    "with RESP3 it goes on with all commands. Messages come in the order of publishing, behind "   \
    "the replies that are owed already and never inside one. A connection that does not read them " \
    "is closed by the class `pubsub` of `client-output-buffer-limit`. It is not for a transaction."

static const struct cmd_arg channels_many[] = {
    {"channel", ARG_STRING, NULL, ARG_MULTIPLE, NULL}, END};
static const struct cmd_arg patterns_many[] = {
    {"pattern", ARG_PATTERN, NULL, ARG_MULTIPLE, NULL}, END};
static const struct cmd_arg channels_any[] = {
    {"channel", ARG_STRING, NULL, ARG_OPTIONAL | ARG_MULTIPLE, NULL}, END};
static const struct cmd_arg patterns_any[] = {
    {"pattern", ARG_PATTERN, NULL, ARG_OPTIONAL | ARG_MULTIPLE, NULL}, END};
static const struct cmd_arg publish_args[] = {
    {"channel", ARG_STRING, NULL, 0, NULL}, {"message", ARG_STRING, NULL, 0, NULL}, END};
static const struct cmd_arg pattern_args[] = {
    {"pattern", ARG_PATTERN, NULL, ARG_OPTIONAL, NULL}, END};

static const struct cmd_error_doc listen_errors[] = {
    {"ERR Can't execute '...': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
     "allowed in this context",
     "another command of a RESP2 connection that has subscriptions"},
    {NULL, NULL}};

static const struct cmd_spec pubsub_subcommands[] = {
    {.name = "channels",
     .summary = "Returns the active channels.",
     .group = "pubsub",
     .since = "2.8.0",
     .complexity = "O(N) where N is the number of active channels",
     .arity = -2,
     .flags = ASK,
     .acl = ACL_PUBSUB | ACL_SLOW,
     .args = pattern_args,
     .handler = pubsub_channels_command,
     .reply = "Array: channels that somebody listens to (patterns do not count), those that match "
              "the pattern."},
    {.name = "numpat",
     .summary = "Returns a count of unique pattern subscriptions.",
     .group = "pubsub",
     .since = "2.8.0",
     .complexity = "O(1)",
     .arity = 2,
     .flags = ASK,
     .acl = ACL_PUBSUB | ACL_SLOW,
     .handler = pubsub_numpat_command,
     .reply = "Integer: patterns that somebody listens to."},
    {.name = "numsub",
     .summary = "Returns a count of subscribers to channels.",
     .group = "pubsub",
     .since = "2.8.0",
     .complexity = "O(N) where N is the number of requested channels",
     .arity = -2,
     .flags = ASK,
     .acl = ACL_PUBSUB | ACL_SLOW,
     .args = channels_any,
     .handler = pubsub_numsub_command,
     .reply = "Array: each channel and how many listen to it, one after the other."},
    {.name = "help",
     .summary = "Returns helpful text about the different subcommands.",
     .group = "pubsub",
     .since = "6.2.0",
     .complexity = "O(1)",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE,
     .acl = ACL_SLOW,
     .handler = help_command,
     .reply = "Array of simple strings."},
    END};

const struct cmd_spec server_pubsub_specs[] = {
    {.name = "subscribe",
     .summary = "Listens for messages published to channels.",
     .group = "pubsub",
     .since = "2.0.0",
     .complexity = "O(N) where N is the number of channels to subscribe to",
     .arity = -2,
     .flags = LISTEN,
     .acl = ACL_PUBSUB | ACL_SLOW,
     .args = channels_many,
     .handler = pubsub_subscribe_command,
     .errors = listen_errors,
     .reply = CONFIRMED "subscribe" COUNTED
              " Then messages: an array (a push) of `message`, the channel, the message.",
     .notes = LISTENING,
     .example = "> SUBSCRIBE news\n1) \"subscribe\"\n2) \"news\"\n3) (integer) 1"},
    {.name = "psubscribe",
     .summary = "Listens for messages published to channels that match one or more patterns.",
     .group = "pubsub",
     .since = "2.0.0",
     .complexity = "O(N) where N is the number of patterns to subscribe to",
     .arity = -2,
     .flags = LISTEN,
     .acl = ACL_PUBSUB | ACL_SLOW,
     .args = patterns_many,
     .handler = pubsub_psubscribe_command,
     .errors = listen_errors,
     .reply = CONFIRMED "psubscribe" COUNTED
              " Then messages: an array (a push) of `pmessage`, the pattern, the channel, the "
              "message.",
     .notes = LISTENING},
    {.name = "unsubscribe",
     .summary = "Stops listening to messages posted to channels.",
     .group = "pubsub",
     .since = "2.0.0",
     .complexity = "O(N) where N is the number of channels to unsubscribe",
     .arity = -1,
     .flags = LISTEN,
     .acl = ACL_PUBSUB | ACL_SLOW,
     .args = channels_any,
     .handler = pubsub_unsubscribe_command,
     .reply = CONFIRMED "unsubscribe" COUNTED
              " Without arguments all channels are left; if there are none, one with null for the "
              "name."},
    {.name = "punsubscribe",
     .summary = "Stops listening to messages published to channels that match one or more "
                "patterns.",
     .group = "pubsub",
     .since = "2.0.0",
     .complexity = "O(N) where N is the number of patterns to unsubscribe",
     .arity = -1,
     .flags = LISTEN,
     .acl = ACL_PUBSUB | ACL_SLOW,
     .args = patterns_any,
     .handler = pubsub_punsubscribe_command,
     .reply = CONFIRMED "punsubscribe" COUNTED
              " Without arguments all patterns are left; if there are none, one with null for the "
              "name."},
    {.name = "publish",
     .summary = "Posts a message to a channel.",
     .group = "pubsub",
     .since = "2.0.0",
     .complexity = "O(N+M) where N is the number of clients subscribed to the receiving channel "
                   "and M is the total number of subscribed patterns (by any client)",
     .arity = 3,
     .flags = ASK | CMD_FAST,
     .acl = ACL_PUBSUB | ACL_FAST,
     .args = publish_args,
     .handler = pubsub_publish_command,
     .reply = "Integer: subscriptions that got it; a connection counts once for its channel and "
              "once for every pattern that matches.",
     .notes = "Messages are not kept: who listens later does not get them.",
     .example = "> PUBLISH news hello\n(integer) 1"},
    {.name = "pubsub",
     .summary = "A container for Pub/Sub commands.",
     .group = "pubsub",
     .since = "2.8.0",
     .complexity = "Depends on subcommand.",
     .arity = -2,
     .flags = 0,
     .acl = ACL_SLOW,
     .subcommands = pubsub_subcommands},
    END};
