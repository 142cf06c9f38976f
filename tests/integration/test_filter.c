/* FILTER and FILTER-EF of VSEARCH and VMSEARCH over the wire: replies, errors, hostile expressions and attributes, and that
 * attributes are found by filters after a restart, from a journal and from a snapshot. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "integration/lib/both.h"
#include "integration/lib/reply.h"
#include "lib/run.h"

#define X "\"\\x00\\x00\\x80\\x3f\\x00\\x00\\x00\\x00\""
#define Y "\"\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x3f\""
#define Q "VSEARCH k VALUES 2 1 0 "

static struct both filled(void)
{
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a SETATTR '{\"y\":1994,\"g\":\"war\",\"o\":{\"d\":{\"e\":5}},\"t\":[\"x\",1],\"f\":true}'", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 1 1 b SETATTR '{\"y\":2001,\"g\":\"drama\",\"f\":false,\"n\":null}'", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 0 1 c SETATTR 'no json'", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 -1 0 d", ":1\r\n");
    return b;
}

static void test_replies(void **state)
{
    (void)state;
    struct both b = filled();
#define A "*1\r\n$1\r\na\r\n"
#define B "*1\r\n$1\r\nb\r\n"
#define AB "*2\r\n$1\r\na\r\n$1\r\nb\r\n"
    both_same(&b, Q "FILTER '.y > 1990'", AB);
    both_same(&b, Q "filter '.y > 1990 and .g == \"drama\"'", B);
    both_same(&b, Q "FILTER \".g in ['war','love']\"", A);
    both_same(&b, Q "FILTER '\"x\" in .t'", A);
    both_same(&b, Q "FILTER '.o.d.e == 5'", A);
    both_same(&b, Q "FILTER '.f == true'", A);
    both_same(&b, Q "FILTER 'exists(.n)'", B);
    both_same(&b, Q "FILTER '.g < \"e\"'", B);
    both_same(&b, Q "FILTER .y FILTER 'not .y'", "*2\r\n$1\r\nc\r\n$1\r\nd\r\n"); /* the last counts */
    both_same(&b, Q "FILTER '.y > 3000'", "*0\r\n");
    both_same(&b, Q "K 1 FILTER '.y > 1990'", A);
    both_same(&b, Q "K 1 OFFSET 1 FILTER '.y > 1990'", B);
    both_same(&b, Q "FILTER .y EXACT", AB);
    both_same(&b, Q "FILTER .y RADIUS 0.1", A);
    both_same(&b, Q "FILTER .y FILTER-EF 0", AB);
    both_same(&b, Q "FILTER .y FILTER-EF 100", AB);
    both_talk(&b, Q "FILTER '.y == 1994' WITHSCORES", "*2\r\n$1\r\na\r\n$1\r\n1\r\n", "%1\r\n$1\r\na\r\n,1\r\n");
    both_same(&b, "VMSEARCH k FP32 2 " X " " Y " K 1 FILTER .y", "*2\r\n" A B);
    both_same(&b, "VSEARCH nokey VALUES 2 1 0 FILTER '(('", "*0\r\n");
    /* Changes are seen. */
    both_two(&b, "VSETATTR k d '{\"y\":1}'", ":1\r\n");
    both_same(&b, Q "FILTER '.y < 10'", "*1\r\n$1\r\nd\r\n");
    both_two(&b, "VSETATTR k d ''", ":1\r\n");
    both_same(&b, Q "FILTER '.y < 10'", "*0\r\n");
    both_two(&b, "VADD k VALUES 2 1 0 b SETATTR '{\"y\":3}'", ":0\r\n");
    both_same(&b, Q "FILTER '.y < 10'", B);
    both_two(&b, "VREM k b", ":1\r\n");
    both_same(&b, Q "FILTER '.y < 10'", "*0\r\n");
    both_stop(&b);
}

/* The language of vector sets: what is missing makes the whole false. */
static void test_sim(void **state)
{
    (void)state;
    struct both b = filled();
#define S "VSIM k VALUES 2 1 0 "
    both_same(&b, S "FILTER '.y > 1990'", AB);
    both_same(&b, S "FILTER '.y > 1990' COUNT 1", A);
    both_same(&b, S "FILTER 'not .y'", "*0\r\n");
    both_same(&b, S "FILTER '.y or .absent'", "*0\r\n");
    both_same(&b, S "FILTER '.f'", A);
    both_same(&b, S "FILTER '.o'", "*0\r\n");
    both_same(&b, S "FILTER '.y == \"1994\"'", A);
    both_same(&b, S "FILTER \"'ra' in .g\" TRUTH", B);
    both_same(&b, S "FILTER .y FILTER-EF 0", AB);
    both_same(&b, S "FILTER .y FILTER-EF 500", AB);
    both_talk(&b, S "FILTER '.y == 1994' WITHSCORES", "*2\r\n$1\r\na\r\n$1\r\n1\r\n", "%1\r\n$1\r\na\r\n,1\r\n");
    both_same(&b, S "FILTER '.y =='", "-ERR syntax error in FILTER expression near: ==\r\n");
    both_same(&b, S "FILTER .y FILTER-EF x", "-ERR invalid FILTER-EF\r\n");
    both_same(&b, S "FILTER .y FILTER-EF -1", "-ERR invalid FILTER-EF\r\n");
    both_same(&b, S "FILTER", "-ERR syntax error in VSIM command\r\n");
    both_same(&b, "VSIM nokey VALUES 2 1 0 FILTER '(('", "*0\r\n");
    both_stop(&b);
}

static void test_info(void **state)
{
    (void)state;
    struct both b = filled();
    redisContext *c = server_connect(b.server);
    redisReply *r = reply_array(c, 2, Q "WITHINFO FILTER .y");
    redisReply *info = r->element[1];
    assert_int_equal(info->elements, 18);
    assert_string_equal(info->element[7]->str, "filter+scan");
    assert_string_equal(info->element[12]->str, "examined");
    assert_int_equal(info->element[13]->integer, 4);
    freeReplyObject(r);
    redisFree(c);
    both_stop(&b);
}

static void test_errors(void **state)
{
    (void)state;
    struct both b = filled();
#define NEAR "ERR syntax error in FILTER expression near: "
    both_error(&b, Q "FILTER", "ERR FILTER needs an expression");
    both_error(&b, Q "FILTER ''", NEAR);
    both_error(&b, Q "FILTER '.y == == 3'", NEAR "== 3");
    both_error(&b, Q "FILTER '.y =='", NEAR "==");
    both_error(&b, Q "FILTER '1 and (.y == 3'", NEAR "(.y == 3");
    both_error(&b, Q "FILTER \".g == 'war\"", NEAR "'war");
    both_error(&b, Q "FILTER \".g == 'war\\\\\"", NEAR "'war\\");
    both_error(&b, Q "FILTER \".y #\\r\\n 1\"", NEAR "#   1");
    both_error(&b, Q "FILTER .y FILTER-EF -1", "ERR invalid FILTER-EF");
    both_error(&b, Q "FILTER .y FILTER-EF", "ERR invalid FILTER-EF");
    both_error(&b, "VMSEARCH k FP32 1 " X " FILTER '.y =='", NEAR "==");
    both_stop(&b);
}

static char *repeated(char c, size_t n)
{
    char *text = malloc(n + 1);
    memset(text, c, n);
    text[n] = 0;
    return text;
}

static void test_hostile(void **state)
{
    (void)state;
    struct both b = filled();
    redisContext *c = server_connect(b.server);
    char *deep = repeated('(', 10000), *huge = repeated('!', 1 << 20);
    reply_error(c, "ERR FILTER: the expression is nested more than 256 deep", Q "FILTER %s", deep);
    reply_error(c, "ERR FILTER: the expression is longer than 32768 bytes", Q "FILTER %s", huge);
    memset(deep, '[', 10000);
    memset(huge, 'x', 1 << 20);
    /* Attributes of 1 MiB of one string, of lists within lists, of bytes that are no UTF-8: fields or none, never more. */
    reply_int(c, 1, "VSETATTR k a {\"y\":7,\"s\":\"%s\"}", huge);
    redisReply *r = reply_array(c, 0, Q "FILTER .y==7"); /* a little more than 1 MiB */
    freeReplyObject(r);
    huge[(1 << 20) - 100] = 0;
    reply_int(c, 1, "VSETATTR k a {\"y\":7,\"s\":\"%s\"}", huge);
    r = reply_array(c, 1, Q "FILTER .y==7");
    freeReplyObject(r);
    reply_int(c, 1, "VSETATTR k a {\"y\":7,\"s\":%s}", deep);
    reply_int(c, 1, "VSETATTR k b {\"y\":7,\"s\":\"%b\"}", "\xff\xfe", (size_t)2);
    r = reply_array(c, 0, Q "FILTER .y==7");
    freeReplyObject(r);
    r = reply_array(c, 4, Q "FILTER %s", "not exists(.y)");
    freeReplyObject(r);
    free(deep);
    free(huge);
    redisFree(c);
    both_stop(&b);
}

/* The same in VSIM, and expressions and texts that are broken in every way: refused with where, or no match, and the server goes on. */
static void test_hostile_sim(void **state)
{
    (void)state;
    struct both b = filled();
    redisContext *c = server_connect(b.server);
    static const char *const openers[] = { "(", "!", "2**", "(1+", "not " };
    for (size_t i = 0; i < sizeof openers / sizeof *openers; i++) {
        char *deep = malloc(10000 * 4 + 2), *at = deep;
        for (int k = 0; k < 10000 && at - deep < 32000; k++)
            at += sprintf(at, "%s", openers[i]);
        reply_error(c, "ERR FILTER: the expression is nested more than 256 deep", S "FILTER %s", deep);
        free(deep);
    }
    char *huge = repeated('a', 1 << 20);
    huge[0] = '.';
    reply_error(c, "ERR FILTER: the expression is longer than 32768 bytes", S "FILTER %s", huge);
    huge[0] = '\'';
    reply_error(c, "ERR FILTER: the expression is longer than 32768 bytes", S "FILTER %s", huge);
    static const char *const broken[] = { ".g == 'a\\", ".g == \"a\\\"", "'\\", "\"\\\"", "'a' in ['\\']", ".y == '", ".y \\ 5", "\\u0041", "[", "]", ")",
                                          ".y > > 5", "**", ".y ** ** 2", "1 in", "in [1]", ".", "..", "'a' 'b'", "\xff == 1", ".\xff", "1e", "1e999x", "- 1", "@" };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        reply_error(c, NEAR, S "FILTER %s", broken[i]);
    reply_error(c, NEAR, S "FILTER %b", ".y ==\0 1994", (size_t)11);
    freeReplyObject(reply_array(c, 0, S "FILTER %s", ".g == '\\q\\w\\x41\xff\xfe'"));  /* escapes of no meaning, no UTF-8: a string like others */
    freeReplyObject(reply_array(c, 1, S "FILTER %s", ".g == '\\w\\ar'"));
    freeReplyObject(reply_array(c, 2, S "FILTER %s", ".y < 1e999"));
    /* Attributes: 1 MiB, no JSON, no UTF-8, nested 100,000 deep, escapes that are none. */
    memset(huge, 'x', 1 << 20);
    huge[(1 << 20) - 100] = 0;
    reply_int(c, 1, "VSETATTR k a {\"y\":1994,\"s\":\"%s\"}", huge);
    freeReplyObject(reply_array(c, 1, S "FILTER %s", ".y == 1994"));
    freeReplyObject(reply_array(c, 1, S "FILTER %s", "'xxxx' in .s"));
    memset(huge, '[', 100000);
    huge[100000] = 0;
    static const char *const texts[] = { "VSETATTR k a {\"y\":1994,\"s\":%s}", "VSETATTR k a {\"y\":1994%s", "VSETATTR k a %s{\"y\":1994}" };
    for (size_t i = 0; i < 3; i++) {
        reply_int(c, 1, texts[i], huge);
        freeReplyObject(reply_array(c, 0, S "FILTER %s", ".y == 1994"));
        freeReplyObject(reply_array(c, 3, S "FILTER 1"));          /* those that have attributes, JSON or not */
    }
    static const char *const bad[] = { "{\"y\":1994,}", "{'y':1994}", "{\"y\":1994", "{\"y\":\"\\u12\"}", "{\"y\":\"\\ud800\"}", "{\"y\":\"\xff\"}",
                                       "{\"y\":\"\xc0\x80\"}", "{\"y\":\"\\x\"}", "{\"y\":01}", "{\"y\":+1}", "{\"y\":1e400}", "nul", "[1994]", "1994", "{\"y\" 1994}", "\xef\xbb\xbf{\"y\":1994}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        reply_int(c, 1, "VSETATTR k a %s", bad[i]);
        reply_bulk(c, bad[i], "VGETATTR k a");
        redisReply *r = reply_any(c, "VSIM k ELE a FILTER %s COUNT 1", ".y or 1");
        if (r->elements && !strcmp(r->element[0]->str, "a"))
            fail_msg("%s is taken for JSON", bad[i]);
        freeReplyObject(r);
    }
    free(huge);
    both_same(&b, "PING", "+PONG\r\n");
    redisFree(c);
    both_stop(&b);
}

/* Enough for a partition with a graph, in files of its own. */
enum { MANY = 3000 };

static void fill_many(redisContext *c)
{
    for (int i = 0; i < MANY; i++) {
        float v[4] = { (float)(i % 17), (float)(i % 13), (float)(i % 7), (float)i };
        redisAppendCommand(c, "VADD many FP32 %b e%d SETATTR {\"i\":%d,\"mod\":%d,\"name\":\"n%d\"}", v, sizeof v, i, i, i % 10, i);
    }
    for (int i = 0; i < MANY; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->integer, 1);
        freeReplyObject(r);
    }
    reply_int(c, 1, "VADD small VALUES 1 1 s SETATTR {\"i\":5}");
    reply_int(c, 1, "VSETATTR many e1 %s", "");
    reply_int(c, 1, "VSETATTR many e3 {\"mod\":7}");
    reply_int(c, 1, "VREM many e5");
}

static void check_many(redisContext *c)
{
    redisReply *r = reply_array(c, 300, "VSEARCH many VALUES 4 1 2 3 4 K 1000 FILTER %s", ".mod == 4");
    freeReplyObject(r);
    r = reply_array(c, 299, "VSEARCH many VALUES 4 1 2 3 4 K 1000 FILTER %s", ".mod == 3 or .mod == 5 and .i < 0 or .i == 2998 and 0");
    freeReplyObject(r);
    r = reply_array(c, 1, "VSEARCH many VALUES 4 1 2 3 4 FILTER %s", ".name == 'n2222'");
    assert_string_equal(r->element[0]->str, "e2222");
    freeReplyObject(r);
    r = reply_array(c, 1, "VSEARCH many VALUES 4 1 2 3 4 FILTER %s", "not exists(.mod)");
    assert_string_equal(r->element[0]->str, "e1");
    freeReplyObject(r);
    r = reply_array(c, 1, "VSEARCH small VALUES 1 1 FILTER %s", ".i == 5");
    freeReplyObject(r);
}

static void restart(const char *const *args, const char *command)
{
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    fill_many(c);
    if (command)
        reply_status(c, "OK", "%s", command);
    redisFree(c);
    server_restart(s, SIGTERM);
    c = server_connect(s);
    check_many(c);
    redisFree(c);
    server_stop(s);
}

static void test_restart(void **state)
{
    (void)state;
    static const char *const journal[] = { "--appendonly", "yes", NULL };
    restart(journal, NULL);
    if (!RUN_RACES)
        restart(NULL, "SAVE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_sim), cmocka_unit_test(test_info), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_hostile_sim), cmocka_unit_test(test_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
