#include "server/notify.h"

#include <stdio.h>
#include <string.h>

#include "server/pubsub.h"

/* Letters of Redis for types that do not exist here are understood, and nothing comes of them. */
static const struct {
    char letter;
    unsigned classes;
} letters[] = {
    {'K', EVENT_BY_KEY},  {'E', EVENT_BY_NAME}, {'g', EVENT_GENERIC}, {'d', EVENT_VECTOR},
    {'x', EVENT_EXPIRED}, {'e', EVENT_EVICTED}, {'n', EVENT_NEW},     {'A', EVENT_ALL},
    {'$', 0},             {'l', 0},             {'s', 0},             {'h', 0},
    {'z', 0},             {'t', 0},             {'m', 0},
};

bool notify_parse(const char *text, unsigned *out)
{
    unsigned classes = 0;
    for (; *text; text++) {
        size_t i = 0, n = sizeof(letters) / sizeof(letters[0]);
        while (i < n && letters[i].letter != *text)
            i++;
        if (i == n)
            return false;
        classes |= letters[i].classes;
    }
    *out = classes;
    return true;
}

bool notify_apply(struct server *s)
{
    unsigned classes;
    if (!notify_parse(s->config->notify_keyspace_events, &classes))
        return false;
    /* Without K and E there is nowhere to publish to. */
    s->host.events = classes & (EVENT_BY_KEY | EVENT_BY_NAME) ? classes : 0;
    return true;
}

static void publish(struct server *s, const char *what, unsigned db, const void *of, size_t of_len,
                    const void *message, size_t len)
{
    struct buf channel = {0};
    char prefix[48];
    int n = snprintf(prefix, sizeof(prefix), "__%s@%u__:", what, db);
    if (buf_try_reserve(&channel, (size_t)n + of_len)) {
        buf_append(&channel, prefix, (size_t)n);
        buf_append(&channel, of, of_len);
        pubsub_publish(s, channel.data, channel.len, message, len);
    }
    buf_release(&channel);
}

void notify_event(struct cmd_host *host, unsigned db, const char *event, const char *key,
                  size_t len)
{
    struct server *s = host->server;
    if (!pubsub_heard(s->pubsub))
        return;
    if (host->events & EVENT_BY_KEY)
        publish(s, "keyspace", db, key, len, event, strlen(event));
    if (host->events & EVENT_BY_NAME)
        publish(s, "keyevent", db, event, strlen(event), key, len);
}
