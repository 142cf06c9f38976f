#include "integration/lib/docs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "integration/lib/reply.h"

void docs_add(redisContext *c, const char *key, int from, int to)
{
    for (int i = from; i < to; i++)
        redisAppendCommand(c, "VADD %s VALUES 4 %d %d %d 1 e%d SETATTR {\"n\":%d}", key, i % 7, i % 11,
                           i % 13, i, i);
    for (int i = from; i < to; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->type, REDIS_REPLY_INTEGER);
        freeReplyObject(r);
    }
}

void docs_check(redisContext *c, const char *key, int n)
{
    reply_int(c, n, "VCARD %s", key);
    if (n == 0)
        return;
    char expected[32];
    snprintf(expected, sizeof expected, "{\"n\":%d}", n - 1);
    reply_bulk(c, expected, "VGETATTR %s e%d", key, n - 1);
    redisReply *r = reply_array(c, -1, "VSEARCH %s ELE e%d K 3", key, n - 1);
    assert_int_equal(r->elements, n < 3 ? n : 3);
    freeReplyObject(r);
}
