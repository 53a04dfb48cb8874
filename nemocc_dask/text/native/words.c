/* What the words between two runs of signs may be: a product, a glob or a pointer is no emphasis.

   Each wording is a first piece, pieces inside and a last one. Where a piece of several characters may also be several
   pieces, all ways are followed at once: a bit for each state that a place can be reached in. */

#include <string.h>

#include "markup.h"

enum Place { AT_FIRST, AMID, AT_LAST };

/* Pieces of more than one character. */
enum Piece {
    ESCAPED = 1 << 0,     /* a backslash and what follows it */
    BRACKETED = 1 << 1,   /* round or square, without more of their kind, stars and backticks inside */
    QUOTED = 1 << 2,      /* straight marks, without more of them, signs and backticks inside */
    THEN_QUOTED = 1 << 3, /* a space or a bracket before such a quotation */
    SPACED_STAR = 1 << 4, /* a product */
    DASH_LETTER = 1 << 5, /* -ing */
    LETTER_DASH = 1 << 6, /* pre- */
};

typedef struct {
    uint32_t members, pieces;
} Allowed;

static const Allowed ALLOWED[][3] = {
    [BOLD] = {{BOLD_FIRST, ESCAPED}, {BOLD_INSIDE, ESCAPED | SPACED_STAR}, {BOLD_LAST, ESCAPED}},
    [STARRED] = {{STARRED_FIRST, BRACKETED | DASH_LETTER},
                 {STARRED_INSIDE, BRACKETED | ESCAPED},
                 {STARRED_LAST, BRACKETED | LETTER_DASH}},
    [UNDERSCORED] = {{UNDERSCORED_FIRST, BRACKETED | QUOTED},
                     {UNDERSCORED_INSIDE, BRACKETED | THEN_QUOTED},
                     {UNDERSCORED_LAST, BRACKETED | THEN_QUOTED}},
    [TWO_WORDS] = {{UNDERSCORED_FIRST, BRACKETED | QUOTED},
                   {UNDERSCORED_INSIDE, BRACKETED | THEN_QUOTED},
                   {UNDERSCORED_LAST, BRACKETED | THEN_QUOTED}},
};

static bool is_in(Text text, int64_t place, uint32_t members, Classes classes) {
    return classes[point_at(text, place)] & members;
}

/* Where a piece ends that begins with one byte, ends with another, and has none of some inside; 0 where it does not. */
static int64_t enclosed(Text text, int64_t place, int64_t end, uint8_t closing, const char *never_inside) {
    for (place++; place < end; place++) {
        if (text[place] == closing) return place + 1;
        if (text[place] && strchr(never_inside, text[place])) return 0;
    }
    return 0;
}

static int64_t quoted(Text text, int64_t place, int64_t end) {
    return place < end && text[place] == '"' ? enclosed(text, place, end, '"', "_*`\n") : 0;
}

/* Where pieces end that begin at a place, three at most; how many there are. */
static int piece_ends(Text text, int64_t place, int64_t end, Allowed allowed, Classes classes, int64_t *ends) {
    int count = 0;
    uint8_t byte = text[place];
    int64_t after = after_point(text, place), found = 0;
    if (is_in(text, place, allowed.members, classes)) ends[count++] = after;
    if (byte == '\\' && allowed.pieces & ESCAPED && after < end && text[after] != '\n')
        found = after_point(text, after);
    if (byte == '(' && allowed.pieces & BRACKETED) found = enclosed(text, place, end, ')', "(*`\n");
    if (byte == '[' && allowed.pieces & BRACKETED) found = enclosed(text, place, end, ']', "[*`\n");
    if (byte == '"' && allowed.pieces & QUOTED) found = quoted(text, place, end);
    if (byte == ' ' && allowed.pieces & SPACED_STAR && place + 2 < end && text[after] == '*' && text[after + 1] == ' ')
        found = place + 3;
    if (byte == '-' && allowed.pieces & DASH_LETTER && after < end && is_in(text, after, LETTER, classes))
        found = after_point(text, after);
    if (allowed.pieces & LETTER_DASH && after < end && text[after] == '-' && is_in(text, place, LETTER, classes))
        found = after + 1;
    if (found) ends[count++] = found;
    found = (byte == ' ' || byte == '(') && allowed.pieces & THEN_QUOTED ? quoted(text, after, end) : 0;
    if (found) ends[count++] = found;
    return count;
}

static bool has_piece(Text text, int64_t place, int64_t end, Allowed allowed, Classes classes) {
    int64_t ends[3];
    for (int count = piece_ends(text, place, end, allowed, classes, ends); count; count--)
        if (ends[count - 1] == end) return true;
    return false;
}

/* States of the words up to a place. Underscores may stand amid words between two spaces, as in `_see my_var for it_`:
   after the first they may, after the second all is as before. Two words are known by the first space. */
enum State { BEGUN = 1, AFTER_SPACE = 2, AFTER_TWO = 4 };

static bool may_end(enum Wording wording, uint8_t states) {
    if (wording == UNDERSCORED) return states & (BEGUN | AFTER_TWO);
    return states & (wording == TWO_WORDS ? AFTER_SPACE : BEGUN);
}

static bool matches(Text text, int64_t begin, int64_t end, enum Wording wording, Classes classes, uint8_t *reach) {
    const Allowed *allowed = ALLOWED[wording];
    int64_t ends[3];
    memset(reach + begin, 0, (size_t)(end - begin) + 1);
    for (int count = piece_ends(text, begin, end, allowed[AT_FIRST], classes, ends); count; count--)
        reach[ends[count - 1]] = BEGUN;
    if (reach[end] && wording != TWO_WORDS) return true;
    for (int64_t place = begin + 1; place < end; place++) {
        uint8_t states = reach[place], byte = text[place];
        if (!states) continue;
        if (may_end(wording, states) && has_piece(text, place, end, allowed[AT_LAST], classes)) return true;
        if (wording == TWO_WORDS && byte == ':' && place + 1 == end && states & BEGUN) return true;
        for (int count = piece_ends(text, place, end, allowed[AMID], classes, ends); count; count--)
            reach[ends[count - 1]] |= states;
        if (byte == ' ' && wording >= UNDERSCORED)
            reach[place + 1] |=
                (uint8_t)((states << 1) & (wording == UNDERSCORED ? AFTER_SPACE | AFTER_TWO : AFTER_SPACE));
        if (byte == '_' && wording == UNDERSCORED) reach[place + 1] |= states & AFTER_SPACE;
    }
    return false;
}

/* An underscore may begin what is in stars only where one ends it: `*_old.*` is a glob. */
static bool is_underscored_in_stars(Text text, int64_t begin, int64_t end, Classes classes) {
    if (end - begin < 2 || text[begin] != '_' || text[end - 1] != '_') return false;
    int64_t place = begin + 1, last = end - 1;
    while (place < last) {
        int64_t ends[3];
        if (!piece_ends(text, place, last, ALLOWED[STARRED][AMID], classes, ends)) return false;
        place = ends[0];
    }
    return place == last;
}

bool may_be_emphasised(Text text, int64_t begin, int64_t end, enum Wording wording, Classes classes, uint8_t *reach) {
    if (begin == end) return false;
    if (wording == STARRED && text[begin] == '_') return is_underscored_in_stars(text, begin, end, classes);
    return matches(text, begin, end, wording, classes, reach);
}

bool is_word(Text text, int64_t begin, int64_t end, Classes classes) {
    if (begin == end || !is_in(text, begin, LETTER, classes)) return false;
    int64_t place = after_point(text, begin), last = begin;
    for (; place < end; place = after_point(text, place)) {
        if (!is_in(text, place, IN_ENDING, classes)) return false;
        last = place;
    }
    return last > begin && is_in(text, last, LETTER, classes);
}

bool has_space(Text text, int64_t begin, int64_t end, Classes classes) {
    for (int64_t place = begin; place < end; place = after_point(text, place))
        if (is_in(text, place, SPACE, classes)) return true;
    return false;
}
