/* A key of numbered elements, for tests of what is kept: docs_add puts e<from> .. e<to - 1> with attributes {"n":<i>} into it,
 * docs_check expects just e0 .. e<n - 1>. Both fail the running test. One thread. */
#ifndef INTEGRATION_LIB_DOCS_H
#define INTEGRATION_LIB_DOCS_H

#include <hiredis/hiredis.h>

void docs_add(redisContext *c, const char *key, int from, int to);
void docs_check(redisContext *c, const char *key, int n);

#endif
