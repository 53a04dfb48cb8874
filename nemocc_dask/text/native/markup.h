/* What the files of this folder share: classes of characters, and the parts of finding emphasis.

   Texts are valid UTF-8, given as pointer and length in bytes; a line break is a line feed. A place is an offset into
   the text. Nothing here keeps anything between two calls. */

#ifndef NEMOCC_MARKUP_H
#define NEMOCC_MARKUP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* What Python calls; nothing else of the library is seen from outside. */
#ifdef _WIN32
#define CALLED_BY_PYTHON __declspec(dllexport)
#else
#define CALLED_BY_PYTHON __attribute__((visibility("default")))
#endif

typedef const uint8_t *Text;

/* Which characters are in which class: one entry for each code point of 16 bits, a bit for each class. Filled by
   `characters.py`, in this order. */
enum Class {
    SPACE = 1 << 0,
    LETTER = 1 << 1,     /* of scripts that put space between words */
    ANY_LETTER = 1 << 2, /* those of Thai, Chinese, Japanese and Korean too */
    NO_STAR_OPENS_AFTER = 1 << 3,
    NO_UNDERSCORE_OPENS_AFTER = 1 << 4,
    NO_STAR_CLOSES_BEFORE = 1 << 5,
    NO_UNDERSCORE_CLOSES_BEFORE = 1 << 6,
    BEFORE_WILDCARD = 1 << 7,
    AFTER_WILDCARD = 1 << 8,
    LOWER = 1 << 9,
    OPENS_WORD = 1 << 10,
    TIES_TO_LETTER = 1 << 11,
    IN_ENDING = 1 << 12,
    BOLD_FIRST = 1 << 13,
    BOLD_INSIDE = 1 << 14,
    BOLD_LAST = 1 << 15,
    STARRED_FIRST = 1 << 16,
    STARRED_INSIDE = 1 << 17,
    STARRED_LAST = 1 << 18,
    UNDERSCORED_FIRST = 1 << 19,
    UNDERSCORED_INSIDE = 1 << 20,
    UNDERSCORED_LAST = 1 << 21,
};
typedef const uint32_t *Classes;

typedef struct {
    int64_t begin, end;
} Span;

/* Bytes that stand for what is no prose, and for signs that are gone; words may have HIDDEN anywhere, and emphasis
   reaches neither over a BARRIER, which stands for comments, nor over a lone backtick. */
enum { HIDDEN = 1, BARRIER = '`' };

/* Bytes beyond the end of a text that may be looked at, should its last character not be whole. */
enum { BEYOND = 4 };

/* Puts a part of a text behind what is kept of it, maybe in the same place; how much is kept then. */
static inline int64_t keep(uint8_t *made, int64_t kept, Text text, Span part) {
    memmove(made + kept, text + part.begin, (size_t)(part.end - part.begin));
    return kept + part.end - part.begin;
}

/* --- characters --------------------------------------------------------------------------------------------------- */

static inline int64_t after_point(Text text, int64_t place) {
    uint8_t first = text[place];
    return place + (first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4);
}

/* The code point that begins at a place; 0xFFFF, which is in no class but those of all others, beyond 16 bits. */
static inline uint32_t point_at(Text text, int64_t place) {
    uint32_t first = text[place];
    if (first < 0x80) return first;
    if (first < 0xE0) return (first & 0x1F) << 6 | (text[place + 1] & 0x3F);
    if (first < 0xF0) return (first & 0x0F) << 12 | (text[place + 1] & 0x3Fu) << 6 | (text[place + 2] & 0x3F);
    return 0xFFFF;
}

/* Where the code point that ends before a place begins; that place is behind `first`, where a text begins. */
static inline int64_t before_point(Text text, int64_t place, int64_t first) {
    place--;
    while (place > first && (text[place] & 0xC0) == 0x80) place--;
    return place;
}

static inline uint32_t point_before(Text text, int64_t place, int64_t first) {
    return point_at(text, before_point(text, place, first));
}

static inline int64_t past_space(Text text, int64_t place, int64_t end, Classes classes) {
    while (place < end && classes[point_at(text, place)] & SPACE) place = after_point(text, place);
    return place < end ? place : end;
}

static inline bool is_letter_or_digit(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

static inline bool is_blank(uint8_t byte) { return byte == ' ' || byte == '\t'; }

/* --- ends.c ------------------------------------------------------------------------------------------------------- */

/* Without space at both ends. */
Span stripped(Text text, Span part, Classes classes);

/* Past words in any letter case, given in small letters, with any space where they have one; 0 where others stand. */
int64_t past_words(Text text, Span part, const char *words, Classes classes);

bool begins_with(Text text, Span part, const char *bytes);

/* --- prose.c ------------------------------------------------------------------------------------------------------ */

/* How far has been looked for the end of something, in vain: without this, many beginnings of what never ends would
   each be looked after up to the end of the text. */
typedef struct {
    int64_t comment, inline_maths, display_maths;
} Endless;

/* What is no prose and is known by the byte at a place, where it begins, save for addresses, which are known by their
   colon and begin at `floor` or later. Its end is 0 where prose goes on. Line breaks before an indented or a fenced line
   are part of it. */
Span no_prose_at(Text text, int64_t place, int64_t length, int64_t floor, Endless *endless);

/* Where what only begins at the beginning of a line ends, if it begins at this one; 0 where it does not. */
int64_t no_prose_at_line(Text text, int64_t place, int64_t length);

/* Where code in backticks that begins at a place ends; 0 where it does not begin there. */
int64_t code(Text text, int64_t place, int64_t length);

/* Where the next may begin then: with none of several backticks but the last, which may be one of two single ones. */
int64_t after_no_code(Text text, int64_t place, int64_t length);

/* Whether no_prose_at may find something at a place with this byte, or a sign of emphasis is there. */
extern const uint8_t WORTH_A_LOOK[256];

/* --- words.c ------------------------------------------------------------------------------------------------------ */

enum Wording { BOLD, STARRED, UNDERSCORED, TWO_WORDS };

/* Whether the words between two runs of signs may be emphasised. `reach` has a byte for each of the text's, and BEYOND
   more. */
bool may_be_emphasised(Text text, int64_t begin, int64_t end, enum Wording wording, Classes classes, uint8_t *reach);

/* Whether they are a word of which bold may be a part: the API in `**API**s`. */
bool is_word(Text text, int64_t begin, int64_t end, Classes classes);

bool has_space(Text text, int64_t begin, int64_t end, Classes classes);

/* --- runs.c ------------------------------------------------------------------------------------------------------- */

enum { LONGEST_RUN = 3 }; /* more signs are a rule, or a gap to fill in */

/* Bytes of words in emphasis, which never goes over a line break. Of what is nested without end each layer is looked
   through again. */
enum { LONGEST_WORDS = 30000 };

enum Role {
    OPENS = 1,
    CLOSES = 2,
    CLOSES_WORD = 4,  /* bold in the middle of a word: `**API**s` */
    CLOSES_WORDS = 8, /* only what has several words, for one would be a file's name: `*foo*.txt` */
    BEGINS_WORD = 16, /* space, a bracket or a quotation mark precedes it */
    MAY_HAVE_ROLE = 32,
};

typedef struct {
    int64_t begin, end; /* of all signs that stood there */
    int64_t from, to;   /* of those that are left */
    int64_t line;
    int64_t before, after; /* the runs of its sign that stand beside it; -1 where there is none */
    int64_t round;         /* of the last time it was noted as worth trying */
    uint32_t point_before, point_after, point_beyond;
    uint8_t sign, roles;
} Run;

/* What the work on one text needs; its memory serves the next one, too. */
typedef struct {
    uint8_t *hidden, *reach;
    Run *runs;
    int64_t *worth, *noted;
    int64_t run_count, run_room;
    Classes classes;
} Work;

/* Hides what is no prose and finds the runs outside of it. False where there is no memory. */
bool read_runs(Work *work, Text text, int64_t length);

/* --- pairs.c ------------------------------------------------------------------------------------------------------ */

/* Takes the signs of all pairs out of a text, in place; its new length, or -1 where there is no memory. */
int64_t without_pairs(Work *work, uint8_t *text, int64_t length);

/* --- links.c ------------------------------------------------------------------------------------------------------ */

/* The text without its outermost links, into `made`, which is as long; how long that is. */
int64_t without_links(Text text, int64_t length, uint8_t *made);

#endif
