/* The count of faults in mapped files, see region.h. Raised in a signal's handler, so it is a lone
 * word. */
#include "index/region.h"

_Atomic uint32_t region_faults;
