/* The rows of the connection commands. Summaries and versions are facts about Redis' commands;
 * texts are ours. */
#include "server/commands.h"
#include "server/server.h"

#define FAST              (CMD_FAST | CMD_LOADING | CMD_STALE | CMD_NOSCRIPT)
#define CONTROL           (CMD_LOADING | CMD_STALE | CMD_NOSCRIPT)
#define ADMIN             (CMD_ADMIN | CMD_LOADING | CMD_STALE | CMD_NOSCRIPT)
#define ACL_CONTROL       (ACL_SLOW | ACL_CONNECTION)
#define ACL_CONTROL_ADMIN (ACL_ADMIN | ACL_SLOW | ACL_DANGEROUS | ACL_CONNECTION)

#define END {.name = NULL}
static const struct cmd_arg on_off[] = {
    {"on", ARG_TOKEN, "ON", 0, NULL}, {"off", ARG_TOKEN, "OFF", 0, NULL}, END};

/* ---- single commands ---- */

static const struct cmd_arg ping_args[] = {{"message", ARG_STRING, NULL, ARG_OPTIONAL, NULL}, END};
static const struct cmd_arg echo_args[] = {{"message", ARG_STRING, NULL, 0, NULL}, END};
static const struct cmd_arg auth_args[] = {{"username", ARG_STRING, NULL, ARG_OPTIONAL, NULL},
                                           {"password", ARG_STRING, NULL, 0, NULL},
                                           END};
static const struct cmd_arg hello_auth[] = {
    {"username", ARG_STRING, NULL, 0, NULL}, {"password", ARG_STRING, NULL, 0, NULL}, END};
static const struct cmd_arg hello_block[] = {
    {"protover", ARG_INTEGER, NULL, 0, NULL},
    {"auth", ARG_BLOCK, "AUTH", ARG_OPTIONAL, hello_auth},
    {"clientname", ARG_STRING, "SETNAME", ARG_OPTIONAL, NULL},
    END};
static const struct cmd_arg hello_args[] = {
    {"arguments", ARG_BLOCK, NULL, ARG_OPTIONAL, hello_block}, END};
static const struct cmd_arg select_args[] = {{"index", ARG_INTEGER, NULL, 0, NULL}, END};

static const struct cmd_error_doc hello_errors[] = {
    {"NOPROTO unsupported protocol version", "`protover` is neither 2 nor 3"},
    {"WRONGPASS invalid username-password pair or user is disabled.",
     "AUTH with a wrong name or password"},
    {"NOAUTH HELLO must be called with the client already authenticated, ...",
     "a password is set and AUTH is missing"},
    {"ERR Client names cannot contain spaces, newlines or special characters.",
     "SETNAME with such a name"},
    {"ERR Syntax error in HELLO option '...'", "an unknown option, or one without its arguments"},
    {NULL, NULL}};
static const struct cmd_error_doc auth_errors[] = {
    {"WRONGPASS invalid username-password pair or user is disabled.",
     "the name is not `default`, or the password is wrong"},
    {"ERR AUTH <password> called without any password configured for the default user. ...",
     "no password is set"},
    {NULL, NULL}};
static const struct cmd_error_doc select_errors[] = {
    {"ERR value is not an integer or out of range", "`index` is not a whole number"},
    {"ERR DB index is out of range", "there are fewer databases (setting `databases`)"},
    {NULL, NULL}};

/* ---- CLIENT ---- */

static const struct cmd_arg client_type_words[] = {{"normal", ARG_TOKEN, "NORMAL", 0, NULL},
                                                   {"master", ARG_TOKEN, "MASTER", 0, NULL},
                                                   {"replica", ARG_TOKEN, "REPLICA", 0, NULL},
                                                   {"pubsub", ARG_TOKEN, "PUBSUB", 0, NULL},
                                                   END};
static const struct cmd_arg list_args[] = {
    {"client-type", ARG_ONEOF, "TYPE", ARG_OPTIONAL, client_type_words},
    {"client-id", ARG_INTEGER, "ID", ARG_OPTIONAL | ARG_MULTIPLE, NULL},
    END};
static const struct cmd_arg yes_no[] = {
    {"yes", ARG_TOKEN, "YES", 0, NULL}, {"no", ARG_TOKEN, "NO", 0, NULL}, END};
static const struct cmd_arg kill_filters[] = {
    {"client-id", ARG_INTEGER, "ID", ARG_OPTIONAL, NULL},
    {"client-type", ARG_ONEOF, "TYPE", ARG_OPTIONAL, client_type_words},
    {"username", ARG_STRING, "USER", ARG_OPTIONAL, NULL},
    {"addr", ARG_STRING, "ADDR", ARG_OPTIONAL, NULL},
    {"laddr", ARG_STRING, "LADDR", ARG_OPTIONAL, NULL},
    {"skipme", ARG_ONEOF, "SKIPME", ARG_OPTIONAL, yes_no},
    {"maxage", ARG_INTEGER, "MAXAGE", ARG_OPTIONAL, NULL},
    END};
static const struct cmd_arg kill_forms[] = {{"ip:port", ARG_STRING, NULL, 0, NULL},
                                            {"filter", ARG_ONEOF, NULL, ARG_MULTIPLE, kill_filters},
                                            END};
static const struct cmd_arg kill_args[] = {{"filter", ARG_ONEOF, NULL, 0, kill_forms}, END};
static const struct cmd_arg setname_args[] = {{"connection-name", ARG_STRING, NULL, 0, NULL}, END};
static const struct cmd_arg setinfo_words[] = {
    {"libname", ARG_STRING, "LIB-NAME", 0, NULL}, {"libver", ARG_STRING, "LIB-VER", 0, NULL}, END};
static const struct cmd_arg setinfo_args[] = {{"attr", ARG_ONEOF, NULL, 0, setinfo_words}, END};
static const struct cmd_arg enabled_args[] = {{"enabled", ARG_ONEOF, NULL, 0, on_off}, END};
static const struct cmd_arg reply_words[] = {{"on", ARG_TOKEN, "ON", 0, NULL},
                                             {"off", ARG_TOKEN, "OFF", 0, NULL},
                                             {"skip", ARG_TOKEN, "SKIP", 0, NULL},
                                             END};
static const struct cmd_arg reply_args[] = {{"action", ARG_ONEOF, NULL, 0, reply_words}, END};
static const struct cmd_arg pause_words[] = {
    {"write", ARG_TOKEN, "WRITE", 0, NULL}, {"all", ARG_TOKEN, "ALL", 0, NULL}, END};
static const struct cmd_arg pause_args[] = {{"timeout", ARG_INTEGER, NULL, 0, NULL},
                                            {"mode", ARG_ONEOF, NULL, ARG_OPTIONAL, pause_words},
                                            END};
static const struct cmd_arg unblock_words[] = {
    {"timeout", ARG_TOKEN, "TIMEOUT", 0, NULL}, {"error", ARG_TOKEN, "ERROR", 0, NULL}, END};
static const struct cmd_arg unblock_args[] = {
    {"client-id", ARG_INTEGER, NULL, 0, NULL},
    {"unblock-type", ARG_ONEOF, NULL, ARG_OPTIONAL, unblock_words},
    END};

static const struct cmd_error_doc kill_errors[] = {
    {"ERR No such client", "the form with one address, and no client has it"},
    {"ERR client-id should be greater than 0", "ID with another value"},
    {"ERR Unknown client type '...'", "TYPE with another word"},
    {"ERR No such user '...'", "USER with another name than `default`"},
    {"ERR syntax error", "an unknown filter, or one without its value"},
    {NULL, NULL}};
static const struct cmd_error_doc list_errors[] = {
    {"ERR Unknown client type '...'", "TYPE with another word"},
    {"ERR Invalid client ID", "ID with something that is no id"},
    {"ERR syntax error", "anything else"},
    {NULL, NULL}};
static const struct cmd_error_doc name_errors[] = {
    {"ERR Client names cannot contain spaces, newlines or special characters.",
     "the name has characters below `!` or above `~`"},
    {NULL, NULL}};
static const struct cmd_error_doc setinfo_errors[] = {
    {"ERR Unrecognized option '...'", "neither LIB-NAME nor LIB-VER"},
    {"ERR lib-name cannot contain spaces, newlines or special characters.",
     "the value has such characters"},
    {NULL, NULL}};
static const struct cmd_error_doc pause_errors[] = {
    {"ERR timeout is not an integer or out of range", "`timeout` is not a number"},
    {"ERR timeout is negative", "`timeout` is below 0"},
    {"ERR syntax error", "the mode is neither WRITE nor ALL"},
    {NULL, NULL}};
static const struct cmd_error_doc syntax_errors[] = {
    {"ERR syntax error", "another word than those allowed"}, {NULL, NULL}};

static const struct cmd_spec client_subcommands[] = {
    {.name = "id",
     .summary = "Returns the unique client ID of the connection.",
     .group = "connection",
     .since = "5.0.0",
     .complexity = "O(1)",
     .arity = 2,
     .flags = CONTROL,
     .acl = ACL_CONTROL,
     .handler = client_id_command,
     .reply = "Integer: the id. Ids grow and are never used again.",
     .example = "> CLIENT ID\n(integer) 7"},
    {.name = "info",
     .summary = "Returns information about the connection.",
     .group = "connection",
     .since = "6.2.0",
     .complexity = "O(1)",
     .arity = 2,
     .flags = CONTROL,
     .acl = ACL_CONTROL,
     .handler = client_info_command,
     .reply = "Bulk string (RESP3: verbatim string): the connection's line of `CLIENT LIST`."},
    {.name = "list",
     .summary = "Lists open connections.",
     .group = "connection",
     .since = "2.4.0",
     .complexity = "O(N) where N is the number of client connections",
     .arity = -2,
     .flags = ADMIN,
     .acl = ACL_CONTROL_ADMIN,
     .args = list_args,
     .handler = client_list_command,
     .errors = list_errors,
     .reply = "Bulk string (RESP3: verbatim string): a line for each connection, `name=value` "
              "pairs separated by spaces."},
    {.name = "kill",
     .summary = "Terminates open connections.",
     .group = "connection",
     .since = "2.4.0",
     .complexity = "O(N) where N is the number of client connections",
     .arity = -3,
     .flags = ADMIN,
     .acl = ACL_CONTROL_ADMIN,
     .args = kill_args,
     .handler = client_kill_command,
     .errors = kill_errors,
     .reply = "`OK` in the form with one address; else an integer: the connections closed.",
     .notes =
         "All filters given must hold. `SKIPME yes`, the default, spares the connection that asks.",
     .example = "> CLIENT KILL TYPE normal SKIPME yes\n(integer) 3"},
    {.name = "setname",
     .summary = "Sets the connection name.",
     .group = "connection",
     .since = "2.6.9",
     .complexity = "O(1)",
     .arity = 3,
     .flags = CONTROL,
     .acl = ACL_CONTROL,
     .args = setname_args,
     .handler = client_setname_command,
     .errors = name_errors,
     .reply = "`OK`. The empty string removes the name."},
    {.name = "getname",
     .summary = "Returns the name of the connection.",
     .group = "connection",
     .since = "2.6.9",
     .complexity = "O(1)",
     .arity = 2,
     .flags = CONTROL,
     .acl = ACL_CONTROL,
     .handler = client_getname_command,
     .reply = "Bulk string, or null without a name."},
    {.name = "setinfo",
     .summary = "Sets information specific to the client or connection.",
     .group = "connection",
     .since = "7.2.0",
     .complexity = "O(1)",
     .arity = 4,
     .flags = CONTROL,
     .acl = ACL_CONTROL,
     .args = setinfo_args,
     .handler = client_setinfo_command,
     .errors = setinfo_errors,
     .reply = "`OK`"},
    {.name = "no-evict",
     .summary = "Sets the client eviction mode of the connection.",
     .group = "connection",
     .since = "7.0.0",
     .complexity = "O(1)",
     .arity = 3,
     .flags = ADMIN,
     .acl = ACL_CONTROL_ADMIN,
     .args = enabled_args,
     .handler = client_noevict_command,
     .errors = syntax_errors,
     .reply = "`OK`"},
    {.name = "no-touch",
     .summary = "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
     .group = "connection",
     .since = "7.2.0",
     .complexity = "O(1)",
     .arity = 3,
     .flags = CONTROL,
     .acl = ACL_CONTROL,
     .args = enabled_args,
     .handler = client_notouch_command,
     .errors = syntax_errors,
     .reply = "`OK`"},
    {.name = "reply",
     .summary = "Instructs the server whether to reply to commands.",
     .group = "connection",
     .since = "3.2.0",
     .complexity = "O(1)",
     .arity = 3,
     .flags = CONTROL | CMD_NO_MULTI,
     .acl = ACL_CONTROL,
     .args = reply_args,
     .handler = client_reply_command,
     .errors = syntax_errors,
     .reply = "`OK` for ON; nothing for OFF and SKIP."},
    {.name = "pause",
     .summary = "Suspends commands processing.",
     .group = "connection",
     .since = "3.0.0",
     .complexity = "O(1)",
     .arity = -3,
     .flags = ADMIN,
     .acl = ACL_CONTROL_ADMIN,
     .args = pause_args,
     .handler = client_pause_command,
     .errors = pause_errors,
     .reply = "`OK`",
     .notes = "`timeout` is in milliseconds. WRITE holds back commands that change data; ALL, the "
              "default, all but those that administer "
              "clients and the server. A second CLIENT PAUSE never shortens the first."},
    {.name = "unpause",
     .summary = "Resumes processing commands from paused clients.",
     .group = "connection",
     .since = "6.2.0",
     .complexity = "O(N) Where N is the number of paused clients",
     .arity = 2,
     .flags = ADMIN | CMD_ALLOW_BUSY,
     .acl = ACL_CONTROL_ADMIN,
     .handler = client_unpause_command,
     .reply = "`OK`"},
    {.name = "unblock",
     .summary = "Unblocks a client blocked by a blocking command from a different connection.",
     .group = "connection",
     .since = "5.0.0",
     .complexity = "O(1)",
     .arity = -3,
     .flags = ADMIN,
     .acl = ACL_CONTROL_ADMIN,
     .args = unblock_args,
     .handler = client_unblock_command,
     .errors = syntax_errors,
     .reply = "Integer: 1 when the client was unblocked, else 0.",
     .notes = "A VADD that waits for the link backlog is what blocks here: it is given up with "
              "`-UNBLOCKED` (ERROR) or null (TIMEOUT, the default)."},
    {.name = "help",
     .summary = "Returns helpful text about the different subcommands.",
     .group = "connection",
     .since = "5.0.0",
     .complexity = "O(1)",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE,
     .acl = ACL_CONTROL,
     .handler = help_command,
     .reply = "Array of simple strings."},
    END};

const struct cmd_spec server_connection_specs[] = {
    {.name = "ping",
     .summary = "Returns the server's liveliness response.",
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .arity = -1,
     .flags = CMD_FAST,
     .acl = ACL_FAST | ACL_CONNECTION,
     .args = ping_args,
     .handler = connection_ping,
     .reply = "`PONG`, or the message as a bulk string.",
     .example = "> PING\nPONG\n> PING hello\n\"hello\""},
    {.name = "echo",
     .summary = "Returns the given string.",
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_FAST,
     .acl = ACL_FAST | ACL_CONNECTION,
     .args = echo_args,
     .handler = connection_echo,
     .reply = "Bulk string: the message.",
     .example = "> ECHO hello\n\"hello\""},
    {.name = "auth",
     .summary = "Authenticates the connection.",
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .arity = -2,
     .flags = FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_SKIP_SLOWLOG,
     .acl = ACL_FAST | ACL_CONNECTION,
     .args = auth_args,
     .handler = connection_auth,
     .errors = auth_errors,
     .reply = "`OK`"},
    {.name = "hello",
     .summary = "Handshakes with the server.",
     .group = "connection",
     .since = "6.0.0",
     .complexity = "O(1)",
     .arity = -1,
     .flags = FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_SKIP_SLOWLOG,
     .acl = ACL_FAST | ACL_CONNECTION,
     .args = hello_args,
     .handler = connection_hello,
     .errors = hello_errors,
     .reply = "Map: server, version, proto, id, mode, role, modules. It is already in the protocol "
              "asked for.",
     .notes = "`version` is the version of Redis whose behaviour clients may expect; INFO tells "
              "VecStore's own.",
     .example = "> HELLO 3 AUTH default secret SETNAME loader"},
    {.name = "reset",
     .summary = "Resets the connection.",
     .group = "connection",
     .since = "6.2.0",
     .complexity = "O(1)",
     .arity = 1,
     .flags = FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY,
     .acl = ACL_FAST | ACL_CONNECTION,
     .handler = connection_reset,
     .reply = "`RESET`",
     .notes = "The connection is as after connecting: RESP2, database 0, no name, not "
              "authenticated when a password is set."},
    {.name = "quit",
     .summary = "Closes the connection.",
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .arity = -1,
     .flags = FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY,
     .acl = ACL_FAST | ACL_CONNECTION,
     .handler = connection_quit,
     .reply = "`OK`, after the replies of all commands before it; then the connection is closed."},
    {.name = "select",
     .summary = "Changes the selected database.",
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_FAST,
     .acl = ACL_FAST | ACL_CONNECTION,
     .args = select_args,
     .handler = connection_select,
     .errors = select_errors,
     .reply = "`OK`"},
    {.name = "client",
     .summary = "A container for client connection commands.",
     .group = "connection",
     .since = "2.4.0",
     .complexity = "Depends on subcommand.",
     .arity = -2,
     .flags = CMD_NOSCRIPT,
     .acl = ACL_SLOW | ACL_CONNECTION,
     .subcommands = client_subcommands},
    END};
