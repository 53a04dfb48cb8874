/* Texts without emphasis and links. */

#include <stdlib.h>
#include <string.h>

#include "markup.h"

static bool may_have_link(Text text, int64_t length) {
    for (Text end = text + length; (text = memchr(text, ']', (size_t)(end - text))); text++)
        if (text + 1 < end && text[1] == '(') return true;
    return false;
}

/* All emphasis out of a text, then its outermost links, and again what shows then, until nothing goes; its new length,
   or -1 where there is no memory. */
static int64_t settle(Work *work, uint8_t *text, int64_t length) {
    int64_t before;
    do {
        do {
            before = length;
            length = without_pairs(work, text, length);
        } while (length >= 0 && length < before);
        if (length < 0 || !may_have_link(text, length)) return length;
        memcpy(work->hidden, text, (size_t)length);
        length = without_links(work->hidden, length, text);
    } while (length < before);
    return length;
}

/* The texts without emphasis and links, end to end in `made`, which has room for them as they are.

   offsets: rows + 1, where each text begins in `data`, and where the last one ends. bounds: the same of `made`.
   Gives 0, or -1 where there is no memory. */
CALLED_BY_PYTHON int nemocc_without_markup(const uint8_t *data, const int64_t *offsets, int64_t rows, uint8_t *made,
                                           int64_t *bounds, Classes classes) {
    Work work = {.classes = classes};
    int64_t longest = 0;
    for (int64_t row = 0; row < rows; row++)
        if (offsets[row + 1] - offsets[row] > longest) longest = offsets[row + 1] - offsets[row];
    work.hidden = malloc((size_t)longest + BEYOND);
    work.reach = malloc((size_t)longest + BEYOND);
    bool has_memory = work.hidden && work.reach;
    bounds[0] = 0;
    for (int64_t row = 0; row < rows && has_memory; row++) {
        uint8_t *text = made + bounds[row];
        int64_t length = offsets[row + 1] - offsets[row];
        memcpy(text, data + offsets[row], (size_t)length);
        length = settle(&work, text, length);
        has_memory = length >= 0;
        bounds[row + 1] = bounds[row] + length;
    }
    free(work.hidden);
    free(work.reach);
    free(work.runs);
    free(work.worth);
    free(work.noted);
    return has_memory ? 0 : -1;
}
