/* Metrics: how near two vectors are.
 *
 * Inside the engine every metric is a "distance" to be made small:
 *   COSINE  1 - cos(q, x), 0..2 (an all-zero vector has cosine 0 with everything)
 *   L2      squared Euclidean distance
 *   IP      minus the inner product
 * What users see is the score: COSINE (1 + cos) / 2, L2 the Euclidean distance, IP the inner product. */
#ifndef VEC_METRIC_H
#define VEC_METRIC_H

#include <math.h>

enum vec_metric { VEC_COSINE, VEC_L2, VEC_IP, VEC_METRICS };

/* "cosine", "l2", "ip". */
const char *vec_metric_name(enum vec_metric m);

/* What a cosine may be off by the rounding of its sums: a vector's score with itself is 1, not 0.99999997. */
#define VEC_COSINE_NOISE 0x1p-21f

static inline double vec_score(enum vec_metric m, float distance)
{
    switch (m) {
    case VEC_COSINE:
        if (distance < VEC_COSINE_NOISE)
            return 1;
        return distance > 2 - VEC_COSINE_NOISE ? 0 : 1.0 - (double)distance / 2;
    case VEC_L2: return sqrt(distance > 0 ? (double)distance : 0);
    default: return -(double)distance;
    }
}

#endif
