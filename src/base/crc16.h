/* CRC16 and the hash slots of Redis Cluster. Any thread. */
#ifndef BASE_CRC16_H
#define BASE_CRC16_H

#include <stddef.h>
#include <stdint.h>

#define CRC16_SLOTS 16384

/* CRC-16/XMODEM: polynomial 0x1021, start 0, nothing reflected. "123456789" gives 0x31C3. */
uint16_t crc16(const void *data, size_t len);
/* The hash slot of a key, 0..16383: of what stands between its first '{' and the next '}' when that is not empty, else of
 * the whole key. */
unsigned crc16_slot(const void *key, size_t len);

#endif
