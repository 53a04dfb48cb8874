/* What is no prose though it may look like markup: code, maths, addresses, bullets, escaped signs, identifiers.

   Each function says where something ends that begins at a place, or 0 where it does not begin there. They say what
   the patterns of `markdown.py` say, alternative by alternative; a test holds both to the same answers. */

#include <string.h>

#include "markup.h"

enum { LINE = 1, OTHER, SIGN };

const uint8_t WORTH_A_LOOK[256] = {
    ['\n'] = LINE, ['`'] = OTHER,  ['$'] = OTHER, ['\\'] = OTHER, ['/'] = OTHER, [':'] = OTHER,
    ['"'] = OTHER, ['\''] = OTHER, ['.'] = OTHER, [']'] = OTHER,  ['*'] = SIGN,  ['_'] = SIGN,
};

static bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

static bool is_name(uint8_t byte) { return is_letter_or_digit(byte) || byte == '_'; }

static bool is_sign(uint8_t byte) { return byte > ' ' && byte < 0x7F && !is_letter_or_digit(byte); }

static int64_t past_blanks(Text text, int64_t place, int64_t length) {
    while (place < length && is_blank(text[place])) place++;
    return place;
}

static int64_t past_run(Text text, int64_t place, int64_t length, uint8_t byte) {
    while (place < length && text[place] == byte) place++;
    return place;
}

static int64_t line_end(Text text, int64_t place, int64_t length) {
    const uint8_t *found = place < length ? memchr(text + place, '\n', (size_t)(length - place)) : NULL;
    return found ? found - text : length;
}

static bool has_at(Text text, int64_t place, int64_t length, const char *bytes) {
    int64_t size = (int64_t)strlen(bytes);
    return place + size <= length && memcmp(text + place, bytes, (size_t)size) == 0;
}

/* --- at the beginning of a line ----------------------------------------------------------------------------------- */

/* A fence that nothing closes holds all that follows. */
static int64_t fenced(Text text, int64_t place, int64_t length, uint8_t mark) {
    int64_t inside = past_blanks(text, place, length), info = past_run(text, inside, length, mark);
    if (info - inside < 3) return 0;
    int64_t line = line_end(text, info, length);
    if (line == length || memchr(text + info, '`', (size_t)(line - info))) return 0;
    while (line < length) {
        int64_t closing = past_blanks(text, line + 1, length), end = past_run(text, closing, length, mark);
        if (end - closing >= 3) return end;
        line = line_end(text, end, length);
    }
    return length;
}

static int64_t bullet(Text text, int64_t place, int64_t length) {
    int64_t sign = past_blanks(text, place, length), end = sign;
    if (sign == length) return 0;
    if (has_at(text, sign, length, "\xE2\x80\xA2")) {
        end = sign + 3;
    } else if (strchr("-+*", text[sign]) && text[sign]) {
        end = sign + 1;
    } else {
        while (end < length && end < sign + 3 && is_digit(text[end])) end++;
        if (end == sign || end == length || (text[end] != '.' && text[end] != ')')) return 0;
        end++;
    }
    return end < length && is_blank(text[end]) ? end + 1 : 0;
}

static int64_t indented_code(Text text, int64_t place, int64_t length) {
    int64_t code = place;
    while (code < length && code < place + 4 && text[code] == ' ') code++;
    if (code < place + 4) {
        if (code == length || text[code] != '\t') return 0;
        code++;
    }
    int64_t end = line_end(text, code, length);
    return end > code ? end : 0;
}

int64_t no_prose_at_line(Text text, int64_t place, int64_t length) {
    int64_t end = fenced(text, place, length, '`');
    if (!end) end = fenced(text, place, length, '~');
    if (!end) end = bullet(text, place, length);
    if (!end) end = indented_code(text, place, length);
    return end;
}

/* --- code and comments -------------------------------------------------------------------------------------------- */

/* Between two backticks or more, single ones may stand before anything else; between two single ones, none. */
int64_t code(Text text, int64_t place, int64_t length) {
    int64_t inside = past_run(text, place, length, '`');
    if (inside - place == 1) {
        int64_t end = inside;
        while (end < length && text[end] != '`' && text[end] != '\n') end++;
        return end > inside && end < length && text[end] == '`' ? end + 1 : 0;
    }
    int64_t end = inside;
    while (end < length && text[end] != '\n') {
        if (text[end] != '`') {
            end++;
        } else if (end + 1 < length && text[end + 1] == '`') {
            return end > inside ? past_run(text, end, length, '`') : 0;
        } else if (end + 1 < length && text[end + 1] != '\n') {
            end += 2;
        } else {
            return 0;
        }
    }
    return 0;
}

int64_t after_no_code(Text text, int64_t place, int64_t length) {
    int64_t last = past_run(text, place, length, '`') - 1;
    return last > place ? last : place + 1;
}

static int64_t comment(Text text, int64_t place, int64_t length, Endless *endless) {
    int64_t inside = past_run(text, place + 1, length, '*');
    if (inside == place + 1 || inside >= length ||
        !(is_blank(text[inside]) || text[inside] == '\n' || text[inside] == '!'))
        return 0;
    if (place < endless->comment) return 0;
    for (int64_t end = inside + 1; end + 1 < length; end++)
        if (text[end] == '*' && text[end + 1] == '/') return end + 2;
    endless->comment = length;
    return 0;
}

/* --- maths -------------------------------------------------------------------------------------------------------- */

/* Ends before a blank line: `$$` is slang for dear, too. */
static int64_t display_dollars(Text text, int64_t place, int64_t length) {
    int64_t inside = place + 2, end = inside;
    while (end < length && text[end] != '$') {
        if (text[end] == '\n') {
            if (end + 1 >= length || text[end + 1] == '\n') return 0;
            if (text[end + 1] == '$') return end > inside && has_at(text, end + 1, length, "$$") ? end + 3 : 0;
        }
        end++;
    }
    return end > inside && has_at(text, end, length, "$$") ? end + 2 : 0;
}

static int64_t money(Text text, int64_t place, int64_t length) {
    int64_t end = place + 1;
    if (end == length || !is_digit(text[end])) return 0;
    while (end < length && (is_digit(text[end]) || text[end] == '.' || text[end] == ',')) end++;
    return end < length && text[end] == ' ' ? end + 1 : 0;
}

/* A formula neither begins nor ends with space, has no two stars in a row, and does not end in a dash or a bracket:
   `$5–$6`. What a single star stands before is not its last character. */
static int64_t inline_dollars(Text text, int64_t place, int64_t length) {
    int64_t first = place + 1;
    if (first >= length || text[first] == '$' || is_blank(text[first]) || text[first] == '\n') return 0;
    int64_t body = after_point(text, first), last = body, end = body;
    bool after_star = false, starred_last = false;
    while (end < length && text[end] != '$') {
        if (text[end] == '\n' || (after_star && text[end] == '*')) return 0;
        last = end;
        starred_last = after_star;
        after_star = text[end] == '*';
        end = after_point(text, end);
    }
    if (end >= length) return 0;
    bool may_end = !starred_last && !after_star && !is_blank(text[last]) && text[last] != '(' && text[last] != '-' &&
                   !has_at(text, last, length, "\xE2\x80\x93");
    return end == body || may_end ? end + 1 : 0;
}

/* Whether a backslash at a place begins what it stands before, or is itself what one before it stands before. */
static bool is_second_of_pair(Text text, int64_t place) {
    int64_t first = place;
    while (first > 0 && text[first - 1] == '\\') first--;
    return (place - first) % 2 == 1;
}

/* Between `\(` and `\)` or `\[` and `\]`; the first kind ends on its line. */
static int64_t bracketed_maths(Text text, int64_t place, int64_t length, uint8_t closing, int64_t *endless) {
    if (place < *endless && !is_second_of_pair(text, place)) return 0;
    bool one_line = closing == ')';
    int64_t end = place + 2;
    while (end < length && !(one_line && text[end] == '\n')) {
        if (text[end] != '\\') {
            end++;
            continue;
        }
        if (end + 1 == length || (one_line && text[end + 1] == '\n')) break;
        if (text[end + 1] == closing) return end + 2;
        end = after_point(text, end + 1);
    }
    *endless = end;
    return 0;
}

static int64_t backslash(Text text, int64_t place, int64_t length, Endless *endless) {
    if (place + 1 == length) return 0;
    uint8_t next = text[place + 1];
    int64_t end = 0;
    if (next == '(') end = bracketed_maths(text, place, length, ')', &endless->inline_maths);
    if (next == '[') end = bracketed_maths(text, place, length, ']', &endless->display_maths);
    return end ? end : is_sign(next) ? place + 2 : 0;
}

static int64_t dollar(Text text, int64_t place, int64_t length) {
    int64_t end = has_at(text, place, length, "$$") ? display_dollars(text, place, length) : 0;
    if (!end) end = money(text, place, length);
    return end ? end : inline_dollars(text, place, length);
}

/* --- addresses and names ------------------------------------------------------------------------------------------ */

/* How much of an address stands before its `://`, which letters alone cannot tell: they are most of a text. */
static int64_t scheme_size(Text text, int64_t colon, int64_t floor) {
    static const char *const SCHEMES[] = {"https", "http", "file", "ftp"};
    for (int each = 0; each < 4; each++) {
        int64_t size = (int64_t)strlen(SCHEMES[each]);
        if (colon - size >= floor && memcmp(text + colon - size, SCHEMES[each], (size_t)size) == 0) return size;
    }
    return 0;
}

/* Up to the end of an address that begins at `floor` or later. It does not end with an underscore, which may close what
   the address stands in. */
static Span address(Text text, int64_t colon, int64_t length, int64_t floor) {
    if (!has_at(text, colon, length, "://")) return (Span){0, 0};
    int64_t size = scheme_size(text, colon, floor), end = colon + 3, after_last = 0;
    while (size && end < length) {
        uint8_t byte = text[end];
        if (byte == '*') {
            int64_t after_stars = past_run(text, end, length, '*');
            if (after_stars == length) break;
            uint8_t next = text[after_stars];
            if (next == '_' || !(is_name(next) || next == '/' || next == '&' || next == '=' || next == '?')) break;
            end = after_last = after_stars + 1;
        } else if (byte == '_') {
            end++;
        } else if (byte > ' ' && byte < 0x7F && byte != '<' && byte != '>' && byte != '`') {
            end = after_last = end + 1;
        } else {
            break;
        }
    }
    return (Span){colon - size, after_last};
}

static int64_t dunder(Text text, int64_t place, int64_t length) {
    if (!has_at(text, place, length, "__")) return 0;
    int64_t end = place + 2;
    while (end < length && is_name(text[end])) end++;
    for (; end >= place + 4; end--)
        if (text[end - 1] == '_' && text[end - 2] == '_') return end;
    return 0;
}

static int64_t quoted_name(Text text, int64_t place, int64_t length) {
    int64_t end = place + 1;
    if (end < length && text[end] == '_') {
        while (end < length && is_name(text[end])) end++;
        return end < length && (text[end] == '"' || text[end] == '\'') ? end + 1 : 0;
    }
    if (text[place] != '\'' || end >= length || text[end] != '*') return 0;
    end++;
    while (end < length && text[end] != '\'' && text[end] != '\n' && !is_blank(text[end])) end++;
    return end < length && text[end] == '\'' && end > place + 2 && text[end - 1] == '*' ? end + 1 : 0;
}

/* Of a link in reStructuredText. */
static int64_t target(Text text, int64_t place, int64_t length) {
    if (!has_at(text, place, length, ".. _")) return 0;
    int64_t end = place + 4;
    while (end < length && text[end] != '_' && text[end] != ':' && text[end] != '\n') end++;
    return end > place + 4 && end < length && text[end] == ':' ? end + 1 : 0;
}

/* Where a link leads, from the bracket that ends its words. */
static int64_t place_of_link(Text text, int64_t place, int64_t length) {
    if (!has_at(text, place, length, "](")) return 0;
    for (int64_t end = place + 2; end < length; end++) {
        uint8_t byte = text[end];
        if (byte == ')') return end + 1;
        if (byte == '(') {
            end++;
            while (end < length && text[end] != '(' && text[end] != ')' && text[end] != '\n' && !is_blank(text[end]))
                end++;
            if (end == length || text[end] != ')') return 0;
        } else if (byte == '\n' || is_blank(byte) || byte == '<' || byte == '>') {
            return 0;
        }
    }
    return 0;
}

static int64_t end_of_other(Text text, int64_t place, int64_t length, Endless *endless) {
    switch (text[place]) {
        case '\n': return no_prose_at_line(text, place + 1, length);
        case '`': return code(text, place, length);
        case '$': return dollar(text, place, length);
        case '\\': return backslash(text, place, length, endless);
        case '/': return comment(text, place, length, endless);
        case '_': return dunder(text, place, length);
        case '"':
        case '\'': return quoted_name(text, place, length);
        case '.': return target(text, place, length);
        case ']': return place_of_link(text, place, length);
        default: return 0;
    }
}

Span no_prose_at(Text text, int64_t place, int64_t length, int64_t floor, Endless *endless) {
    if (text[place] == ':') return address(text, place, length, floor);
    return (Span){place, end_of_other(text, place, length, endless)};
}
