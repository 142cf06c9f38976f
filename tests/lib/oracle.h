/* What a store must hold after some commands of one client, and which commands it sends next.
 *
 * A client has a few keys: one that it shares with the others (only its own elements of it count
 * here) and some of its own, which it also creates, renames and removes. The oracle invents its
 * commands at random, keeps those that were sent, and the state after those that were answered. A
 * server runs the commands of a connection in order, so whatever became of it, its data must be the
 * state after some number of commands between the answered and the sent:
 *
 *     answered                 sent
 *        |  c1  c2  c3  ..  ck  |          data = state(answered + c1 .. ci) for an i in 0..k
 *
 * A vector tells its version (see oracle_vector), a version is used once: what is read back says
 * from which command it is.
 *
 * Some commands in a row are a transaction: done all or none, so a state between two of them is none that may be found.
 *
 * One thread at a time. */
#ifndef LIB_ORACLE_H
#define LIB_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

#define ORACLE_DIM   16
#define ORACLE_KEYS  3   /* 0: shared by all clients */
#define ORACLE_IDS   200 /* elements a client may have in a key */
#define ORACLE_BATCH 8   /* entries of an atomic batch, at most */
#define ORACLE_SENT  64  /* commands without an answer, at most */
#define ORACLE_MULTI 6   /* commands of a transaction, at most */
#define ORACLE_ENDS  4102444800000ull /* no test lasts so long */
#define ORACLE_SEED  77  /* of the indexes with REDUCE */

struct oracle_state {
    struct oracle_key {
        bool exists;        /* of own keys; the shared one's existence is nobody's */
        bool keep_empty;    /* made by VPARTITION CREATE */
        bool reduced;       /* with REDUCE: ORACLE_DIM rotated by ORACLE_SEED */
        uint32_t count;
        struct oracle_element {
            uint32_t version;     /* 0: not there */
            uint32_t attributes;  /* 0: none */
            uint32_t deadline;    /* ORACLE_ENDS and so many milliseconds; 0: none */
        } at[ORACLE_IDS];
    } key[ORACLE_KEYS];
};

enum oracle_kind {
    ORACLE_ADD,
    ORACLE_REMOVE,
    ORACLE_ATTRIBUTES,
    ORACLE_ATOMIC,
    ORACLE_CREATE,
    ORACLE_DELETE,
    ORACLE_RENAME,
    ORACLE_DEADLINE
};

struct oracle_op {
    enum oracle_kind kind;
    unsigned key, to;       /* `to` of a rename */
    unsigned n;             /* entries: 1 but for a batch */
    uint32_t id[ORACLE_BATCH];
    uint32_t version;       /* of the first entry; the others' follow */
    uint32_t attributes;    /* 0: none; ATTRIBUTES: 0 removes them */
    uint32_t deadline;      /* ADD, ATOMIC, DEADLINE; 0: none */
    bool keep;              /* ADD: KEEPTTL */
    bool reduce;            /* CREATE: with REDUCE */
    bool first, last;       /* of a transaction; both: a command by itself */
};

struct oracle {
    unsigned client;
    struct rng rng;
    uint32_t next_version;
    unsigned left;                          /* commands that the transaction will still have */
    struct oracle_state answered, sent;     /* states */
    struct oracle_op ops[ORACLE_SENT];      /* sent without an answer, oldest first */
    size_t ops_n;
    uint64_t total;                         /* answered so far */
};

void oracle_init(struct oracle *o, unsigned client, uint64_t seed);
/* Invents a command that the state after those sent allows, and takes it as sent. After one that is not the last of its
 * transaction the next must follow. */
const struct oracle_op *oracle_next(struct oracle *o);
/* The oldest command without an answer; NULL. */
const struct oracle_op *oracle_oldest(const struct oracle *o);
/* It was answered (with success). */
void oracle_answer(struct oracle *o);
/* What it must have answered: the integer of VADD, VREM, DEL, VSETATTR, VPEXPIREAT, VPERSIST. */
int oracle_expected(const struct oracle *o, const struct oracle_op *op, unsigned entry);

/* "shared" or "c2:1". */
void oracle_key_name(const struct oracle *o, unsigned key, char out[16]);
/* "c2-17": unlike those of other clients. */
void oracle_id_name(const struct oracle *o, uint32_t id, char out[16]);
void oracle_vector(const struct oracle *o, uint32_t version, float out[ORACLE_DIM]);
/* The version of a vector, `reduced` as an index with REDUCE has it; 0 when it is none of this client's. */
uint32_t oracle_version(const struct oracle *o, const float vector[ORACLE_DIM], bool reduced);
/* "{\"v\":17}", its length. */
size_t oracle_attributes(uint32_t attributes, char out[24]);

/* What a server holds is `found`. True when it is the state after `*taken` of the commands without
 * an answer; then these are gone, and the state is `found`. Otherwise `why` says what comes closest
 * is wrong with. */
bool oracle_settle(struct oracle *o, const struct oracle_state *found, size_t *taken, char *why,
                   size_t why_len);

#endif
