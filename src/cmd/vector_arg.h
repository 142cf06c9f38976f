/* Vectors as clients send them: FP32, FP16, BF16 and I8 blobs, and VALUES n v1 .. vn.
 *
 *   FP32  little-endian IEEE single precision, 4 bytes a component
 *   FP16  little-endian IEEE half precision, 2 bytes
 *   BF16  the upper half of an FP32, 2 bytes
 *   I8    a signed byte, which is the component's value
 *
 * An FP32 blob that lies aligned in the input is not copied. Many VALUES take their time to read: they are read in slices
 * (VECTOR_AGAIN; what is read so far stands in call->state). NaN and infinity are refused with their position.
 * Loop thread only. */
#ifndef CMD_VECTOR_ARG_H
#define CMD_VECTOR_ARG_H

#include "cmd/args.h"

enum vector_format { VECTOR_FP32, VECTOR_FP16, VECTOR_BF16, VECTOR_I8, VECTOR_VALUES };

struct vector_arg {
    const float *data;   /* dim floats, aligned: the input's, `scratch`, or call->state's */
    uint32_t dim;
    float *scratch;      /* owned; kept from one blob to the next */
    size_t scratch_cap;  /* floats */
};

enum vector_result {
    VECTOR_OK,
    VECTOR_ERROR,        /* the error is written */
    VECTOR_AGAIN         /* answer CMD_AGAIN */
};

void vector_arg_release(struct vector_arg *v);
/* Takes FP32 | FP16 | BF16 | I8 when one stands next. */
bool vector_arg_format(struct args *a, enum vector_format *out);
/* Bytes a component; not for VALUES. */
size_t vector_arg_width(enum vector_format f);
/* Makes `v` the vector of a blob. False: the error is written to `w`. */
bool vector_arg_blob(struct resp_writer *w, enum vector_format f, const struct resp_arg *blob, struct vector_arg *v);
/* Takes (FP32 | FP16 | BF16 | I8) blob or VALUES n v1 .. vn. */
enum vector_result vector_arg_take(struct cmd_call *call, struct args *a, struct vector_arg *v);
/* Projects it when it has as many components as the index projects from. False: the error is written. */
bool vector_arg_reduce(struct resp_writer *w, const struct vs_index *index, struct vector_arg *v);

#endif
