/* What drills share: how many cases, the seed, the outcome.
 *
 * A drill is a program that prints what it did and ends with 0, or 1 when a case failed.
 * VECSTORE_DRILL=full asks for all cases, else it does the few that every test run can afford.
 * The seed is that of lib/run.h. */
#ifndef LIB_DRILL_H
#define LIB_DRILL_H

#include <stdbool.h>
#include <stdint.h>

bool drill_full(void);
/* `full` of them or `few`. */
unsigned long drill_count(unsigned long full, unsigned long few);
/* A directory of this process's own, removed by drill_end. Ends the program when it cannot be made. */
const char *drill_dir(void);

/* Prints one line about a case that failed. The first 20 are shown. */
void drill_failed(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
unsigned long drill_failures(void);
/* For cases run in a child process: adds its failures. */
void drill_add_failures(unsigned long n);
/* "<name>: N cases, M failed (T s)"; what main returns. */
int drill_end(const char *name, unsigned long cases);

/* Runs `one(arg, i)` for i in from..to-1 in child processes, `group` at a time, so that a crash is a
 * failed case: the children report which one. Threads must not be running. */
void drill_forked(unsigned long from, unsigned long to, unsigned long step, unsigned long group,
                  void (*one)(void *arg, unsigned long i), void *arg);

#endif
