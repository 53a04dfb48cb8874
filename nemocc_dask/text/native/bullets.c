/* Knowledge lists: whatever bullets a model chose, one fact a line. `bullets.py` says what is a fact, and has the
   patterns of what is recognised here; a test holds both to the same answers. */

#include <string.h>

#include "markup.h"

typedef struct {
    Text text;
    Classes classes;
    uint8_t *made;
    int64_t row, fact, written; /* where in `made` this row begins, this fact begins, and what is to come will stand */
    bool before_first, unbulleted;
} List;

/* --- pieces of lines ---------------------------------------------------------------------------------------------- */

/* Past one of some characters; 0 where the part, which is not empty, begins with none of them. */
static int64_t past_any(Text text, Span part, const char *const *some) {
    for (; *some; some++)
        if ((uint8_t)**some == text[part.begin] && begins_with(text, part, *some))
            return part.begin + (int64_t)strlen(*some);
    return 0;
}

static int64_t past_number(Text text, Span part) {
    int64_t digit = part.begin + (text[part.begin] == '('), end = digit;
    while (end < part.end && end < digit + 3 && text[end] >= '0' && text[end] <= '9') end++;
    if (end == digit || end == part.end) return 0;
    return text[end] == ')' || (text[end] == '.' && digit == part.begin) ? end + 1 : 0;
}

/* Past a bullet and the space behind it; 0 where there is none. Dashes and numbers begin facts too (-5 °C, 1.5 million):
   as bullets these need space behind them, or the end of the line. */
static int64_t past_bullet(const List *list, Span part) {
    static const char *const DOTS[] = {"•", "▪", "◦", "‣", NULL}, *const DASHES[] = {"-", "*", "+", "–",
                                                                                     "—", "·", NULL};
    if (part.begin == part.end) return 0;
    int64_t end = past_any(list->text, part, DOTS);
    if (end) return past_space(list->text, end, part.end, list->classes);
    end = past_any(list->text, part, DASHES);
    if (!end) end = past_number(list->text, part);
    int64_t bare = end ? past_space(list->text, end, part.end, list->classes) : 0;
    return bare > end || end == part.end ? bare : 0;
}

/* Past all bullets that a line begins with; where it begins where it has none. */
static int64_t past_bullets(const List *list, Span line) {
    int64_t bare = line.begin,
            next = past_bullet(list, (Span){past_space(list->text, line.begin, line.end, list->classes), line.end});
    while (next) {
        bare = next;
        next = past_bullet(list, (Span){bare, line.end});
    }
    return bare;
}

/* --- what facts read like ----------------------------------------------------------------------------------------- */

/* Whether a text ends with one of some characters, behind which any number of others may stand. */
static bool ends_with(Text text, Span part, const char *const *some, const char *const *others) {
    while (part.begin < part.end) {
        Span last = {before_point(text, part.end, part.begin), part.end};
        if (past_any(text, last, some)) return true;
        if (!past_any(text, last, others)) return false;
        part.end = last.begin;
    }
    return false;
}

static bool announces(Text text, Span fact) {
    static const char *const COLONS[] = {":", "：", NULL}, *const DRESS[] = {"*", "_", " ", "\t", NULL};
    return ends_with(text, fact, COLONS, DRESS);
}

static bool is_sentence(Text text, Span fact) {
    static const char *const STOPS[] = {".", "!", "?", "。", "！", "？", NULL};
    static const char *const CLOSING[] = {"\"", "”", "’", ")", "*", "_", NULL};
    return ends_with(text, fact, STOPS, CLOSING);
}

static bool is_preamble(const List *list, Span fact) {
    static const char *const OPENINGS[] = {"here is", "here are", "here's", "here’s", "sure", "below", "the following"};
    while (fact.begin < fact.end && strchr("*_# ", list->text[fact.begin]) && list->text[fact.begin]) fact.begin++;
    for (size_t each = 0; each < sizeof OPENINGS / sizeof *OPENINGS; each++) {
        int64_t end = past_words(list->text, fact, OPENINGS[each], list->classes);
        if (end && (end == fact.end || !is_letter_or_digit(list->text[end]))) return true;
    }
    return false;
}

static bool is_heading(Text text, Span fact) {
    int64_t end = fact.begin;
    while (end < fact.end && text[end] == '#') end++;
    return end > fact.begin && end <= fact.begin + 6 && end < fact.end && text[end] == ' ';
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

/* What was written since the last fact stays if it is one, else it goes. */
static void end_fact(List *list) {
    List made = *list;
    made.text = list->made;
    Span fact = {list->fact, list->written};
    bool goes = fact.begin == fact.end || announces(made.text, fact) ||
                (list->before_first && (!is_sentence(made.text, fact) || is_preamble(&made, fact))) ||
                (list->unbulleted && is_heading(made.text, fact));
    if (goes) list->written = list->fact > list->row ? list->fact - 1 : list->row;
}

/* A line break after the fact before, if there is one. */
static void begin_fact(List *list, bool before_first, bool unbulleted) {
    if (list->written > list->row) list->made[list->written++] = '\n';
    list->fact = list->written;
    list->before_first = before_first;
    list->unbulleted = unbulleted;
}

static Span line_at(Text text, int64_t place, int64_t length) {
    Text end = place < length ? memchr(text + place, '\n', (size_t)(length - place)) : NULL;
    return (Span){place, end ? end - text : length};
}

/* Where the first line with a bullet begins; -1 where none has. */
static int64_t first_bullet(const List *list, int64_t length) {
    for (Span line = {0, -1}; line.end < length;) {
        line = line_at(list->text, line.end + 1, length);
        if (past_bullets(list, line) > line.begin) return line.begin;
    }
    return -1;
}

static void normalize(List *list, int64_t length) {
    int64_t bullet = first_bullet(list, length);
    bool has_bullets = bullet >= 0, is_first = true;
    list->row = list->fact = list->written;
    for (Span line = {0, -1}; line.end < length;) {
        line = line_at(list->text, line.end + 1, length);
        bool indented = past_space(list->text, line.begin, line.end, list->classes) > line.begin;
        int64_t past = past_bullets(list, line);
        bool bulleted = past > line.begin;
        Span bare = stripped(list->text, (Span){past, line.end}, list->classes);
        if (bare.begin == bare.end && !bulleted) continue;
        if (is_first || bulleted || !has_bullets || !indented) {
            if (!is_first) end_fact(list);
            begin_fact(list, has_bullets && line.begin < bullet, has_bullets && !bulleted);
        } else if (list->written > list->fact) {
            list->made[list->written++] = ' ';
        }
        list->written = keep(list->made, list->written, list->text, bare);
        is_first = false;
    }
    if (!is_first) end_fact(list);
}

/* The lists, one fact a line, end to end in `made`, which has room for them as they are; `nemocc_without_markup` says
   what the others are. Gives 0. */
CALLED_BY_PYTHON int nemocc_normalize_bullets(const uint8_t *data, const int64_t *offsets, int64_t rows, uint8_t *made,
                                              int64_t *bounds, Classes classes) {
    List list = {.classes = classes, .made = made};
    bounds[0] = 0;
    for (int64_t row = 0; row < rows; row++) {
        list.text = data + offsets[row];
        normalize(&list, offsets[row + 1] - offsets[row]);
        bounds[row + 1] = list.written;
    }
    return 0;
}
