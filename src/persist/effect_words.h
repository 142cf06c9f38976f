/* The words of CREATE, by the values of their enums, and what it has of them. For effect_*.c. */
#ifndef PERSIST_EFFECT_WORDS_H
#define PERSIST_EFFECT_WORDS_H

/* Arguments of CREATE without REDUCE n, STRICT and TRANSIENT. */
#define EFFECT_CREATE_ARGS 26

static const char *const effect_metrics[] = {"COSINE", "L2", "IP"};
static const char *const effect_structures[] = {"HNSW", "FLAT"};
static const char *const effect_types[] = {"Q8", "NOQUANT", "F16", "BF16", "Q4", "BIN"};
/* With defaults filled in there is no VEC_ORIG_DEFAULT; its word is never read. */
static const char *const effect_originals[] = {"NONE", "F32", "F16", "NONE"};
static const char *const effect_strategies[] = {"HASH"};
static const char *const effect_maps[] = {"ORIGINALS", "CODES", "ALL"};

#endif
