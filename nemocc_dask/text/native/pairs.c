/* Pairs of runs that are bold or italics. They go in rounds, innermost first; stars before underscores, as what is in
   bold may be in underscores as well. */

#include <string.h>

#include "markup.h"

static int64_t left_of(const Run *run) { return run->to - run->from; }

static bool is_pair(const Work *work, const Run *opening, const Run *closing) {
    if (!(opening->roles & OPENS) || opening->line != closing->line) return false;
    int64_t first = left_of(opening), second = left_of(closing);
    if (first != second && first != LONGEST_RUN && second != LONGEST_RUN) return false;
    bool in_word = !(closing->roles & CLOSES), strong = first > 1 && second > 1;
    if (in_word && !(closing->roles & CLOSES_WORD && opening->roles & BEGINS_WORD && first == second)) return false;
    int64_t begin = opening->to, end = closing->from;
    if (end - begin > LONGEST_WORDS) return false;
    if (opening->sign == '_')
        return may_be_emphasised(work->hidden, begin, end, strong ? TWO_WORDS : UNDERSCORED, work->classes,
                                 work->reach);
    if (closing->roles & CLOSES_WORDS && !has_space(work->hidden, begin, end, work->classes)) return false;
    if (strong && in_word) return is_word(work->hidden, begin, end, work->classes);
    return may_be_emphasised(work->hidden, begin, end, strong ? BOLD : STARRED, work->classes, work->reach);
}

/* The signs of a pair go, as many as both have. */
static void take(Work *work, Run *opening, Run *closing) {
    int64_t size = left_of(opening) < left_of(closing) ? left_of(opening) : left_of(closing);
    opening->to -= size;
    memset(work->hidden + opening->to, HIDDEN, (size_t)size);
    memset(work->hidden + closing->from, HIDDEN, (size_t)size);
    closing->from += size;
}

static void leave(Run *runs, const Run *run) {
    if (run->before >= 0) runs[run->before].after = run->after;
    if (run->after >= 0) runs[run->after].before = run->before;
}

/* Runs of this sign that may have a role know their neighbours, and each is worth trying; how many there are. */
static int64_t link(Work *work, uint8_t sign) {
    int64_t count = 0, last = -1;
    for (int64_t each = 0; each < work->run_count; each++) {
        Run *run = &work->runs[each];
        if (run->sign != sign || !(run->roles & MAY_HAVE_ROLE)) continue;
        run->before = last;
        run->after = -1;
        run->round = 0;
        if (last >= 0) work->runs[last].after = each;
        last = work->worth[count++] = each;
    }
    return count;
}

static void note(Work *work, int64_t each, int64_t round, int64_t *count) {
    if (each < 0 || work->runs[each].round == round || !left_of(&work->runs[each])) return;
    work->runs[each].round = round;
    work->noted[(*count)++] = each;
}

/* Takes all pairs of a sign; how many there were. In each round every run that is worth trying is tried with the next
   one of those that are left, unless that is of a pair of this round itself; what stands beside a pair is worth trying
   in the next. */
static int64_t take_pairs(Work *work, uint8_t sign) {
    int64_t pairs = 0, count = link(work, sign);
    for (int64_t round = 1; count; round++) {
        int64_t noted = 0, closed = -1;
        for (int64_t next = 0; next < count; next++) {
            int64_t each = work->worth[next];
            Run *opening = &work->runs[each];
            if (each == closed || !left_of(opening) || opening->after < 0) continue;
            closed = -1;
            Run *closing = &work->runs[opening->after];
            if (!is_pair(work, opening, closing)) continue;
            closed = opening->after;
            take(work, opening, closing);
            pairs++;
            int64_t before = opening->before;
            if (!left_of(opening)) leave(work->runs, opening);
            if (!left_of(closing)) leave(work->runs, closing);
            note(work, before, round, &noted);
            note(work, each, round, &noted);
            note(work, closed, round, &noted);
        }
        int64_t *tried = work->worth;
        work->worth = work->noted;
        work->noted = tried;
        count = noted;
    }
    return pairs;
}

/* Of each run only what is left of it stays; the new length. */
static int64_t without_signs(const Work *work, uint8_t *text, int64_t length) {
    int64_t kept = 0, done = 0;
    for (int64_t each = 0; each < work->run_count; each++) {
        const Run *run = &work->runs[each];
        if (left_of(run) == run->end - run->begin) continue;
        kept = keep(text, kept, text, (Span){done, run->begin});
        kept = keep(text, kept, text, (Span){run->from, run->to});
        done = run->end;
    }
    return keep(text, kept, text, (Span){done, length});
}

int64_t without_pairs(Work *work, uint8_t *text, int64_t length) {
    if (!memchr(text, '*', (size_t)length) && !memchr(text, '_', (size_t)length)) return length;
    if (!read_runs(work, text, length)) return -1;
    int64_t pairs = take_pairs(work, '*');
    pairs += take_pairs(work, '_');
    return pairs ? without_signs(work, text, length) : length;
}
