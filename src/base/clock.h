/* Clocks, in the unit their name says. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ns(void);        /* monotonic */
uint64_t clock_boot_ns(void);        /* monotonic, and goes on while the machine sleeps */
uint64_t clock_wall_ms(void);        /* since the epoch */
uint64_t clock_wall_us(void);
uint64_t clock_thread_cpu_ns(void);  /* CPU time of the calling thread */

#endif
