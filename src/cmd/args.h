/* Walking over a command's arguments: a cursor, and the errors that all commands word alike.
 *
 * Positional arguments are taken by args_next before any option is looked for, so that an id or a key that looks
 * like an option word is never mistaken for one. Loop thread only. */
#ifndef CMD_ARGS_H
#define CMD_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/command.h"

struct args {
    const struct resp_arg *v;
    size_t n;
    size_t at;  /* the next one */
};

static inline struct args args_from(const struct cmd_call *call, size_t at)
{
    return (struct args){ .v = call->argv, .n = call->argc, .at = at };
}
static inline size_t args_left(const struct args *a)
{
    return a->n - a->at;
}
static inline const struct resp_arg *args_peek(const struct args *a)
{
    return a->at < a->n ? &a->v[a->at] : NULL;
}
/* The next argument, taken; NULL at the end. */
static inline const struct resp_arg *args_next(struct args *a)
{
    return a->at < a->n ? &a->v[a->at++] : NULL;
}
/* Takes the next argument when it is this word, in any case. */
bool args_word(struct args *a, const char *word);
/* Takes the next argument as a whole number within [min, max]; false (nothing taken) when it is not one. */
bool args_int(struct args *a, long long min, long long max, long long *out);
bool args_double(struct args *a, double *out);
/* Takes a number that an option needs; false, and the error written, which calls it `what`. */
bool args_number(struct cmd_call *call, struct args *a, const char *what, long long min, long long max,
                 uint32_t *out);

/* Takes the next argument when it names an element type: NOQUANT, Q8, F16, BF16, Q4 or BIN. */
bool args_vec_type(struct args *a, enum vec_type *out);

/* The length of an argument as shown in an error, for "%.*s": long ones are cut. */
int args_shown(const struct resp_arg *a);

/* "ERR wrong number of arguments for '<command>' command" */
void args_wrong_number(struct cmd_call *call);
/* What a status of the engine is to a client. */
void args_status_error(struct resp_writer *w, enum vs_status status);

/* The same, naming the damaged partition of the index when that is what the status says. */
void args_index_error(struct resp_writer *w, const struct vs_index *index, enum vs_status status);

/* The index of the key in argv[at], or NULL. It counts as used. */
struct vs_index *args_index(struct cmd_call *call, size_t at);
/* The same, without that: for what only looks whether it is there, or of what kind. */
struct vs_index *args_look(struct cmd_call *call, size_t at);
/* Is the partition of this element open, or is there none to open? If not, the handler answers CMD_BACKLOG before it
 * has changed or written anything for the element, and is called again. `index` may be NULL. */
bool args_ready(const struct vs_index *index, const struct resp_arg *id);
/* Tells the server that the key in argv[at] was written to. */
void args_changed(struct cmd_call *call, size_t at);
/* Something of this class has happened to the key in argv[at] (keyspace events). After args_changed. */
static inline void args_event(struct cmd_call *call, unsigned class, const char *event, size_t at)
{
    cmd_event(call->host, class, call->db, event, call->argv[at].data, call->argv[at].len);
}
/* Removes the key in argv[at] when its index is empty and was not made to stay. True when it is gone. */
bool args_remove_if_empty(struct cmd_call *call, size_t at, struct vs_index *index);

/* Is this turn's slice of time used up? */
bool args_slice_over(const struct cmd_call *call);

#endif
