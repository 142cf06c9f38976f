/* The log, see log.h. A line is built on the stack and leaves by one write(), so lines of several threads do not mix.
 * The target's descriptor number never changes once a file was opened: a new target is put under the old number, so
 * that a thread that is just writing never meets a closed or reused descriptor. */
#include <syslog.h>
/* Its names for priorities are macros; ours, from the enumeration, shall stand. */
#undef LOG_DEBUG
#undef LOG_NOTICE
#undef LOG_WARNING

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE 2048

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int target = STDOUT_FILENO;
static atomic_int threshold = LOG_NOTICE;
static atomic_bool to_syslog;

bool log_open(const char *path)
{
    bool plain = !path || !*path;
    pthread_mutex_lock(&open_lock);
    int fd = plain ? STDOUT_FILENO : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    bool ok = fd >= 0;
    int old = atomic_load(&target);
    if (ok && old == STDOUT_FILENO) {
        atomic_store(&target, fd);
    } else if (ok) {
        ok = dup3(fd, old, O_CLOEXEC) >= 0;
        int error = errno;
        if (!plain)
            close(fd);
        errno = error;
    }
    pthread_mutex_unlock(&open_lock);
    return ok;
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

void log_set_syslog(bool on, const char *ident, int facility)
{
    atomic_store(&to_syslog, false);
    closelog();
    if (on) {
        openlog(ident, LOG_PID | LOG_NDELAY | LOG_NOWAIT, facility);
        atomic_store(&to_syslog, true);
    }
}

int log_fd(void)
{
    return atomic_load(&target);
}

static int syslog_priority(enum log_level level)
{
    static const int priority[] = {7, LOG_INFO, 5, 4}; /* RFC 5424's numbers of what was undefined above */
    return priority[level];
}

void log_write(enum log_level level, const char *fmt, ...)
{
    if ((int)level < (int)log_get_level() || (unsigned)level > 3)
        return;
    char line[LOG_LINE];
    struct timeval now;
    struct tm tm;
    gettimeofday(&now, NULL);
    localtime_r(&now.tv_sec, &tm);
    size_t at = (size_t)snprintf(line, 32, "%d:M ", (int)getpid());
    at += strftime(line + at, 32, "%d %b %Y %H:%M:%S", &tm);
    at += (size_t)snprintf(line + at, 16, ".%03d %c ", (int)(now.tv_usec / 1000), ".-*#"[level]);
    size_t text = at;

    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line + at, sizeof(line) - at - 1, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    at += (size_t)n < sizeof(line) - at - 1 ? (size_t)n : sizeof(line) - at - 2;
    /* What a client sent may be part of the message: it shall not be able to forge a line. */
    for (size_t i = text; i < at; i++)
        if ((unsigned char)line[i] < ' ' && line[i] != '\t')
            line[i] = '?';
    if (atomic_load_explicit(&to_syslog, memory_order_relaxed))
        syslog(syslog_priority(level), "%.*s", (int)(at - text), line + text);
    line[at++] = '\n';
    int error = errno;
    if (write(atomic_load(&target), line, at) < 0)
        errno = error;   /* there is nowhere left to complain to */
}
