/* Little-endian integers in files. Compilers make one load or store of each. Any thread. */
#ifndef PERSIST_LE_H
#define PERSIST_LE_H

#include <stdint.h>

static inline uint16_t le16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t le32(const void *p)
{
    const uint8_t *b = p;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t le64(const void *p)
{
    return le32(p) | (uint64_t)le32((const uint8_t *)p + 4) << 32;
}
static inline void le16_put(void *p, uint16_t x)
{
    uint8_t *b = p;
    b[0] = (uint8_t)x;
    b[1] = (uint8_t)(x >> 8);
}
static inline void le32_put(void *p, uint32_t x)
{
    uint8_t *b = p;
    b[0] = (uint8_t)x;
    b[1] = (uint8_t)(x >> 8);
    b[2] = (uint8_t)(x >> 16);
    b[3] = (uint8_t)(x >> 24);
}
static inline void le64_put(void *p, uint64_t x)
{
    le32_put(p, (uint32_t)x);
    le32_put((uint8_t *)p + 4, (uint32_t)(x >> 32));
}

#endif
