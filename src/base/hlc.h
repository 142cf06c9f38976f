/* The hybrid logical clock: times that never repeat or go back, close to the wall clock.
 *
 *     63                  16 15       0
 *     | milliseconds, 48 bit | counter |
 *
 * A reading is the wall clock's, or one more than the last when that is not behind it (Kulkarni et
 * al., OPODIS 2014, with the logical part in the low bits). What was seen in files and from peers
 * is taken into account, so that nothing done after it gets an earlier time. One owner. */
#ifndef BASE_HLC_H
#define BASE_HLC_H

#include <stdbool.h>
#include <stdint.h>

/* How far a seen time may be ahead of the wall clock before somebody should look at the clocks. */
#define HLC_AHEAD_MAX_MS (24ull * 3600 * 1000)

struct hlc {
    uint64_t last;
};

/* The next time, above all before. */
uint64_t hlc_next(struct hlc *h, uint64_t wall_ms);
/* What comes next is above `seen`, however far that is ahead: a time that was given once is given to nothing
 * later, whatever became of the clock. False when it is more than HLC_AHEAD_MAX_MS ahead of the wall
 * clock: the caller says so. */
bool hlc_observe(struct hlc *h, uint64_t seen, uint64_t wall_ms);
static inline uint64_t hlc_ms(uint64_t time)
{
    return time >> 16;
}

#endif
