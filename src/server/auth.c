#include "server/auth.h"

#include <string.h>

bool auth_check(const struct server *s, const struct resp_arg *user,
                const struct resp_arg *password)
{
    const char *want = s->config->requirepass;
    size_t want_len = strlen(want);
    bool known = !user || (user->len == 7 && memcmp(user->data, "default", 7) == 0);
    if (want_len == 0)
        return known; /* without a password the default user may come in with any */
    unsigned char differ = want_len != password->len;
    for (size_t i = 0; i < password->len; i++)
        differ |= (unsigned char)(password->data[i] ^ want[i % want_len]);
    return known && !differ;
}

void auth_refuse(struct resp_writer *w)
{
    resp_error(w, "WRONGPASS invalid username-password pair or user is disabled.");
}
