/* Takes links out of texts, of which the words stay: `[words](place "title")`, also those of pictures.

   What leads to an address may stand anywhere; other places look like the arguments of a call, so right behind a letter
   or a bracket, as in `handlers[name](event.key)`, the words are an index. */

#include <string.h>

#include "markup.h"

static int64_t past_blanks(Text text, int64_t place, int64_t length) {
    while (place < length && is_blank(text[place])) place++;
    return place;
}

static bool has_index(uint8_t byte) { return is_letter_or_digit(byte) || byte == ')' || byte == ']'; }

/* The place of a byte on this line; `length` where it is not there. */
static int64_t on_line(Text text, int64_t place, int64_t length, uint8_t byte) {
    while (place < length && text[place] != byte && text[place] != '\n') place++;
    return place < length && text[place] == byte ? place : length;
}

/* Brackets inside of brackets, without more of their kind in them. */
static int64_t past_brackets(Text text, int64_t place, int64_t length) {
    for (place++; place < length && text[place] != '[' && text[place] != '\n'; place++)
        if (text[place] == ']') return place + 1;
    return 0;
}

/* The place of the bracket that closes the words which begin at a place; 0 where none does. */
static int64_t words_end(Text text, int64_t place, int64_t length) {
    while (place < length && text[place] != ']') {
        switch (text[place]) {
            case '\n': return 0;
            case '[': place = past_brackets(text, place, length); break;
            case '`': place = code(text, place, length); break;
            case '\\':
                if (place + 1 >= length || text[place + 1] == '\n') return 0;
                place = after_point(text, place + 1);
                break;
            default: place++;
        }
        if (!place) return 0;
    }
    return place < length ? place : 0;
}

static bool ends_place(uint8_t byte) {
    return is_blank(byte) || byte == '\n' || byte == ')' || byte == '<' || byte == '>';
}

/* Past what has neither space nor brackets but round ones in pairs; whether it has a sign of a file, page or heading. */
static int64_t past_place(Text text, int64_t place, int64_t length, bool *is_near) {
    while (place < length && !ends_place(text[place])) {
        if (text[place] == '(') {
            int64_t end = place + 1;
            while (end < length && !is_blank(text[end]) && text[end] != '\n' && text[end] != '(' && text[end] != ')')
                end++;
            if (end == length || text[end] != ')') return place;
            place = end + 1;
        } else {
            *is_near = *is_near || text[place] == '.' || text[place] == '/' || text[place] == '#';
            place++;
        }
    }
    return place;
}

/* Past an address, which may stand in angle brackets; 0 where there is none. */
static int64_t past_address(Text text, int64_t place, int64_t length) {
    static const char *const SCHEMES[] = {"https://", "http://", "ftp://", "mailto:"};
    if (place < length && text[place] == '<') place++;
    for (int each = 0; each < 4; each++) {
        int64_t size = (int64_t)strlen(SCHEMES[each]);
        if (place + size > length || memcmp(text + place, SCHEMES[each], (size_t)size)) continue;
        bool is_near = false;
        int64_t end = past_place(text, place + size, length, &is_near);
        if (end == place + size) return 0;
        return end < length && text[end] == '>' ? end + 1 : end;
    }
    return 0;
}

static int64_t past_near_place(Text text, int64_t place, int64_t length) {
    if (place < length && text[place] == '<') {
        int64_t end = place + 1;
        while (end < length && text[end] != '<' && text[end] != '>' && text[end] != '\n') end++;
        return end < length && text[end] == '>' ? end + 1 : 0;
    }
    bool is_near = false;
    int64_t end = past_place(text, place, length, &is_near);
    return is_near ? end : 0;
}

/* Past a title, if there is one, and the bracket that ends the link; 0 where that does not follow. */
static int64_t past_title(Text text, int64_t place, int64_t length) {
    int64_t title = past_blanks(text, place, length), end = title;
    if (title > place && title < length && (text[title] == '"' || text[title] == '\'')) {
        end = on_line(text, title + 1, length, text[title]);
        if (end == length) return 0;
        end = past_blanks(text, end + 1, length);
    }
    return end < length && text[end] == ')' ? end + 1 : 0;
}

typedef struct {
    Span whole, words;
} Link;

/* The link whose words begin behind the bracket at a place; none where its end is 0. */
static Link link_at(Text text, int64_t place, int64_t length, int64_t floor) {
    Link link = {{place, 0}, {place + 1, words_end(text, place + 1, length)}};
    int64_t bracket = link.words.end;
    if (!bracket || bracket + 1 >= length || text[bracket + 1] != '(') return link;
    bool may_be_index = place > floor && has_index(text[place - 1]);
    int64_t target = past_blanks(text, bracket + 2, length), end = past_address(text, target, length);
    if (end) end = past_title(text, end, length);
    if (!end && !may_be_index && bracket > place + 1) {
        end = past_near_place(text, target, length);
        if (end) end = past_title(text, end, length);
    }
    link.whole.end = end;
    if (place > floor && text[place - 1] == '!') link.whole.begin--;
    return link;
}

int64_t without_links(Text text, int64_t length, uint8_t *made) {
    Endless endless = {0, 0, 0};
    int64_t place = no_prose_at_line(text, 0, length), floor = place, done = 0, kept = 0;
    while (place < length) {
        uint8_t byte = text[place];
        if (byte == '[') {
            Link link = link_at(text, place, length, floor);
            if (link.whole.end) {
                kept = keep(made, kept, text, (Span){done, link.whole.begin});
                kept = keep(made, kept, text, link.words);
                done = place = floor = link.whole.end;
                continue;
            }
        } else if (WORTH_A_LOOK[byte] && byte != '*' && byte != ']') {
            int64_t end = no_prose_at(text, place, length, floor, &endless).end;
            if (end) {
                place = floor = end;
                continue;
            }
        }
        place = byte == '`' ? after_no_code(text, place, length) : place + 1;
    }
    return keep(made, kept, text, (Span){done, length});
}
