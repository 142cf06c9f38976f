/* Times at which something ends, as commands give them: by Redis' rules, for keys and for elements. */
#ifndef CMD_DEADLINE_H
#define CMD_DEADLINE_H

#include "cmd/args.h"

enum deadline_form { DEADLINE_SECONDS = 1, DEADLINE_ABSOLUTE = 2 }; /* bits; else milliseconds, from now on */

/* Milliseconds since 1970 of an argument; it may lie in the past, before 1970 too. False: the error is written. */
bool deadline_parse(struct cmd_call *call, const struct resp_arg *a, unsigned form, long long *out);
/* The same of an option: from now on only more than nothing, and no time before 1970. */
bool deadline_parse_option(struct cmd_call *call, const struct resp_arg *a, unsigned form, uint64_t *out);

/* NX, XX, GT, LT of the EXPIRE commands. */
struct deadline_condition {
    bool nx, xx, gt, lt;
};
/* Takes all arguments that are left. False: the error is written. */
bool deadline_take_condition(struct cmd_call *call, struct args *a, struct deadline_condition *out);
/* May what has this deadline (0: none) get this one? */
bool deadline_meets(const struct deadline_condition *c, uint64_t has, long long when);

/* What a TTL command answers of a deadline: milliseconds or seconds left, or, absolute, the time itself; -1 of none. */
long long deadline_answer(const struct cmd_call *call, uint64_t deadline_ms, unsigned form);

#endif
