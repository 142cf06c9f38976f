/* Glob patterns as KEYS, SCAN and CONFIG GET understand them: * ? [abc] [^a] [a-z] and \ before a
 * character to take it literally. Any thread. */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Does all of `text` match `pattern`? Both may hold any bytes. `fold`: ASCII letters match in
 * either case. Takes time in proportion to pattern times text at worst, and no recursion, whatever
 * the pattern. */
bool glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len,
                bool fold);

#endif
