/* The Makefile defines both macros; the commit for this file alone, so that a new one recompiles nothing else. */
#include "base/version.h"

#ifndef VS_GIT_COMMIT
#define VS_GIT_COMMIT "00000000"
#endif

const char *version_text(void)
{
    return VS_VERSION;
}

const char *version_commit(void)
{
    return VS_GIT_COMMIT;
}
