#include "lib/wait.h"

#include <poll.h>
#include <stddef.h>
#include <time.h>

#define STEP_MS 5

int64_t wait_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool wait_until(bool (*condition)(void *arg), void *arg, int deadline_ms)
{
    int64_t end = wait_now_ms() + deadline_ms;
    while (!condition(arg)) {
        if (wait_now_ms() >= end)
            return condition(arg);
        poll(NULL, 0, STEP_MS);
    }
    return true;
}
