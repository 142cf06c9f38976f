/* Waiting for a condition with a deadline: what tests do instead of sleeping. Any thread. */
#ifndef LIB_WAIT_H
#define LIB_WAIT_H

#include <stdbool.h>
#include <stdint.h>

/* Asks `condition` every few milliseconds until it is true, or `deadline_ms` have passed; its last answer. */
bool wait_until(bool (*condition)(void *arg), void *arg, int deadline_ms);

/* Milliseconds on a clock that never steps. */
int64_t wait_now_ms(void);

#endif
