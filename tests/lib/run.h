/* How a test program is run: VECSTORE_SEED=n repeats a run, VECSTORE_TEST_QUICK=1 shortens it. */
#ifndef LIB_RUN_H
#define LIB_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The seed of all that is random; the first call prints it. */
uint64_t run_seed(void);
/* Was it asked to be short, as the sanitizer phases are? */
bool run_quick(void);

/* Is this a build with ThreadSanitizer? It looks for races, at twenty times the time: what no second thread takes part in
 * need not be repeated there. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RUN_RACES true
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define RUN_RACES true
#endif
#ifndef RUN_RACES
#define RUN_RACES false
#endif

/* A new folder under TMPDIR (or /tmp); its path, shorter than `size`. 0, or -1. */
int run_make_directory(const char *name, char *dir, size_t size);
/* Removes a folder, if it is there, with all that is in it. 0, or -1. */
int run_remove_directory(const char *dir);

#endif
