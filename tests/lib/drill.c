#include "lib/drill.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/run.h"

#define SHOWN 20

static struct {
    char dir[128];
    uint64_t began;
    unsigned long failures;
} drill;

bool drill_full(void)
{
    const char *text = getenv("VECSTORE_DRILL");
    if (!drill.began)
        drill.began = clock_mono_ns();
    return text && strcmp(text, "full") == 0;
}

unsigned long drill_count(unsigned long full, unsigned long few)
{
    return drill_full() ? full : few;
}

const char *drill_dir(void)
{
    if (drill.dir[0])
        return drill.dir;
    if (run_make_directory("drill", drill.dir, sizeof(drill.dir)) != 0) {
        perror(drill.dir);
        exit(1);
    }
    return drill.dir;
}

void drill_failed(const char *fmt, ...)
{
    va_list ap;
    if (++drill.failures > SHOWN)
        return;
    fputs("FAILED: ", stdout);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

unsigned long drill_failures(void)
{
    return drill.failures;
}

void drill_add_failures(unsigned long n)
{
    drill.failures += n;
}

int drill_end(const char *name, unsigned long cases)
{
    if (drill.dir[0] && run_remove_directory(drill.dir) != 0)
        printf("%s stays\n", drill.dir);
    bool failed = drill.failures || !cases;
    /* As cmocka says it, for tests/run.sh. */
    printf("[==========] Running 1 test(s).\n[%s] %s\n", failed ? "  FAILED  " : "       OK ", name);
    printf("%s: %lu cases, %lu failed (%.1f s)\n", name, cases, drill.failures,
           (double)(clock_mono_ns() - drill.began) / 1e9);
    return failed;
}

/* What a child tells: shared memory, which stays when it crashes. */
struct report {
    unsigned long at, failures;
};

void drill_forked(unsigned long from, unsigned long to, unsigned long step, unsigned long group,
                  void (*one)(void *arg, unsigned long i), void *arg)
{
    struct report *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    while (from < to) {
        int status;
        r->at = from;
        r->failures = 0;
        fflush(stdout);
        pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            exit(1);
        }
        if (pid == 0) {
            unsigned long before = drill.failures;
            for (unsigned long n = 0; n < group && from < to; n++, from += step) {
                r->at = from;
                one(arg, from);
                r->failures = drill.failures - before;
            }
            r->at = from;
            fflush(stdout);
            _exit(0);
        }
        if (waitpid(pid, &status, 0) != pid) {
            perror("waitpid");
            exit(1);
        }
        drill.failures += r->failures;
        from = r->at;
        if (!WIFEXITED(status) || WEXITSTATUS(status)) {
            drill_failed("case %lu ended its process (status %d)", r->at, status);
            from += step;
        }
    }
    munmap(r, sizeof(*r));
}
