/* Runs of stars and underscores outside of code, maths and the like, and what each may do by the characters beside it. */

#include <stdlib.h>
#include <string.h>

#include "markup.h"

static bool has_room_for_a_run(Work *work) {
    if (work->run_count < work->run_room) return true;
    int64_t room = work->run_room ? 2 * work->run_room : 64;
    Run *runs = realloc(work->runs, (size_t)room * sizeof *runs);
    if (runs) work->runs = runs;
    int64_t *worth = realloc(work->worth, (size_t)room * sizeof *worth);
    if (worth) work->worth = worth;
    int64_t *noted = realloc(work->noted, (size_t)room * sizeof *noted);
    if (noted) work->noted = noted;
    if (!runs || !worth || !noted) return false;
    work->run_room = room;
    return true;
}

/* Hides a piece, line breaks aside; how many of those it has. */
static int64_t hide(Work *work, Text text, Span piece) {
    uint8_t cover = text[piece.begin] == '/' ? BARRIER : HIDDEN; /* only comments begin with a slash */
    int64_t lines = 0;
    for (int64_t place = piece.begin; place < piece.end; place++) {
        if (text[place] == '\n')
            lines++;
        else
            work->hidden[place] = cover;
    }
    return lines;
}

/* A lone underscore between ASCII letters or digits, as most of them are. */
static bool is_in_name(Text text, int64_t place, int64_t length) {
    return place > 0 && place + 1 < length && is_letter_or_digit(text[place - 1]) &&
           is_letter_or_digit(text[place + 1]);
}

/* Copies the text, hides what is no prose and notes the runs outside of it. False where there is no memory. */
static bool read(Work *work, Text text, int64_t length) {
    Endless endless = {0, 0, 0};
    Span piece = {0, no_prose_at_line(text, 0, length)};
    int64_t line = 0, floor = 0, place = 0;
    work->run_count = 0;
    memcpy(work->hidden, text, (size_t)length);
    while (true) {
        if (piece.end) {
            line += hide(work, text, piece);
            place = floor = piece.end;
        }
        while (place < length && !WORTH_A_LOOK[text[place]]) place++;
        if (place >= length) return true;
        piece = no_prose_at(text, place, length, floor, &endless);
        if (piece.end) continue;
        int64_t begin = place++;
        uint8_t byte = text[begin];
        if (byte == '\n') line++;
        if (byte == '`') place = after_no_code(text, begin, length);
        if (byte != '*' && byte != '_') continue;
        while (place < length && text[place] == byte) place++;
        if (byte == '_' && place == begin + 1 && is_in_name(text, begin, length)) continue;
        if (!has_room_for_a_run(work)) return false;
        work->runs[work->run_count++] =
            (Run){.begin = begin, .end = place, .from = begin, .to = place, .line = line, .sign = byte};
    }
}

static uint32_t point_after(Text text, int64_t place, int64_t length) {
    return place < length ? point_at(text, place) : '\n';
}

/* The characters beside each run. Beside a run of the other sign counts what stands beyond that: `x_*y*_z` is in the
   middle of a word. */
static void look_beside(Work *work, Text text, int64_t length) {
    Run *runs = work->runs;
    for (int64_t each = 0; each < work->run_count; each++) {
        Run *run = &runs[each];
        run->point_before = run->begin ? point_before(text, run->begin, 0) : '\n';
        run->point_after = point_after(text, run->end, length);
        run->point_beyond = run->end < length ? point_after(text, after_point(text, run->end), length) : '\n';
    }
    uint32_t before_last = 0;
    for (int64_t each = 0; each + 1 < work->run_count; each++) {
        uint32_t before = runs[each].point_before;
        if (each && runs[each - 1].end == runs[each].begin) runs[each].point_before = before_last;
        before_last = before;
        if (runs[each].end != runs[each + 1].begin) continue;
        runs[each].point_after = runs[each + 1].point_after;
        runs[each].point_beyond = runs[each + 1].point_beyond;
    }
    int64_t last = work->run_count - 1;
    if (last > 0 && runs[last - 1].end == runs[last].begin) runs[last].point_before = before_last;
}

static uint8_t roles_of_stars(const Run *run, Classes classes) {
    uint32_t before = classes[run->point_before], after = classes[run->point_after];
    int64_t size = run->end - run->begin;
    bool is_short = size <= LONGEST_RUN, wildcard = size == 1 && before & BEFORE_WILDCARD && after & AFTER_WILDCARD;
    if (size == 1 && before & SPACE && after & SPACE) return 0; /* `5 * 3`, which may be in bold */
    uint8_t roles = MAY_HAVE_ROLE;
    if (is_short && !(before & NO_STAR_OPENS_AFTER) && !(after & SPACE) && !wildcard) roles |= OPENS;
    if (is_short && !(before & SPACE) && !(after & NO_STAR_CLOSES_BEFORE)) roles |= CLOSES;
    if (size == 2 && before & LETTER && after & LOWER) roles |= CLOSES_WORD;
    if (size == 1 && run->point_after == '.' && classes[run->point_beyond] & LETTER) roles |= CLOSES_WORDS;
    if (before & OPENS_WORD) roles |= BEGINS_WORD;
    return roles;
}

static uint8_t roles_of_underscores(const Run *run, Classes classes) {
    uint32_t before = classes[run->point_before], after = classes[run->point_after];
    bool is_short = run->end - run->begin <= LONGEST_RUN;
    bool tied = after & TIES_TO_LETTER && (classes[run->point_beyond] & ANY_LETTER || run->point_beyond == '*');
    if (before & ANY_LETTER && after & ANY_LETTER) return 0; /* `my_name` */
    uint8_t roles = MAY_HAVE_ROLE;
    if (is_short && !(before & NO_UNDERSCORE_OPENS_AFTER) && !(after & SPACE)) roles |= OPENS;
    if (is_short && !(before & SPACE) && !(after & NO_UNDERSCORE_CLOSES_BEFORE) && !tied) roles |= CLOSES;
    return roles;
}

bool read_runs(Work *work, Text text, int64_t length) {
    if (!read(work, text, length)) return false;
    if (work->run_count > 1) look_beside(work, text, length);
    for (int64_t each = 0; each < work->run_count; each++) {
        Run *run = &work->runs[each];
        run->roles = run->sign == '*' ? roles_of_stars(run, work->classes) : roles_of_underscores(run, work->classes);
    }
    return true;
}
