/* Commands and what they must answer. Each runs one command on a hiredis connection, printf-style as redisCommand, and
 * fails the running test, naming its line and the command, when the reply is another. One thread. */
#ifndef INTEGRATION_LIB_REPLY_H
#define INTEGRATION_LIB_REPLY_H

#include <hiredis/hiredis.h>
#include <stddef.h>

/* Any reply; the caller frees it by freeReplyObject. */
#define reply_any(c, ...) reply_any_at(__FILE__, __LINE__, c, __VA_ARGS__)
/* The same from an argument vector; `lens` NULL: strings. */
#define reply_argv(c, argc, argv, lens) reply_argv_at(__FILE__, __LINE__, c, argc, argv, lens)
/* A simple string. */
#define reply_status(c, expected, ...) reply_status_at(__FILE__, __LINE__, c, expected, __VA_ARGS__)
#define reply_int(c, expected, ...) reply_int_at(__FILE__, __LINE__, c, expected, __VA_ARGS__)
/* An integer, whichever. */
#define reply_get_int(c, ...) reply_get_int_at(__FILE__, __LINE__, c, __VA_ARGS__)
/* A bulk string. */
#define reply_bulk(c, expected, ...) reply_bulk_at(__FILE__, __LINE__, c, expected, __VA_ARGS__)
#define reply_null(c, ...) reply_null_at(__FILE__, __LINE__, c, __VA_ARGS__)
/* An error that begins with `prefix`. */
#define reply_error(c, prefix, ...) reply_error_at(__FILE__, __LINE__, c, prefix, __VA_ARGS__)
/* An array of `count` elements (-1: of any number); the caller frees it. */
#define reply_array(c, count, ...) reply_array_at(__FILE__, __LINE__, c, count, __VA_ARGS__)
/* A bulk or simple string that contains `part`. */
#define reply_contains(c, part, ...) reply_contains_at(__FILE__, __LINE__, c, part, __VA_ARGS__)
/* The number after `field:` in an INFO of `section` ("" for the default). */
#define reply_info(c, section, field) reply_info_at(__FILE__, __LINE__, c, section, field)

redisReply *reply_any_at(const char *file, int line, redisContext *c, const char *fmt, ...);
redisReply *reply_argv_at(const char *file, int line, redisContext *c, int argc, const char *const *argv, const size_t *lens);
void reply_status_at(const char *file, int line, redisContext *c, const char *expected, const char *fmt, ...);
void reply_int_at(const char *file, int line, redisContext *c, long long expected, const char *fmt, ...);
long long reply_get_int_at(const char *file, int line, redisContext *c, const char *fmt, ...);
void reply_bulk_at(const char *file, int line, redisContext *c, const char *expected, const char *fmt, ...);
void reply_null_at(const char *file, int line, redisContext *c, const char *fmt, ...);
void reply_error_at(const char *file, int line, redisContext *c, const char *prefix, const char *fmt, ...);
redisReply *reply_array_at(const char *file, int line, redisContext *c, long count, const char *fmt, ...);
void reply_contains_at(const char *file, int line, redisContext *c, const char *part, const char *fmt, ...);
double reply_info_at(const char *file, int line, redisContext *c, const char *section, const char *field);

#endif
