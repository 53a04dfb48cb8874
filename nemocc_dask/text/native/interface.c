/* What Python asks when it opens the library: which of several versions of these sources it was built from. */

#include "markup.h"

CALLED_BY_PYTHON int nemocc_interface(void) { return 1; }
