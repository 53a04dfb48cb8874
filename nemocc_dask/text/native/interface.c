/* What Python asks when it opens the library: which of several versions of these sources it was built from. */

int nemocc_interface(void) { return 1; }
