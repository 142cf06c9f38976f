/* Long tuples on the right of `in`: a question for each element would take microseconds a candidate, so their numbers are
 * sorted and their strings hashed when the filter is made. Answers are those that the elements would give one by one. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "store/filter.h"

struct filter_set {
    const uint8_t **string;          /* open addressing: where the element begins; NULL: free */
    size_t mask;
    uint64_t seed;                   /* nobody's guess, so that no tuple can be made to collide */
    double *number, *read;           /* sorted: of numbers; of strings, read as such. What is none in RICH mode is left out */
    size_t nnumber, nread;
    bool null;
};

static int compare_numbers(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static bool has_number(const double *a, size_t n, double x)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (a[mid] < x)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && a[lo] == x;
}

/* Its place, or the free one where it would stand. */
static const uint8_t **string_place(const struct filter_set *s, const struct attr_value *v)
{
    size_t at = (size_t)hash_bytes(v->at, v->len, s->seed) & s->mask;
    for (; s->string[at]; at = (at + 1) & s->mask) {
        struct attr_value other;
        attr_next(s->string[at], &other);
        if (other.len == v->len && memcmp(other.at, v->at, v->len) == 0)
            break;
    }
    return &s->string[at];
}

void filter_set_free(struct filter_set *s)
{
    if (!s)
        return;
    mem_free(s->string);
    mem_free(s->number);
    mem_free(s->read);
    mem_free(s);
}

struct filter_set *filter_set_new(const struct attr_value *tuple, bool rich)
{
    struct filter_set *s = mem_try_zalloc(sizeof(*s));
    if (!s)
        return NULL;
    s->seed = hash_mix(clock_mono_ns() ^ (uintptr_t)s);
    for (s->mask = 15; s->mask < 2 * (size_t)tuple->len; s->mask = 2 * s->mask + 1)
        ;
    s->string = mem_try_zalloc((s->mask + 1) * sizeof(*s->string));
    s->number = mem_try_alloc(tuple->len * sizeof(*s->number));
    s->read = mem_try_alloc(tuple->len * sizeof(*s->read));
    if (!s->string || !s->number || !s->read) {
        filter_set_free(s);
        return NULL;
    }
    const uint8_t *at = tuple->at;
    for (uint32_t i = 0; i < tuple->len; i++) {
        const uint8_t *begin = at;
        struct attr_value v;
        at = attr_next(at, &v);
        double x = filter_number(&v, rich);
        if (v.tag == ATTR_NULL) {
            s->null = true;
        } else if (v.tag == ATTR_STRING) {
            *string_place(s, &v) = begin;
            if (x == x)
                s->read[s->nread++] = x;
        } else if (x == x) {
            s->number[s->nnumber++] = x;
        }
    }
    qsort(s->number, s->nnumber, sizeof(*s->number), compare_numbers);
    qsort(s->read, s->nread, sizeof(*s->read), compare_numbers);
    return s;
}

bool filter_set_has(const struct filter_set *s, const struct attr_value *v, bool rich)
{
    double x = filter_number(v, rich);
    switch (v->tag) {
    case ATTR_NULL: return s->null;
    case ATTR_STRING: return *string_place(s, v) || has_number(s->number, s->nnumber, x);
    case ATTR_ARRAY:
        if (rich)
            return false;
        break;
    case ATTR_NUMBER: break;
    default: return false;
    }
    return has_number(s->number, s->nnumber, x) || has_number(s->read, s->nread, x);
}
