#include "lib/oracle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vec/project.h"

void oracle_init(struct oracle *o, unsigned client, uint64_t seed)
{
    memset(o, 0, sizeof *o);
    o->client = client;
    o->rng.state = hash_mix(seed * 64 + client);
    o->next_version = 1;
}

void oracle_key_name(const struct oracle *o, unsigned key, char out[16])
{
    if (key == 0)
        snprintf(out, 16, "shared");
    else
        snprintf(out, 16, "c%u:%u", o->client % 100, key % 100);
}

void oracle_id_name(const struct oracle *o, uint32_t id, char out[16])
{
    snprintf(out, 16, "c%u-%u", o->client % 100, id % 1000000);
}

/* The first component is the version, exact in a float; the others follow from it. */
void oracle_vector(const struct oracle *o, uint32_t version, float out[ORACLE_DIM])
{
    out[0] = (float)version;
    uint64_t x = hash_mix((uint64_t)o->client << 32 | version);
    for (int i = 1; i < ORACLE_DIM; i++) {
        x = hash_mix(x);
        out[i] = (float)((int64_t)(x >> 20) % 20000 - 10000) * (float)(version % 97 + 1) / 16;
    }
}

/* ORACLE_DIM is a power of two, so that REDUCE is a rotation: the first component is the product with where it takes the first axis,
 * up to rounding. */
static double first_component(const float rotated[ORACLE_DIM])
{
    float axis[ORACLE_DIM] = {1}, tmp[ORACLE_DIM];
    double sum = 0;
    vec_project(ORACLE_SEED, axis, ORACLE_DIM, tmp, ORACLE_DIM, axis);
    for (int i = 0; i < ORACLE_DIM; i++)
        sum += (double)axis[i] * rotated[i];
    return sum;
}

uint32_t oracle_version(const struct oracle *o, const float vector[ORACLE_DIM], bool reduced)
{
    double first = reduced ? first_component(vector) : vector[0];
    if (!(first >= 0.5 && first < 16777216))
        return 0;
    long near = lround(first), by = reduced ? 4 : 0;
    for (long version = near - by; version <= near + by; version++) {
        float expected[ORACLE_DIM], tmp[ORACLE_DIM];
        if (version < 1)
            continue;
        oracle_vector(o, (uint32_t)version, expected);
        if (reduced)
            vec_project(ORACLE_SEED, expected, ORACLE_DIM, tmp, ORACLE_DIM, expected);
        if (memcmp(expected, vector, sizeof expected) == 0)
            return (uint32_t)version;
    }
    return 0;
}

size_t oracle_attributes(uint32_t attributes, char out[24])
{
    return (size_t)snprintf(out, 24, "{\"v\":%u}", attributes);
}

/* ---- what commands do ---- */

static void remove_key(struct oracle_key *k)
{
    memset(k, 0, sizeof *k);
}

static void apply(struct oracle_state *s, const struct oracle_op *op)
{
    struct oracle_key *k = &s->key[op->key];
    struct oracle_element *e = &k->at[op->id[0]];
    switch (op->kind) {
    case ORACLE_ADD:
    case ORACLE_ATOMIC:
        for (unsigned i = 0; i < op->n; i++) {
            e = &k->at[op->id[i]];
            k->count += e->version == 0;
            e->version = op->version + i;
            if (op->attributes)
                e->attributes = op->attributes;
            if (!op->keep)
                e->deadline = op->deadline;
        }
        k->exists = true;
        break;
    case ORACLE_REMOVE:
        if (!e->version)
            break;
        k->count--;
        memset(e, 0, sizeof *e);
        if (k->count == 0 && !k->keep_empty)
            k->exists = false;
        break;
    case ORACLE_ATTRIBUTES:
        if (e->version)
            e->attributes = op->attributes;
        break;
    case ORACLE_DEADLINE:
        if (e->version)
            e->deadline = op->deadline;
        break;
    case ORACLE_CREATE:
        k->exists = k->keep_empty = true;
        k->reduced = op->reduce;
        break;
    case ORACLE_DELETE: remove_key(k); break;
    case ORACLE_RENAME:
        if (op->to != op->key) {
            s->key[op->to] = *k;
            remove_key(k);
        }
        break;
    }
}

int oracle_expected(const struct oracle *o, const struct oracle_op *op, unsigned entry)
{
    const struct oracle_key *k = &o->answered.key[op->key];
    bool there = k->at[op->id[entry]].version != 0;
    /* An id may come twice in a batch. */
    for (unsigned i = 0; i < entry && op->kind == ORACLE_ATOMIC; i++)
        there |= op->id[i] == op->id[entry];
    switch (op->kind) {
    case ORACLE_ADD:
    case ORACLE_ATOMIC: return !there;
    case ORACLE_DELETE: return k->exists;
    case ORACLE_DEADLINE: return there && (op->deadline || k->at[op->id[0]].deadline);
    default: return there;
    }
}

/* ---- inventing ---- */

static void invent(struct oracle *o, struct oracle_op *op)
{
    uint64_t dice = rng_below(&o->rng, 1000);
    memset(op, 0, sizeof *op);
    op->n = 1;
    op->key = (unsigned)(rng_below(&o->rng, 4) < 2 ? 0 : 1 + rng_below(&o->rng, ORACLE_KEYS - 1));
    op->id[0] = (uint32_t)rng_below(&o->rng, ORACLE_IDS);
    op->version = o->next_version;
    bool exists = o->sent.key[op->key].exists;
    if (dice < 2 && op->key) {
        op->kind = ORACLE_DELETE;
    } else if (dice < 6 && op->key && exists) {
        op->kind = ORACLE_RENAME;
        op->to = (unsigned)(1 + rng_below(&o->rng, ORACLE_KEYS - 1));
    } else if (dice < 300 && op->key && !exists && rng_below(&o->rng, 2)) {
        op->kind = ORACLE_CREATE;
        op->reduce = rng_below(&o->rng, 2);
    } else if (dice < 150) {
        op->kind = ORACLE_REMOVE;
    } else if (dice < 250) {
        op->kind = ORACLE_ATTRIBUTES;
        op->attributes = rng_below(&o->rng, 4) ? o->next_version : 0;
    } else if (dice < 330) {
        op->kind = ORACLE_DEADLINE;
        op->deadline = rng_below(&o->rng, 4) ? o->next_version : 0;
    } else {
        op->kind = dice < 430 ? ORACLE_ATOMIC : ORACLE_ADD;
        op->n = op->kind == ORACLE_ADD ? 1 : (unsigned)(1 + rng_below(&o->rng, ORACLE_BATCH));
        op->attributes = rng_below(&o->rng, 3) ? 0 : o->next_version;
        op->deadline = rng_below(&o->rng, 4) ? 0 : o->next_version;
        op->keep = op->kind == ORACLE_ADD && !op->deadline && rng_below(&o->rng, 3) == 0;
        for (unsigned i = 1; i < op->n; i++)
            op->id[i] = (uint32_t)rng_below(&o->rng, ORACLE_IDS);
    }
    o->next_version += op->n;
}

const struct oracle_op *oracle_next(struct oracle *o)
{
    if (o->ops_n == ORACLE_SENT)
        return NULL;
    struct oracle_op *op = &o->ops[o->ops_n++];
    invent(o, op);
    op->first = o->left == 0;
    if (op->first)
        o->left = rng_below(&o->rng, 10) ? 1 : 2 + (unsigned)rng_below(&o->rng, ORACLE_MULTI - 1);
    op->last = --o->left == 0;
    apply(&o->sent, op);
    return op;
}

const struct oracle_op *oracle_oldest(const struct oracle *o)
{
    return o->ops_n ? &o->ops[0] : NULL;
}

static void drop_oldest(struct oracle *o)
{
    o->ops_n--;
    memmove(o->ops, o->ops + 1, o->ops_n * sizeof *o->ops);
}

void oracle_answer(struct oracle *o)
{
    apply(&o->answered, &o->ops[0]);
    drop_oldest(o);
    o->total++;
}

/* ---- comparing ---- */

/* Elements and keys that differ; the first of them in `why`. */
static size_t differences(const struct oracle *o, const struct oracle_state *a,
                          const struct oracle_state *found, char *why, size_t len)
{
    size_t n = 0;
    for (unsigned k = 0; k < ORACLE_KEYS; k++) {
        const struct oracle_key *x = &a->key[k], *y = &found->key[k];
        char key[16], id[16];
        oracle_key_name(o, k, key);
        if (k > 0 && (x->exists != y->exists || x->count != y->count || x->reduced != y->reduced) && n++ == 0)
            snprintf(why, len, "%s: exists %d, %u elements; expected %d, %u", key, y->exists,
                     y->count, x->exists, x->count);
        for (uint32_t i = 0; i < ORACLE_IDS; i++) {
            if (x->at[i].version == y->at[i].version && x->at[i].attributes == y->at[i].attributes &&
                x->at[i].deadline == y->at[i].deadline)
                continue;
            oracle_id_name(o, i, id);
            if (n++ == 0)
                snprintf(why, len, "%s of %s: version %u, attributes %u, deadline %u; expected %u, %u, %u", id, key,
                         y->at[i].version, y->at[i].attributes, y->at[i].deadline, x->at[i].version,
                         x->at[i].attributes, x->at[i].deadline);
        }
    }
    return n;
}

bool oracle_settle(struct oracle *o, const struct oracle_state *found, size_t *taken, char *why,
                   size_t why_len)
{
    struct oracle_state *state = malloc(sizeof *state);
    char text[256] = "";
    size_t best = SIZE_MAX, i;
    *state = o->answered;
    for (i = 0;; i++) {
        bool whole = i == o->ops_n || o->ops[i].first; /* no transaction is torn apart here */
        size_t n = whole ? differences(o, state, found, text, sizeof text) : SIZE_MAX;
        if (n < best) {
            best = n;
            snprintf(why, why_len, "client %u, %zu of %zu unanswered commands done: %zu differences, %s",
                     o->client, i, o->ops_n, n, text);
        }
        if (n == 0 || i == o->ops_n)
            break;
        apply(state, &o->ops[i]);
    }
    if (best == 0) {
        *taken = i;
        o->answered = o->sent = *state;
        o->ops_n = 0;
        o->left = 0;
    }
    free(state);
    return best == 0;
}
