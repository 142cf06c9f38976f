/* Publish and subscribe: confirmations, messages, who may do what, and what a connection that does
 * not read costs; in RESP2 and RESP3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/both.h"
#include "integration/lib/reply.h"

#define CANNOT                                                                                     \
    ": only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"   \
    "\r\n"

static void test_confirmations(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_talk(&b, "SUBSCRIBE a b", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe"
              "\r\n$1\r\nb\r\n:2\r\n", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\n"
              "subscribe\r\n$1\r\nb\r\n:2\r\n");
    both_talk(&b, "SUBSCRIBE a", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n",
              ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n");
    both_talk(&b, "PSUBSCRIBE n.*", "*3\r\n$10\r\npsubscribe\r\n$3\r\nn.*\r\n:3\r\n",
              ">3\r\n$10\r\npsubscribe\r\n$3\r\nn.*\r\n:3\r\n");
    both_talk(&b, "UNSUBSCRIBE nobody", "*3\r\n$11\r\nunsubscribe\r\n$6\r\nnobody\r\n:3\r\n",
              ">3\r\n$11\r\nunsubscribe\r\n$6\r\nnobody\r\n:3\r\n");
    both_talk(&b, "UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:2\r\n*3\r\n$11\r\n"
              "unsubscribe\r\n$1\r\nb\r\n:1\r\n", ">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:2\r\n"
              ">3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n");
    both_talk(&b, "UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:1\r\n",
              ">3\r\n$11\r\nunsubscribe\r\n_\r\n:1\r\n");
    both_talk(&b, "PUNSUBSCRIBE n.*", "*3\r\n$12\r\npunsubscribe\r\n$3\r\nn.*\r\n:0\r\n",
              ">3\r\n$12\r\npunsubscribe\r\n$3\r\nn.*\r\n:0\r\n");
    both_talk(&b, "PUNSUBSCRIBE", "*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n",
              ">3\r\n$12\r\npunsubscribe\r\n_\r\n:0\r\n");
    both_same(&b, "PING", "+PONG\r\n"); /* as any other again */
    both_error(&b, "SUBSCRIBE", "ERR wrong number of arguments for 'subscribe' command");
    both_error(&b, "PSUBSCRIBE", "ERR wrong number of arguments for 'psubscribe' command");
    both_error(&b, "PUBLISH a", "ERR wrong number of arguments for 'publish' command");
    both_stop(&b);
}

static void test_messages(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    reply_int(c, 0, "PUBLISH news nobody");
    both_talk(&b, "SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
              ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    both_talk(&b, "PSUBSCRIBE n?w*", "*3\r\n$10\r\npsubscribe\r\n$4\r\nn?w*\r\n:2\r\n",
              ">3\r\n$10\r\npsubscribe\r\n$4\r\nn?w*\r\n:2\r\n");
    reply_int(c, 4, "PUBLISH news hello");
    raw_expect(b.two, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
                      "*4\r\n$8\r\npmessage\r\n$4\r\nn?w*\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    raw_expect(b.three, ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
                        ">4\r\n$8\r\npmessage\r\n$4\r\nn?w*\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    reply_int(c, 2, "PUBLISH new %b", "", (size_t)0);
    raw_expect(b.two, "*4\r\n$8\r\npmessage\r\n$4\r\nn?w*\r\n$3\r\nnew\r\n$0\r\n\r\n");
    raw_expect(b.three, ">4\r\n$8\r\npmessage\r\n$4\r\nn?w*\r\n$3\r\nnew\r\n$0\r\n\r\n");
    /* One that publishes to itself has the reply first. */
    both_three(&b, "PUBLISH new me", ":2\r\n>4\r\n$8\r\npmessage\r\n$4\r\nn?w*\r\n$3\r\nnew\r\n$2"
               "\r\nme\r\n");
    raw_expect(b.two, "*4\r\n$8\r\npmessage\r\n$4\r\nn?w*\r\n$3\r\nnew\r\n$2\r\nme\r\n");
    /* CLIENT REPLY OFF does not silence messages. */
    raw_puts(b.three, "CLIENT REPLY OFF\r\nSUBSCRIBE quiet\r\n");
    raw_expect(b.three, ">3\r\n$9\r\nsubscribe\r\n$5\r\nquiet\r\n:3\r\n");
    reply_int(c, 1, "PUBLISH quiet x");
    raw_expect(b.three, ">3\r\n$7\r\nmessage\r\n$5\r\nquiet\r\n$1\r\nx\r\n");
    redisFree(c);
    both_stop(&b);
}

static void test_who_may(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    both_talk(&b, "SUBSCRIBE a", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
              ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    both_talk(&b, "PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n", "+PONG\r\n");
    both_talk(&b, "PING hi", "*2\r\n$4\r\npong\r\n$2\r\nhi\r\n", "$2\r\nhi\r\n");
    both_talk(&b, "EXISTS k", "-ERR Can't execute 'exists'" CANNOT, ":0\r\n");
    both_talk(&b, "PUBSUB NUMPAT", "-ERR Can't execute 'pubsub|numpat'" CANNOT, ":0\r\n");
    reply_contains(c, "flags=P db=0 sub=1 psub=0", "CLIENT LIST TYPE pubsub");
    assert_int_equal((int)reply_info(c, "clients", "pubsub_clients"), 2);
    assert_int_equal((int)reply_info(c, "stats", "pubsub_channels"), 1);
    /* RESET and going end all subscriptions. */
    both_same(&b, "RESET", "+RESET\r\n");
    raw_talk(b.two, "EXISTS k\r\n", ":0\r\n");
    reply_int(c, 0, "PUBLISH a x");
    int fd = server_socket(b.server);
    raw_talk(fd, "PSUBSCRIBE *\r\n", "*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n");
    raw_talk(fd, "QUIT\r\n", "+OK\r\n");
    raw_expect_closed(fd);
    close(fd);
    reply_int(c, 0, "PUBLISH a x");
    assert_int_equal((int)reply_info(c, "stats", "pubsub_patterns"), 0);
    redisFree(c);
    both_stop(&b);
}

static void test_pubsub(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    int fd = server_socket(b.server);
    both_same(&b, "PUBSUB CHANNELS", "*0\r\n");
    both_same(&b, "PUBSUB NUMSUB", "*0\r\n");
    both_same(&b, "PUBSUB NUMPAT", ":0\r\n");
    raw_talk(fd, "SUBSCRIBE a1 b2\r\n", "*3\r\n$9\r\nsubscribe\r\n$2\r\na1\r\n:1\r\n"
                                        "*3\r\n$9\r\nsubscribe\r\n$2\r\nb2\r\n:2\r\n");
    raw_talk(fd, "PSUBSCRIBE a*\r\n", "*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:3\r\n");
    both_same(&b, "PUBSUB CHANNELS a?", "*1\r\n$2\r\na1\r\n");
    both_same(&b, "PUBSUB CHANNELS x", "*0\r\n");
    both_same(&b, "PUBSUB NUMSUB a1 x", "*4\r\n$2\r\na1\r\n:1\r\n$1\r\nx\r\n:0\r\n");
    both_same(&b, "PUBSUB NUMPAT", ":1\r\n");
    both_error(&b, "PUBSUB", "ERR wrong number of arguments for 'pubsub' command");
    both_error(&b, "PUBSUB NUMPAT x", "ERR wrong number of arguments for 'pubsub|numpat' command");
    both_error(&b, "PUBSUB CHANNELS a b", "ERR wrong number of arguments for 'pubsub|channels' command");
    both_error(&b, "PUBSUB nosuch", "ERR unknown subcommand 'nosuch'. Try PUBSUB HELP.");
    close(fd);
    both_stop(&b);
}

/* Many channels, in slices; messages to a client that is inside a command come behind its reply. */
static void test_many(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    enum { CHANNELS = 5000 };
    struct { char text[16]; } *names = calloc(CHANNELS + 1, sizeof(*names));
    const char **argv = calloc(CHANNELS + 1, sizeof(*argv));
    argv[0] = "SUBSCRIBE";
    for (int i = 1; i <= CHANNELS; i++) {
        snprintf(names[i].text, sizeof(names[i].text), "c%d", i);
        argv[i] = names[i].text;
    }
    redisAppendCommandArgv(c, CHANNELS + 1, argv, NULL);
    for (int i = 1; i <= CHANNELS; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->element[2]->integer, i);
        freeReplyObject(r);
    }
    both_same(&b, "PUBLISH c77 x", ":1\r\n");
    redisFree(c);
    free(argv);
    free(names);
    both_stop(&b);
}

/* A client that does not read is closed by the class of its kind. */
static void test_limit(void **state)
{
    (void)state;
    static const char *const args[] = {"--client-output-buffer-limit", "pubsub 8mb 0 0", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    int fd = server_socket(s);
    raw_talk(fd, "SUBSCRIBE a\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    char *text = malloc(1 << 20);
    memset(text, 'x', 1 << 20);
    int n = 0;
    while (reply_get_int(c, "PUBLISH a %b", text, (size_t)1 << 20) == 1)
        assert_true(++n < 1000);
    assert_true(n >= 8);
    assert_int_equal((int)reply_info(c, "stats", "client_output_buffer_limit_disconnections"), 1);
    free(text);
    close(fd);
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_confirmations), cmocka_unit_test(test_messages),
        cmocka_unit_test(test_who_may),       cmocka_unit_test(test_pubsub),
        cmocka_unit_test(test_many),          cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests_name("pubsub", tests, NULL, NULL);
}
