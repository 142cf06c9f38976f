/* One server and two plain connections to it, one that speaks RESP2 and one that speaks RESP3: what each answers to an
 * inline command, byte for byte.
 *
 *   struct both b = both_start(NULL);
 *   both_talk(&b, "VREM k a", ":0\r\n", "#f\r\n");     first over RESP2, then over RESP3
 *   both_same(&b, "VCARD k", ":0\r\n");
 *   both_stop(&b);
 *
 * Each fails the running test (cmocka), naming its line. One thread. */
#ifndef INTEGRATION_LIB_BOTH_H
#define INTEGRATION_LIB_BOTH_H

#include "integration/lib/raw.h"
#include "integration/lib/server.h"

struct both {
    struct test_server *server;
    int two, three;
};

struct both both_start(const char *const *args);
void both_stop(struct both *b);

#define both_two(b, command, expected) raw_talk((b)->two, command "\r\n", expected)
#define both_three(b, command, expected) raw_talk((b)->three, command "\r\n", expected)
#define both_talk(b, command, expected2, expected3) (both_two(b, command, expected2), both_three(b, command, expected3))
#define both_same(b, command, expected) both_talk(b, command, expected, expected)
/* True and false, and null. */
#define both_yes(b, command) both_talk(b, command, ":1\r\n", "#t\r\n")
#define both_no(b, command) both_talk(b, command, ":0\r\n", "#f\r\n")
#define both_null(b, command) both_talk(b, command, "$-1\r\n", "_\r\n")
/* An error in full, without "-" and CRLF. */
#define both_error(b, command, text) both_same(b, command, "-" text "\r\n")

#endif
