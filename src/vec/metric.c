#include "vec/metric.h"

const char *vec_metric_name(enum vec_metric m)
{
    switch (m) {
    case VEC_COSINE: return "cosine";
    case VEC_L2: return "l2";
    default: return "ip";
    }
}
