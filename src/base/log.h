/* The log: one line an event, to a file or standard output, as Redis writes it:
 *   <pid>:<role> <date> <level mark> <message>
 * Any thread (one write() a line). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING, LOG_NOTHING };

/* `path` NULL or "" is standard output. False (and errno) when the file cannot be opened; the old
 * target stays. */
bool log_open(const char *path);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_set_syslog(bool on, const char *ident, int facility);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The descriptor log lines go to, for a crash report that must not allocate. */
int log_fd(void);

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_verbose(...) log_write(LOG_VERBOSE, __VA_ARGS__)
#define log_notice(...) log_write(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)

#endif
