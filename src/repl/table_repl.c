/* The rows of replication's commands. Summaries and versions are facts about Redis' commands; texts are
 * ours. */
#include "repl/repl_int.h"

#define ADMIN      (CMD_ADMIN | CMD_NOSCRIPT)
#define ACL_ADMINS (ACL_ADMIN | ACL_SLOW | ACL_DANGEROUS)

#define END {.name = NULL}

static const struct cmd_arg host_port[] = {
    {"host", ARG_STRING, NULL, 0, NULL}, {"port", ARG_INTEGER, NULL, 0, NULL}, END};
static const struct cmd_arg no_one[] = {
    {"no", ARG_TOKEN, "NO", 0, NULL}, {"one", ARG_TOKEN, "ONE", 0, NULL}, END};
static const struct cmd_arg replicaof_which[] = {
    {"host-port", ARG_BLOCK, NULL, 0, host_port}, {"no-one", ARG_BLOCK, NULL, 0, no_one}, END};
static const struct cmd_arg replicaof_args[] = {
    {"args", ARG_ONEOF, NULL, 0, replicaof_which}, END};
static const struct cmd_error_doc replicaof_errors[] = {
    {"ERR Invalid master port", "the port is not a number from 1 to 65535"},
    {"ERR Invalid master host", "the host is empty, too long, or has a space or a quote in it"},
    {NULL, NULL}};

#define REPLICAOF_REPLY \
    "`OK`, at once; what follows takes its time. `OK Already connected to specified master` where that is " \
    "so. [ROLE](role.md) and INFO replication say how far it is."

static const struct cmd_arg psync_args[] = {{"replicationid", ARG_STRING, NULL, 0, NULL},
                                            {"offset", ARG_INTEGER, NULL, 0, NULL},
                                            END};
static const struct cmd_error_doc psync_errors[] = {
    {"ERR the stream of this server is for replicas that speak vecstore-1 ...",
     "the client has not said REPLCONF capa vecstore-1"},
    {"NOMASTERLINK Can't SYNC while not connected with my master",
     "this server is a replica that is not in step with its primary"},
    {NULL, NULL}};

static const struct cmd_error_doc replconf_errors[] = {
    {"ERR Unrecognized REPLCONF option: ...", "an option that it does not know"}, {NULL, NULL}};

static const struct cmd_arg wait_args[] = {{"numreplicas", ARG_INTEGER, NULL, 0, NULL},
                                           {"timeout", ARG_INTEGER, NULL, 0, NULL},
                                           END};
static const struct cmd_error_doc wait_errors[] = {
    {"ERR WAIT cannot be used with replica instances. ...", "this server is a replica"},
    {"UNBLOCKED force unblock from blocking operation, ...", "it has become one meanwhile"},
    {NULL, NULL}};
static const struct cmd_arg waitaof_args[] = {{"numlocal", ARG_INTEGER, NULL, 0, NULL},
                                              {"numreplicas", ARG_INTEGER, NULL, 0, NULL},
                                              {"timeout", ARG_INTEGER, NULL, 0, NULL},
                                              END};
static const struct cmd_error_doc waitaof_errors[] = {
    {"ERR WAITAOF cannot be used with replica instances. ...", "this server is a replica"},
    {"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.", "it is"},
    {"ERR value is out of range, value must between 0 and 1", "numlocal"},
    {NULL, NULL}};

static const struct cmd_arg failover_to[] = {{"host", ARG_STRING, NULL, 0, NULL},
                                             {"port", ARG_INTEGER, NULL, 0, NULL},
                                             {"force", ARG_TOKEN, "FORCE", ARG_OPTIONAL, NULL},
                                             END};
static const struct cmd_arg failover_args[] = {
    {"target", ARG_BLOCK, "TO", ARG_OPTIONAL, failover_to},
    {"abort", ARG_TOKEN, "ABORT", ARG_OPTIONAL, NULL},
    {"milliseconds", ARG_INTEGER, "TIMEOUT", ARG_OPTIONAL, NULL},
    END};
static const struct cmd_error_doc failover_errors[] = {
    {"ERR FAILOVER requires connected replicas.", "there are none"},
    {"ERR FAILOVER target HOST and PORT is not a replica.", "no replica has announced this address"},
    {"ERR FAILOVER target replica is not online.", "it gets all data at the moment"},
    {"ERR FAILOVER already in progress.", "one is under way"},
    {"ERR No failover in progress.", "ABORT, and none is"},
    {"ERR FAILOVER is not valid when server is a replica.", "it is"},
    {NULL, NULL}};

const struct cmd_spec repl_specs[] = {
    {.name = "replicaof",
     .summary = "Configures a server as replica of another, or promotes it to a master.",
     .group = "server",
     .since = "5.0.0",
     .complexity = "O(1)",
     .arity = 3,
     .flags = ADMIN | CMD_STALE,
     .acl = ACL_ADMINS,
     .args = replicaof_args,
     .handler = repl_replicaof_command,
     .errors = replicaof_errors,
     .reply = REPLICAOF_REPLY,
     .notes = "`REPLICAOF NO ONE` makes a replica a primary: it keeps its data. A replica gets what it "
              "lacks, or all data where that is not possible, and meanwhile answers from those it has. "
              "CONFIG REWRITE makes the change outlast a restart."},
    {.name = "slaveof",
     .summary = "Sets a Redis server as a replica of another, or promotes it to being a master.",
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(1)",
     .arity = 3,
     .flags = ADMIN | CMD_STALE,
     .acl = ACL_ADMINS,
     .args = replicaof_args,
     .handler = repl_replicaof_command,
     .errors = replicaof_errors,
     .reply = REPLICAOF_REPLY,
     .notes = "The older name of [REPLICAOF](replicaof.md)."},
    {.name = "role",
     .summary = "Returns the replication role.",
     .group = "server",
     .since = "2.8.12",
     .complexity = "O(N) where N is the number of replicas",
     .arity = 1,
     .flags = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST,
     .acl = ACL_ADMIN | ACL_FAST | ACL_DANGEROUS,
     .handler = repl_role_command,
     .reply = "An array. Of a primary: `master`, its offset, and of each replica that is in step an array of "
              "address, port and the offset it has acknowledged. Of a replica: `slave`, its primary's "
              "address and port, the link's state (`connect`, `connecting`, `sync`, `connected`) and its "
              "offset, -1 while it is not in step."},
    {.name = "psync",
     .summary = "An internal command used in replication.",
     .group = "server",
     .since = "2.8.0",
     .complexity = "O(1)",
     .arity = -3,
     .flags = ADMIN | CMD_NO_MULTI,
     .acl = ACL_ADMINS,
     .args = psync_args,
     .handler = repl_psync_command,
     .errors = psync_errors,
     .reply = "`CONTINUE` with the history's id, or `FULLRESYNC` with id and offset; then the stream "
              "(docs/replication.md)."},
    {.name = "replconf",
     .summary = "An internal command for configuring the replication stream.",
     .group = "server",
     .since = "3.0.0",
     .complexity = "O(1)",
     .arity = -1,
     .flags = ADMIN | CMD_LOADING | CMD_STALE | CMD_ALLOW_BUSY | CMD_NO_MULTI,
     .acl = ACL_ADMINS,
     .handler = repl_replconf_command,
     .errors = replconf_errors,
     .reply = "`OK`; to ACK nothing."},
    {.name = "wait",
     .summary = "Blocks until the asynchronous replication of all preceding write commands sent by the "
                "connection is completed.",
     .group = "generic",
     .since = "3.0.0",
     .complexity = "O(1)",
     .arity = 3,
     .flags = CMD_BLOCKING,
     .acl = ACL_SLOW | ACL_BLOCKING,
     .args = wait_args,
     .handler = repl_wait_command,
     .errors = wait_errors,
     .reply = "How many replicas have acknowledged what this connection has written: at least as many as "
              "asked for, or those there were when the time was up.",
     .notes = "The timeout is in milliseconds, 0 is for ever. Replicas are asked at once, so that it takes "
              "about a round trip. In a transaction it does not wait."},
    {.name = "waitaof",
     .summary = "Blocks until all of the preceding write commands sent by the connection are written to "
                "the append-only file of the master and/or replicas.",
     .group = "generic",
     .since = "7.2.0",
     .complexity = "O(1)",
     .arity = 4,
     .flags = CMD_BLOCKING,
     .acl = ACL_SLOW | ACL_BLOCKING,
     .args = waitaof_args,
     .handler = repl_waitaof_command,
     .errors = waitaof_errors,
     .reply = "An array: 1 when this server's journal has on disk what this connection has written, else 0; "
              "and how many replicas have.",
     .notes = "It waits for both. The timeout is in milliseconds, 0 is for ever. A replica without a "
              "journal never counts."},
    {.name = "failover",
     .summary = "Starts a coordinated failover from a server to one of its replicas.",
     .group = "server",
     .since = "6.2.0",
     .complexity = "O(1)",
     .arity = -1,
     .flags = ADMIN | CMD_STALE,
     .acl = ACL_ADMINS,
     .args = failover_args,
     .handler = repl_failover_command,
     .errors = failover_errors,
     .reply = "`OK` when it has begun; INFO replication says in master_failover_state how far it is.",
     .notes = "Writes wait until the replica has everything and has become the primary: none is lost, and "
              "none is acknowledged by two. Then they are refused, for this server is a replica. `ABORT` "
              "ends one that is under way. With `TIMEOUT` it ends by itself as long as the replica has not been "
              "asked to take over, and writes go on here. With `FORCE` the replica is asked then although "
              "it has not got everything, and has as much time again to be reached: what it lacks is "
              "discarded (kept in a file of the working directory), and this server gets all data from it. "
              "A replica that has been asked may be the primary: then nothing but its answer, or `ABORT`, "
              "ends the failover, and after `ABORT` there may be two primaries."},
    END,
};
