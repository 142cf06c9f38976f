/* The options that VADD and VMADD share, and what they mean for an index that is there and for one that is not. */
#ifndef CMD_ADD_OPTIONS_H
#define CMD_ADD_OPTIONS_H

#include "cmd/args.h"

struct add_options {
    bool has_type, has_originals, has_m, has_ef;
    enum vec_type type;
    enum vec_originals originals;
    uint32_t m, ef;
    enum vs_add_mode mode;
    uint32_t input_dim;                 /* of an index that is created: it reduces from so many components; 0: it does not */
    const struct resp_arg *partition;   /* NULL: not given */
    uint64_t deadline_ms;               /* EX, PX, EXAT, PXAT; 0: not given */
    bool keep_deadline;                 /* KEEPTTL */
};

enum add_taken { ADD_TAKEN, ADD_UNKNOWN, ADD_ERROR /* written */ };

/* Takes one option at the cursor. */
enum add_taken add_options_take(struct cmd_call *call, struct args *a, struct add_options *o);
/* Do the given ones agree with the index? False: the error is written. */
bool add_options_check(struct resp_writer *w, const struct add_options *o, const struct vs_index *index);
/* Are indexes created by their first element? False: the error is written. */
bool add_options_may_create(struct cmd_call *call);
/* Creates argv[1]'s index for vectors of `dim`, if that is allowed; NULL: the error is written. */
struct vs_index *add_options_create(struct cmd_call *call, const struct add_options *o, uint32_t dim);
/* Can a vector of `got` components be reduced to the `reduce` (0: not given) asked for, in this index? False: the error is written. */
bool add_options_reduce(struct resp_writer *w, const struct vs_index *index, uint32_t reduce, uint32_t got);
/* Is the element's place the partition asked for? False: the error is written. */
bool add_options_place(struct resp_writer *w, const struct add_options *o, const struct vs_index *index,
                       const struct resp_arg *id);

/* "got %u but set has %u". */
void add_options_dim_error(struct resp_writer *w, uint32_t got, uint32_t has);
/* May this id and these attributes (NULL: none) be stored in this index (NULL: one to be created)? False: the error is written. */
bool add_options_element(struct resp_writer *w, const struct vs_index *index, const struct resp_arg *id,
                         const struct resp_arg *attributes);
/* What vs_add answered, other than VS_OK, VS_BACKLOG, and VS_EXISTS or VS_NOTFOUND under NX or XX. */
void add_options_failed(struct resp_writer *w, const struct vs_index *index, enum vs_status status,
                        const struct vs_added *added);

#endif
