#include "integration/lib/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *type_name(int type)
{
    switch (type) {
    case REDIS_REPLY_STRING: return "bulk";
    case REDIS_REPLY_ARRAY: return "array";
    case REDIS_REPLY_INTEGER: return "integer";
    case REDIS_REPLY_NIL: return "null";
    case REDIS_REPLY_STATUS: return "status";
    case REDIS_REPLY_ERROR: return "error";
    default: return "unknown";
    }
}

static void describe(char *out, size_t size, const redisReply *r)
{
    switch (r->type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR: snprintf(out, size, "%s \"%.300s\"", type_name(r->type), r->str); break;
    case REDIS_REPLY_INTEGER: snprintf(out, size, "integer %lld", r->integer); break;
    case REDIS_REPLY_ARRAY: snprintf(out, size, "array of %zu", r->elements); break;
    default: snprintf(out, size, "%s", type_name(r->type)); break;
    }
}

/* Frees the reply and fails the test. */
static void refuse(const char *file, int line, const char *fmt, redisReply *r, const char *expected)
{
    char got[400];
    describe(got, sizeof got, r);
    print_error("%s: expected %s, got %s\n", fmt, expected, got);
    freeReplyObject(r);
    _fail(file, line);
}

static redisReply *checked(const char *file, int line, redisContext *c, const char *fmt, redisReply *r)
{
    if (!r) {
        print_error("%s: no reply: %s\n", fmt, c->err ? c->errstr : "unknown");
        _fail(file, line);
    }
    return r;
}

static redisReply *run(const char *file, int line, redisContext *c, const char *fmt, va_list ap)
{
    return checked(file, line, c, fmt, redisvCommand(c, fmt, ap));
}

/* The body every function of a variable list begins with. */
#define RUN(reply)                                \
    va_list ap;                                   \
    va_start(ap, fmt);                            \
    redisReply *reply = run(file, line, c, fmt, ap); \
    va_end(ap)

redisReply *reply_any_at(const char *file, int line, redisContext *c, const char *fmt, ...)
{
    RUN(r);
    return r;
}

redisReply *reply_argv_at(const char *file, int line, redisContext *c, int argc, const char *const *argv, const size_t *lens)
{
    return checked(file, line, c, argv[0], redisCommandArgv(c, argc, (const char **)(uintptr_t)argv, lens));
}

static void expect_text(const char *file, int line, const char *fmt, redisReply *r, int type, const char *expected)
{
    if (r->type != type || r->len != strlen(expected) || memcmp(r->str, expected, r->len) != 0) {
        char want[400];
        snprintf(want, sizeof want, "%s \"%.300s\"", type_name(type), expected);
        refuse(file, line, fmt, r, want);
    }
    freeReplyObject(r);
}

void reply_status_at(const char *file, int line, redisContext *c, const char *expected, const char *fmt, ...)
{
    RUN(r);
    expect_text(file, line, fmt, r, REDIS_REPLY_STATUS, expected);
}

void reply_bulk_at(const char *file, int line, redisContext *c, const char *expected, const char *fmt, ...)
{
    RUN(r);
    expect_text(file, line, fmt, r, REDIS_REPLY_STRING, expected);
}

void reply_int_at(const char *file, int line, redisContext *c, long long expected, const char *fmt, ...)
{
    RUN(r);
    if (r->type != REDIS_REPLY_INTEGER || r->integer != expected) {
        char want[64];
        snprintf(want, sizeof want, "integer %lld", expected);
        refuse(file, line, fmt, r, want);
    }
    freeReplyObject(r);
}

long long reply_get_int_at(const char *file, int line, redisContext *c, const char *fmt, ...)
{
    RUN(r);
    if (r->type != REDIS_REPLY_INTEGER)
        refuse(file, line, fmt, r, "an integer");
    long long value = r->integer;
    freeReplyObject(r);
    return value;
}

void reply_null_at(const char *file, int line, redisContext *c, const char *fmt, ...)
{
    RUN(r);
    if (r->type != REDIS_REPLY_NIL)
        refuse(file, line, fmt, r, "null");
    freeReplyObject(r);
}

void reply_error_at(const char *file, int line, redisContext *c, const char *prefix, const char *fmt, ...)
{
    RUN(r);
    if (r->type != REDIS_REPLY_ERROR || strncmp(r->str, prefix, strlen(prefix)) != 0) {
        char want[400];
        snprintf(want, sizeof want, "error \"%.300s...\"", prefix);
        refuse(file, line, fmt, r, want);
    }
    freeReplyObject(r);
}

redisReply *reply_array_at(const char *file, int line, redisContext *c, long count, const char *fmt, ...)
{
    RUN(r);
    if (r->type != REDIS_REPLY_ARRAY || (count >= 0 && r->elements != (size_t)count)) {
        char want[64] = "an array";
        if (count >= 0)
            snprintf(want, sizeof want, "array of %ld", count);
        refuse(file, line, fmt, r, want);
    }
    return r;
}

void reply_contains_at(const char *file, int line, redisContext *c, const char *part, const char *fmt, ...)
{
    RUN(r);
    if ((r->type != REDIS_REPLY_STRING && r->type != REDIS_REPLY_STATUS) || !memmem(r->str, r->len, part, strlen(part))) {
        char want[400];
        snprintf(want, sizeof want, "text with \"%.300s\"", part);
        refuse(file, line, fmt, r, want);
    }
    freeReplyObject(r);
}

double reply_info_at(const char *file, int line, redisContext *c, const char *section, const char *field)
{
    redisReply *r = *section ? reply_any_at(file, line, c, "INFO %s", section) : reply_any_at(file, line, c, "INFO");
    char key[128];
    snprintf(key, sizeof key, "\n%s:", field);
    char *at = r->type == REDIS_REPLY_STRING ? strstr(r->str, key) : NULL;
    if (!at) {
        print_error("INFO %s has no field %s\n", section, field);
        freeReplyObject(r);
        _fail(file, line);
    }
    double value = strtod(at + strlen(key), NULL);
    freeReplyObject(r);
    return value;
}
