/* Which VecStore this is. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

const char *version_text(void);    /* "0.1.0" */
const char *version_commit(void);  /* eight digits of the git commit, "-dirty" after them when sources had changed */

#endif
