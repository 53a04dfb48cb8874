/* What stands at both ends of a text: space, the marker it was asked to begin with, quotation marks round the whole. */

#include <string.h>

#include "markup.h"

Span stripped(Text text, Span part, Classes classes) {
    part.begin = past_space(text, part.begin, part.end, classes);
    while (part.end > part.begin && classes[point_before(text, part.end, part.begin)] & SPACE)
        part.end = before_point(text, part.end, part.begin);
    return part;
}

int64_t past_words(Text text, Span part, const char *words, Classes classes) {
    int64_t place = part.begin;
    for (; *words; words++) {
        uint8_t byte = place < part.end ? text[place] : 0;
        if (*words == ' ') {
            int64_t end = past_space(text, place, part.end, classes);
            if (end == place) return 0;
            place = end;
        } else if ((byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte) == (uint8_t)*words) {
            place++;
        } else {
            return 0;
        }
    }
    return place;
}

bool begins_with(Text text, Span part, const char *bytes) {
    size_t size = strlen(bytes);
    return part.end - part.begin >= (int64_t)size && memcmp(text + part.begin, bytes, size) == 0;
}

/* --- markers ------------------------------------------------------------------------------------------------------ */

/* Past signs of headings and quotations, the marker and the colon behind it, which may stand apart or be a wide one. */
static int64_t past_marker(Text text, Span part, const char *words, bool has_colon, Classes classes) {
    int64_t place = part.begin;
    while (place < part.end && (text[place] == '#' || text[place] == '>' || classes[point_at(text, place)] & SPACE))
        place = after_point(text, place);
    place = past_words(text, (Span){place, part.end}, words, classes);
    if (!place || !has_colon) return place;
    while (place < part.end && is_blank(text[place])) place++;
    if (begins_with(text, (Span){place, part.end}, ":")) return place + 1;
    return begins_with(text, (Span){place, part.end}, "：") ? place + 3 : 0;
}

/* What follows the marker, without space at its ends; texts without the marker as they are. A marker said twice goes
   twice. words: its words in small ASCII letters, one space between two, without the colon that it may have. */
CALLED_BY_PYTHON int nemocc_after_marker(const uint8_t *data, const int64_t *offsets, int64_t rows, uint8_t *made,
                                         int64_t *bounds, Classes classes, const char *words, int64_t has_colon) {
    bounds[0] = 0;
    for (int64_t row = 0; row < rows; row++) {
        Span part = {offsets[row], offsets[row + 1]};
        for (int64_t end; (end = past_marker(data, part, words, has_colon, classes));)
            part = stripped(data, (Span){end, part.end}, classes);
        bounds[row + 1] = keep(made, bounds[row], data, part);
    }
    return 0;
}

/* --- quotation marks ---------------------------------------------------------------------------------------------- */

/* Marks inside marks must balance, two levels deep. */
enum { DEEPEST = 3 };

static bool is_enclosed(Text text, Span part, const char *opening, const char *closing) {
    if (!begins_with(text, part, opening)) return false;
    int depth = 0;
    for (int64_t place = part.begin; place < part.end; place = after_point(text, place)) {
        if (begins_with(text, (Span){place, part.end}, opening))
            depth++;
        else if (begins_with(text, (Span){place, part.end}, closing))
            depth--;
        if (depth > DEEPEST) return false;
        if (!depth) return after_point(text, place) == part.end;
    }
    return false;
}

/* A straight mark inside opens behind space or a bracket and is closed again: so `"A" and "B"` is two quotations. */
static bool is_straightly_enclosed(Text text, Span part, Classes classes) {
    if (part.end - part.begin < 2 || text[part.begin] != '"' || text[part.end - 1] != '"') return false;
    for (int64_t place = part.begin + 1; place < part.end - 1; place++) {
        if (text[place] != '"') continue;
        bool opens = place > part.begin + 1 &&
                     (text[place - 1] == '(' || classes[point_before(text, place, part.begin)] & SPACE);
        const uint8_t *closing = memchr(text + place + 1, '"', (size_t)(part.end - place - 2));
        if (!opens || !closing || closing == text + place + 1) return false;
        if (classes[point_at(text, place + 1)] & SPACE ||
            classes[point_before(text, closing - text, part.begin)] & SPACE)
            return false;
        place = closing - text;
    }
    return true;
}

static bool is_quotation(Text text, Span part, Classes classes) {
    static const char *const PAIRS[][2] = {{"“", "”"}, {"«", "»"},   {"»", "«"},  {"„", "“"},
                                           {"„", "”"}, {"「", "」"}, {"『", "』"}};
    if (is_straightly_enclosed(text, part, classes)) return true;
    if (part.begin == part.end || text[part.begin] < 0x80) return false;
    for (size_t each = 0; each < sizeof PAIRS / sizeof *PAIRS; each++)
        if (is_enclosed(text, part, PAIRS[each][0], PAIRS[each][1])) return true;
    return false;
}

/* What quotation marks enclose, without space at its ends; texts that none enclose as they are. */
CALLED_BY_PYTHON int nemocc_without_quotation(const uint8_t *data, const int64_t *offsets, int64_t rows, uint8_t *made,
                                              int64_t *bounds, Classes classes) {
    bounds[0] = 0;
    for (int64_t row = 0; row < rows; row++) {
        Span part = {offsets[row], offsets[row + 1]}, bare = stripped(data, part, classes);
        while (is_quotation(data, bare, classes)) {
            bare = stripped(data, (Span){after_point(data, bare.begin), before_point(data, bare.end, bare.begin)},
                            classes);
            part = bare;
        }
        bounds[row + 1] = keep(made, bounds[row], data, part);
    }
    return 0;
}
