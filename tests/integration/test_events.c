/* Keyspace events: which commands publish which, where, and the setting that asks for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/raw.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"

static int listener(struct test_server *s)
{
    int fd = server_socket(s);
    raw_talk(fd, "PSUBSCRIBE __key*\r\n", "*3\r\n$10\r\npsubscribe\r\n$6\r\n__key*\r\n:1\r\n");
    return fd;
}

/* The next message must be this event of this key, published under the event's name. */
static void expect(int fd, const char *event, const char *key)
{
    char text[256], channel[64];
    snprintf(channel, sizeof(channel), "__keyevent@0__:%s", event);
    snprintf(text, sizeof(text), "*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
             strlen(channel), channel, strlen(key), key);
    raw_expect(fd, text);
}

static void test_events(void **state)
{
    (void)state;
    static const char *const args[] = {"--notify-keyspace-events", "EAn", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    int fd = listener(s);
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    expect(fd, "new", "k");
    expect(fd, "vadd", "k");
    reply_int(c, 0, "VADD k VALUES 2 0 1 a");
    expect(fd, "vadd", "k");
    reply_int(c, 1, "VSETATTR k a {}");
    expect(fd, "vsetattr", "k");
    reply_int(c, 0, "VSETATTR k nosuch {}"); /* nothing happened, nothing is said */
    reply_int(c, 0, "VREM k nosuch");
    freeReplyObject(reply_array(c, 2, "VMADD k FP32 2 b %b c %b", "\0\0\200?\0\0\0\0", (size_t)8,
                                "\0\0\200?\0\0\200?", (size_t)8));
    expect(fd, "vadd", "k");
    reply_int(c, 1, "VDEL k b nosuch");
    expect(fd, "vdel", "k");
    reply_int(c, 1, "VREM k c");
    expect(fd, "vdel", "k");
    reply_status(c, "OK", "RENAME k l");
    expect(fd, "rename_from", "k");
    expect(fd, "rename_to", "l");
    reply_int(c, 1, "VREM l a"); /* the last one: the key goes */
    expect(fd, "vdel", "l");
    expect(fd, "del", "l");
    reply_status(c, "OK", "VPARTITION CREATE p DIM 2 PARTITIONS 2");
    expect(fd, "new", "p");
    expect(fd, "vcreate", "p");
    reply_status(c, "OK", "VPARTITION DROP p 1");
    expect(fd, "vdrop", "p");
    reply_int(c, 1, "DEL p nosuch");
    expect(fd, "del", "p");
    redisFree(c);
    close(fd);
    server_stop(s);
}

static void test_channels(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    int fd = listener(s);
    reply_int(c, 1, "VADD k VALUES 2 1 0 a"); /* off */
    reply_status(c, "OK", "CONFIG SET notify-keyspace-events KEd");
    reply_status(c, "OK", "SELECT 3");
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    raw_expect(fd, "*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@3__:k\r\n$4\r\nvadd\r\n");
    raw_expect(fd, "*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$19\r\n__keyevent@3__:vadd\r\n$1\r\nk\r\n");
    reply_int(c, 1, "DEL k"); /* class g is not asked for */
    reply_status(c, "OK", "CONFIG SET notify-keyspace-events Kg");
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    reply_int(c, 1, "DEL k");
    raw_expect(fd, "*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@3__:k\r\n$3\r\ndel\r\n");
    reply_error(c, "ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - "
                   "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.",
                "CONFIG SET notify-keyspace-events Q");
    reply_status(c, "OK", "CONFIG SET notify-keyspace-events A"); /* neither K nor E: nowhere */
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    raw_talk(fd, "PING\r\n", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    close(fd);
    /* One that listens itself: events stand behind the reply, not inside it. */
    fd = server_socket(s);
    reply_status(c, "OK", "CONFIG SET notify-keyspace-events Ed");
    char line[256];
    raw_puts(fd, "HELLO 3\r\nECHO end\r\n");
    do
        raw_line(fd, line, sizeof(line));
    while (strcmp(line, "end") != 0);
    raw_talk(fd, "SUBSCRIBE __keyevent@0__:vadd\r\n",
             ">3\r\n$9\r\nsubscribe\r\n$19\r\n__keyevent@0__:vadd\r\n:1\r\n");
    raw_talk(fd, "VMADD m I8 2 a xx b xy\r\n",
             "*2\r\n#t\r\n#t\r\n>3\r\n$7\r\nmessage\r\n$19\r\n__keyevent@0__:vadd\r\n$1\r\nm\r\n");
    close(fd);
    redisFree(c);
    server_stop(s);
}

static void test_bad_setting(void **state)
{
    (void)state;
    static const char *const args[] = {"--port", "0", "--notify-keyspace-events", "KQ", NULL};
    char *output;
    assert_int_equal(server_run(args, 20000, &output), 1);
    assert_non_null(strstr(output, "notify-keyspace-events: invalid event class character"));
    free(output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_bad_setting),
    };
    return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
