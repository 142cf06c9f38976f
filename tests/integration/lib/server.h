/* A real server for a test: started on a free port of the loopback, in a directory of its own, and checked when it ends.
 *
 *   static const char *const args[] = {"--maxclients", "10", NULL};
 *   struct test_server *s = server_start(args);
 *   redisContext *c = server_connect(s);
 *   reply_status(c, "PONG", "PING");                       (reply.h)
 *   redisFree(c);
 *   server_stop(s);
 *
 * Everything here fails the running test (cmocka) when it cannot do its work, with the end of the server's output. What
 * a failed test leaves behind is cleaned up when the program exits: processes are killed, directories removed.
 *
 * Environment: VECSTORE_SERVER, the program (build/vecstore-server); TMPDIR, where directories are made (/tmp);
 * VECSTORE_TEST_JOURNAL=always|everysec|no, a journal for servers whose test does not care (a test of files or settings may).
 * One thread. */
#ifndef INTEGRATION_LIB_SERVER_H
#define INTEGRATION_LIB_SERVER_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct test_server;

/* Starts a server and waits until it answers PING. `args` (borrowed during the call) are command-line arguments up to a
 * NULL; NULL for none. --port and --bind are given unless they are among them, and so are
 * --save "" and --appendonly no: a test that wants its server to keep data says so; the working directory is the server's
 * own, so a --unixsocket may be a plain name. With --port 0 the unix socket is what is asked and connected to. */
struct test_server *server_start(const char *const *args);
/* The same with a configuration file of this text in its directory, vecstore.conf. */
struct test_server *server_start_conf(const char *text, const char *const *args);

/* Ends it by SIGTERM (unless it has ended already), checks that its exit status is 0 and that no sanitizer complained, and
 * removes its directory. Takes `s`. */
void server_stop(struct test_server *s);
/* Ends it by SIGKILL, checks for sanitizer reports, removes its directory. Takes `s`. */
void server_kill(struct test_server *s);
/* Ends it by `signal` and starts it again: same directory, port and arguments. */
void server_restart(struct test_server *s, int signal);
/* The two halves of server_restart, for what is to be done between. `more`: arguments behind the test's own, for this
 * start alone, up to a NULL; NULL for none. */
void server_end(struct test_server *s, int signal);
void server_again(struct test_server *s, const char *const *more);
/* Waits for it to end by itself; the exit status, or -1 when a signal ended it. Fails the test past the deadline. */
int server_wait_exit(struct test_server *s, int deadline_ms);

/* A connection of one's own; fails the test when it cannot be made. Commands on it fail after 60 seconds. */
redisContext *server_connect(const struct test_server *s);
/* A plain socket, for raw bytes (raw.h). */
int server_socket(const struct test_server *s);

int server_port(const struct test_server *s);
pid_t server_pid(const struct test_server *s);
const char *server_dir(const struct test_server *s);        /* absolute, no slash at the end */
/* What it wrote to standard output and error so far; the caller frees it. */
char *server_output(const struct test_server *s);
/* Waits until its output contains `text`. */
void server_wait_output(const struct test_server *s, const char *text, int deadline_ms);

/* Runs the server program to its end with these arguments, for start-ups that must fail. Returns its exit status (-1: by a
 * signal, or it was still running at the deadline and was killed) and its output in *output, which the caller frees. */
int server_run(const char *const *args, int deadline_ms, char **output);

#endif
