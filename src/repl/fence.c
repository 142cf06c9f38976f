#include "repl/fence.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"

#define FIELDS      8
#define ADDRESS_MAX 300 /* a name or an address, and a port */

struct sentinel {
    char id[41];
    char address[ADDRESS_MAX]; /* its own */
    uint64_t heard_ms;
    uint64_t epoch; /* of the primary that it names .. */
    bool names_us;  /* .. which is this node */
};

struct fence {
    struct fence_options o;
    struct sentinel at[FENCE_SENTINELS];
    size_t n;
    bool follows;
    enum fence_state state;
    uint64_t turn_ms;       /* of the last turn; 0: none was watched */
    uint64_t since_ms;      /* hellos count from here on .. */
    bool awaits_first;      /* .. which is set by the next one */
    uint64_t own_epoch;     /* the highest that named us */
    uint64_t voted_epoch;   /* the highest that sentinels vote in */
    uint64_t looked_ms, closed_ms, closings;
    bool armed;             /* a quorum has been heard */
    char other[ADDRESS_MAX]; /* the last one named that is not us */
    char error[160];
};

struct hello {
    struct sentinel from;
    uint64_t current_epoch;
    char primary[ADDRESS_MAX], primary6[ADDRESS_MAX]; /* "address:port", "[address]:port" */
};

static const char *const state_names[] = {"open", "stalled", "silent", "superseded"};

struct fence *fence_new(void)
{
    return mem_zalloc(sizeof(struct fence));
}

void fence_free(struct fence *f)
{
    mem_free(f);
}

bool fence_is_watching(const struct fence *f)
{
    return f->n > 0;
}

size_t fence_sentinels(const struct fence *f)
{
    return f->n;
}

size_t fence_quorum(const struct fence *f)
{
    return f->o.quorum ? f->o.quorum : f->n / 2 + 1;
}

enum fence_state fence_state(const struct fence *f)
{
    return f->state;
}

const char *fence_state_name(enum fence_state state)
{
    return state_names[state];
}

const char *fence_error(const struct fence *f)
{
    return f->state == FENCE_OPEN ? NULL : f->error;
}

uint64_t fence_closings(const struct fence *f)
{
    return f->closings;
}

/* ---- open and closed ---- */

static void explain(struct fence *f, enum fence_state state)
{
    static const char *const why[] = {
        "", "it did not run for a while", "its sentinels are not heard",
        "its sentinels name another primary"};
    /* READONLY is what makes clients ask Sentinel for another primary. Of PING's errors Sentinel takes
     * LOADING and MASTERDOWN for signs of life: not this one. */
    const char *text = "READONLY This primary is fenced, ";
    size_t len = strlen(text);
    memcpy(f->error, text, len);
    memcpy(f->error + len, why[state], strlen(why[state]) + 1);
}

static void close_it(struct fence *f, enum fence_state state, uint64_t now_ms)
{
    if (f->state == FENCE_OPEN) {
        f->closed_ms = now_ms;
        f->closings++;
        log_warning("Writes are refused from now on: this primary is fenced (%s; sentinels known: %zu, "
                    "quorum: %zu)",
                    state_names[state], f->n, fence_quorum(f));
        if (state == FENCE_SUPERSEDED)
            log_warning("Sentinel says that the primary is %s. Should that be this node, say so by "
                        "replica-announce-ip and replica-announce-port",
                        f->other);
    }
    f->state = state;
    explain(f, state);
}

static void open_it(struct fence *f, uint64_t now_ms, const char *why)
{
    if (f->state != FENCE_OPEN)
        log_warning("Writes are taken again: %s (the fence was %s for %llu ms)", why, state_names[f->state],
                    (unsigned long long)(now_ms > f->closed_ms ? now_ms - f->closed_ms : 0));
    f->state = FENCE_OPEN;
}

static void count_later(struct fence *f, uint64_t from_ms)
{
    if (from_ms > f->since_ms)
        f->since_ms = from_ms;
}

static bool recent(const struct sentinel *s, uint64_t now_ms, uint64_t within_ms)
{
    return s->heard_ms + within_ms > now_ms;
}

/* Those that were heard lately, and do not name another of a higher epoch. */
static size_t count_heard(const struct fence *f, uint64_t now_ms)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        n += recent(&f->at[i], now_ms, f->o.hello_ms) &&
             (f->at[i].names_us || f->at[i].epoch <= f->own_epoch);
    return n;
}

static size_t count_others(const struct fence *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        n += !f->at[i].names_us && f->at[i].epoch > f->own_epoch;
    return n;
}

/* Those that say, in hellos that count, that we are the primary of the highest epoch. */
static size_t count_confirming(const struct fence *f, uint64_t now_ms)
{
    size_t n = 0;
    uint64_t top = f->own_epoch;
    if (f->awaits_first)
        return 0;
    for (size_t i = 0; i < f->n; i++)
        if (recent(&f->at[i], now_ms, FENCE_RECENT_MS) && f->at[i].epoch > top)
            top = f->at[i].epoch;
    for (size_t i = 0; i < f->n; i++)
        n += f->at[i].names_us && f->at[i].epoch >= top && f->at[i].heard_ms >= f->since_ms;
    return n;
}

static void forget_old(struct fence *f, uint64_t now_ms)
{
    for (size_t i = 0; i < f->n;) {
        if (recent(&f->at[i], now_ms, FENCE_FORGET_MS))
            i++;
        else
            f->at[i] = f->at[--f->n];
    }
    if (f->n == 0)
        f->armed = false;
}

static bool look(struct fence *f, uint64_t now_ms)
{
    f->looked_ms = now_ms;
    f->armed |= f->n >= fence_quorum(f);
    if (f->follows || !f->armed || f->state != FENCE_OPEN)
        return false;
    if (count_others(f) >= fence_quorum(f)) {
        count_later(f, now_ms);
        close_it(f, FENCE_SUPERSEDED, now_ms);
    } else if (f->o.hello_ms && count_heard(f, now_ms) < fence_quorum(f)) {
        f->awaits_first = true;
        close_it(f, FENCE_SILENT, now_ms);
    } else {
        forget_old(f, now_ms);
    }
    return f->state != FENCE_OPEN;
}

bool fence_turn(struct fence *f, uint64_t now_ms)
{
    uint64_t before = f->turn_ms;
    f->turn_ms = now_ms;
    if (f->n == 0)
        return false;
    bool stalled = f->o.stall_ms && before && now_ms > before + f->o.stall_ms;
    if (stalled && f->armed && !f->follows) {
        bool was_open = f->state == FENCE_OPEN;
        count_later(f, now_ms + FENCE_SETTLE_MS);
        if (was_open) {
            log_warning("The process did not run for %llu ms", (unsigned long long)(now_ms - before));
            close_it(f, FENCE_STALLED, now_ms);
        }
        return was_open;
    }
    return now_ms != f->looked_ms && look(f, now_ms);
}

void fence_lead(struct fence *f, uint64_t now_ms)
{
    f->follows = false;
    f->awaits_first = false;
    f->since_ms = 0;
    f->turn_ms = 0;
    /* The sentinels' next hellos may still name the primary before us, of an epoch that we know. */
    for (size_t i = 0; i < f->n; i++) {
        f->at[i].heard_ms = now_ms;
        if (f->at[i].epoch > f->own_epoch)
            f->own_epoch = f->at[i].epoch;
    }
    open_it(f, now_ms, "it was said that this node is the primary");
}

void fence_follow(struct fence *f)
{
    f->follows = true;
    f->awaits_first = false;
    f->since_ms = 0;
    f->state = FENCE_OPEN;
}

void fence_set_options(struct fence *f, const struct fence_options *o)
{
    f->o = *o;
    if ((f->state == FENCE_SILENT && !o->hello_ms) || (f->state == FENCE_STALLED && !o->stall_ms))
        open_it(f, f->turn_ms, "the rule that closed the fence is switched off");
}

/* ---- hellos ---- */

static bool parse_number(const char *at, size_t len, uint64_t *out)
{
    uint64_t n = 0;
    if (len == 0 || len > 19)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(at[i] - '0');
    }
    *out = n;
    return true;
}

struct field {
    const char *at;
    size_t len;
};

static bool split(const char *message, size_t len, struct field field[FIELDS])
{
    size_t n = 0;
    field[0] = (struct field){message, 0};
    for (size_t i = 0; i < len; i++) {
        if (message[i] <= ' ' || message[i] > '~')
            return false;
        if (message[i] != ',') {
            field[n].len++;
        } else {
            if (++n == FIELDS)
                return false;
            field[n] = (struct field){message + i + 1, 0};
        }
    }
    return n + 1 == FIELDS;
}

/* False: it does not fit, or is empty. */
static bool join(char out[ADDRESS_MAX], const char *open, const struct field *host, const char *close,
                 const struct field *port)
{
    size_t len = 0;
    const struct field parts[] = {{open, strlen(open)}, *host, {close, strlen(close)}, *port};
    if (host->len == 0 || port->len == 0 || host->len + port->len + 4 > ADDRESS_MAX)
        return false;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        memcpy(out + len, parts[i].at, parts[i].len);
        len += parts[i].len;
    }
    out[len] = 0;
    return true;
}

static bool parse(const char *message, size_t len, struct hello *h)
{
    struct field f[FIELDS];
    uint64_t port;
    if (len > 1024 || !split(message, len, f) ||
        !parse_number(f[1].at, f[1].len, &port) || port > 65535 ||
        !parse_number(f[3].at, f[3].len, &h->current_epoch) || !parse_number(f[6].at, f[6].len, &port) ||
        port > 65535 || !parse_number(f[7].at, f[7].len, &h->from.epoch) ||
        f[2].len != sizeof(h->from.id) - 1)
        return false;
    memcpy(h->from.id, f[2].at, f[2].len);
    return join(h->from.address, "", &f[0], ":", &f[1]) && join(h->primary, "", &f[5], ":", &f[6]) &&
           join(h->primary6, "[", &f[5], "]:", &f[6]);
}

/* A sentinel is its run id; another one at its address has taken its place. */
static struct sentinel *find(struct fence *f, const struct sentinel *from)
{
    struct sentinel *oldest = &f->at[0];
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->at[i].id, from->id) == 0)
            return &f->at[i];
    for (size_t i = 0; i < f->n; i++) {
        if (strcmp(f->at[i].address, from->address) == 0)
            return &f->at[i];
        if (f->at[i].heard_ms < oldest->heard_ms)
            oldest = &f->at[i];
    }
    return f->n < FENCE_SENTINELS ? &f->at[f->n++] : oldest;
}

bool fence_hello(struct fence *f, const char *message, size_t len, const char *const *self, size_t n,
                 uint64_t now_ms)
{
    struct hello h = {0};
    if (!parse(message, len, &h))
        return false;
    for (size_t i = 0; i < n; i++)
        h.from.names_us |=
            self[i] && (strcmp(self[i], h.primary) == 0 || strcmp(self[i], h.primary6) == 0);
    h.from.heard_ms = now_ms;
    if (f->n == 0)
        f->turn_ms = now_ms;
    if (f->awaits_first) {
        f->awaits_first = false;
        count_later(f, now_ms + FENCE_SETTLE_MS);
    }
    if (h.current_epoch > f->voted_epoch) {
        f->voted_epoch = h.current_epoch;
        if (f->state != FENCE_OPEN)
            count_later(f, now_ms + FENCE_ELECTION_MS);
    }
    *find(f, &h.from) = h.from;
    if (!h.from.names_us)
        memcpy(f->other, h.primary, sizeof(f->other));
    if (h.from.names_us && h.from.epoch > f->own_epoch)
        f->own_epoch = h.from.epoch;
    look(f, now_ms);
    if (f->state != FENCE_OPEN && count_confirming(f, now_ms) >= fence_quorum(f))
        open_it(f, now_ms, "the sentinels name this node as primary");
    return true;
}

void fence_info(const struct fence *f, struct buf *out)
{
    if (f->n == 0)
        return;
    buf_printf(out,
               "fence:%s\r\nfence_sentinels:%zu\r\nfence_quorum:%zu\r\nfence_epoch:%llu\r\nfence_closings:%llu\r\n",
               state_names[f->state], f->n, fence_quorum(f), (unsigned long long)f->own_epoch,
               (unsigned long long)f->closings);
}
