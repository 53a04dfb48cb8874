"""How many requests one server is given at once: as many as it copes with, learned from refusals and latencies.

The law, for one server. n is the limit, in requests at once. A round is a row of requests sent one after another, at
least n of them, looked at together once 80 % are back; m is the median of its ln(latency), k the mean number under way
meanwhile, and b what m was at first, at a low load. Everything is a ratio: no constant of it is in seconds.

::

    an answer, quick start   n += 1                     doubles n each round trip; not while slower than 1.35 e^b
    an answer, afterwards    n += 1/40                  while m - b < ln 1.35; 1/10 after 10 quiet round trips
    a refusal                n *= 0.9                   once for all that was sent before the last decrease
    slow rounds              n = k max(1/2, e^(b - m))  a trial: m - b > ln 1.35, and beyond doubt
    end of the trial         e = (m - m') / ln(k / k')  m', k': of the round after n was cut
        e >= 0.6             n = 1.25 k e^(b - m)       the slowness is ours: stay a little above what is served at
                                                        once, and give way again only where m - b > ln 1.7
        e < 0.6              b = m', quick start        it is not, or more at once is worth it: on from here, to 2 k

n grows only where 80 % of it are in use. Beyond doubt: m - b is more than 3 standard errors of m and one of b in two
rounds running, of which the second is no slower than the first: while things get worse there is nothing to compare. A
trial is also made after 20 slow rounds, and proves nothing where m' is greater than m. Two rounds running that are
faster than b beyond doubt, by more than 1.35, are the new b.

Where a server takes turns among C requests at once, latency grows as k / C and e is 1: n stays between C and 1.5 C.
Where each request slows the others a little, as in batched decoding, e is the share of its own gain that another
request takes from the others: above 0.6, twice as many at once would bring less than a third more answers.
"""

from __future__ import annotations

import math

from nemocc_dask.llm.rounds import Round, Seen, median_error

START = 16
"""Requests at once that a server is first given."""
REFUSED = 0.9
"""What is left of the limit after a refusal."""
SLOW = math.log(1.35)
"""Growth of ln(latency) above which no more is sent at once."""
VERY_SLOW = math.log(1.7)
"""Growth beyond which a server known to slow down with load is given less again."""
ABOVE = 1.25
"""What such a server is given, as a multiple of what it serves at once: enough that it never runs dry."""
SURE = 3.0
"""Standard errors by which two rounds running have to be slower: there are hundreds of rounds, and chance in each."""
SURE_OF_BASE = 1.0
"""Standard errors allowed for what they are compared with: that was measured once."""
ALIKE = 1.0
"""Standard errors within which a round is as good a base as the base."""
HELD_ROUNDS = 20
"""Rounds that are slow, but not beyond doubt, after which a trial is made to know."""
DEEPEST = 0.5
"""What is left of the load in a trial, at least."""
OURS = 0.6
"""Share of the slowness that a trial has to take back."""
FARTHER = 2.0
"""How far the quick start goes after a trial, as a multiple of the load before it."""
ROUND, LONGEST_ROUND = 16, 256
"""Fewest requests in a round, and most, unless more are sent at once."""
CAREFUL, BOLD = 1 / 40, 1 / 10
"""Growth with each answer: a round trip brings n of them. So a refusal is made up for in four."""
QUIET_ROUND_TRIPS = 10
"""Careful until so many have passed without a refusal."""
USED = 0.8
"""Share of the limit that has to be in use before it grows."""
SHORTEST_S = 1e-6


class Adaptive:
    """How many requests one server is given at once.

    most: never more than this; `fixed` always gives so many. limit: how many now, 1 at least.

    >>> server = Adaptive(64)
    >>> server.answered(server.sent(in_flight=16), latency_s=0.2, in_flight=16)
    >>> server.limit
    17
    """

    def __init__(self, most: int, *, fixed: bool = False) -> None:
        self.limit = 0
        self._exact = float(START)
        self._epoch = 0
        self._round = Round(0, ROUND)
        self.adopt(most, fixed=fixed)
        self.restart()

    @property
    def epoch(self) -> int:
        """How often it was cut, or began anew."""
        return self._epoch

    def adopt(self, most: int, *, fixed: bool) -> None:
        """Takes other settings; what was learned stays."""
        self._most, self._fixed = most, fixed
        self._set(self._exact)  # not cut down to `most`: that may be lifted again

    def restart(self) -> None:
        """A server that nothing is known of, or nothing any more."""
        self._quick_to = math.inf
        self._quiet = 0.0
        self._held = 0
        self._slows_down = self._fast = False
        self._suspect: Seen | None = None
        self._base: Seen | None = None
        self._trial: Seen | None = None
        self._set(START)
        self._start_over()

    def sent(self, in_flight: int) -> Round:
        """A request goes: the round it belongs to, to be handed back with what became of it.

        in_flight: requests under way, itself included; below as well.
        """
        if not self._round.open_for:
            self._round = self._next_round()
        self._round.take(in_flight)
        return self._round

    def answered(self, round_: Round, latency_s: float, in_flight: int) -> None:
        """An answer came."""
        log = math.log(max(latency_s, SHORTEST_S))
        self._quiet += 1 / self._exact
        if self._trial is None and self._suspect is None and in_flight >= USED * self.limit:
            self._grow(log)
        if round_.epoch == self._epoch:
            round_.logs.append(log)
            round_.at_once += in_flight
            self._back(round_)

    def refused(self, round_: Round, in_flight: int) -> None:
        """The server has too much to do, it says."""
        if round_.epoch == self._epoch:
            self._trial = self._suspect = None
            self._quick_to = self._quiet = 0.0
            self._set(REFUSED * min(self._exact, in_flight))
            self._start_over()

    def lost(self, round_: Round) -> None:
        """Nothing can be learned from this one."""
        if round_.epoch == self._epoch:
            self._back(round_)

    def _set(self, limit: float) -> None:
        self._exact = max(1.0, limit)
        self.limit = self._most if self._fixed else min(self._most, int(self._exact))

    def _start_over(self) -> None:
        """What was sent up to now says nothing about the limit there is now."""
        self._epoch += 1
        self._round = self._next_round()

    def _next_round(self) -> Round:
        needed = ROUND if self._base is None else max(self.limit, min(self._base.needed(), LONGEST_ROUND))
        return Round(self._epoch, max(ROUND, needed))

    def _grow(self, log: float) -> None:
        if self._exact >= self._most:
            return
        if self._exact < self._quick_to:
            if self._base is None or log - self._base.median < SLOW:
                self._set(self._exact + 1)
        elif not self._held:
            self._set(self._exact + (BOLD if self._quiet > QUIET_ROUND_TRIPS else CAREFUL))

    def _back(self, round_: Round) -> None:
        round_.out -= 1
        if round_.is_back():
            round_.epoch = -1
            if round_.is_telling():
                self._judge(Seen.of(round_))

    def _judge(self, seen: Seen) -> None:
        if self._base is None:
            self._base = seen
        elif self._trial is not None:
            self._end_trial(self._trial, seen, self._base)
        else:
            self._compare(seen, self._base)

    def _compare(self, seen: Seen, base: Seen) -> None:
        slower, spread = seen.median - base.median, max(seen.spread, base.spread)
        errors = median_error(spread, seen.number), median_error(spread, base.number)
        doubt = SURE * errors[0] + SURE_OF_BASE * errors[1]
        suspect = slower > max(doubt, VERY_SLOW if self._slows_down else SLOW)
        self._held = self._held + 1 if slower > SLOW else 0
        was_fast, self._fast = self._fast, slower < -max(doubt, SLOW)
        if self._fast and was_fast:
            self._base = seen
        elif (suspect and self._settled(seen, doubt)) or self._held > HELD_ROUNDS:
            self._try_less(seen, slower)
            return
        elif slower < max(SLOW / 2, ALIKE * math.hypot(*errors)) and base.number < base.needed():
            self._base = base.with_(seen)
        self._suspect = seen if suspect else None

    def _settled(self, seen: Seen, doubt: float) -> bool:
        """Whether the round before was suspect too, and no faster: while it gets worse there is nothing to measure."""
        return self._suspect is not None and seen.median - self._suspect.median < max(doubt, SLOW / 2)

    def _try_less(self, seen: Seen, slower: float) -> None:
        self._trial, self._suspect = seen, None
        self._set(seen.load * max(DEEPEST, math.exp(-slower)))
        self._start_over()

    def _end_trial(self, before: Seen, seen: Seen, base: Seen) -> None:
        less = math.log(before.load / seen.load)
        self._trial, self._held = None, 0
        self._slows_down = less > 0 and (before.median - seen.median) / less >= OURS
        if seen.median - before.median > SLOW:
            self._suspect = seen  # slower with less to do: something else has changed, so this proves nothing
        elif self._slows_down:
            self._quick_to = self._quiet = 0.0
            self._set(before.load * ABOVE * math.exp(base.median - before.median))
        else:
            self._base, self._quick_to = seen, FARTHER * before.load
        self._start_over()
