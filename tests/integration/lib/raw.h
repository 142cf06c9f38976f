/* Raw bytes over a socket of server_socket(): RESP3, broken protocol, half commands, clients that never read. Each fails the
 * running test, naming its line. Receiving has a deadline of 20 seconds. One thread. */
#ifndef INTEGRATION_LIB_RAW_H
#define INTEGRATION_LIB_RAW_H

#include <stddef.h>

#define raw_send(fd, data, len) raw_send_at(__FILE__, __LINE__, fd, data, len)
/* A string's bytes. */
#define raw_puts(fd, text) raw_puts_at(__FILE__, __LINE__, fd, text)
/* The next bytes must be exactly these. */
#define raw_expect(fd, text) raw_expect_at(__FILE__, __LINE__, fd, text)
/* raw_puts, then raw_expect. */
#define raw_talk(fd, send, expected) (raw_puts(fd, send), raw_expect(fd, expected))
/* The next line, without its CRLF, into `out`; fails when it is longer than `size` - 1. */
#define raw_line(fd, out, size) raw_line_at(__FILE__, __LINE__, fd, out, size)
/* Exactly `len` bytes. */
#define raw_read(fd, out, len) raw_read_at(__FILE__, __LINE__, fd, out, len)
/* The server must close the connection; what it still sends before is dropped. */
#define raw_expect_closed(fd) raw_expect_closed_at(__FILE__, __LINE__, fd)

void raw_send_at(const char *file, int line, int fd, const void *data, size_t len);
void raw_puts_at(const char *file, int line, int fd, const char *text);
void raw_expect_at(const char *file, int line, int fd, const char *text);
void raw_line_at(const char *file, int line, int fd, char *out, size_t size);
void raw_read_at(const char *file, int line, int fd, void *out, size_t len);
void raw_expect_closed_at(const char *file, int line, int fd);

#endif
