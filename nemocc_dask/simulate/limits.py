"""Whom the endpoint turns away: too many at once, too many a second, too many requests or tokens a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nemocc_dask.simulate.knobs import Knobs
from nemocc_dask.simulate.throttle import Throttle
from nemocc_dask.simulate.windows import WINDOW_S, Window


@dataclass(frozen=True)
class TurnedAway:
    """Why a request is not let in, and seconds until another could be; None where the endpoint cannot know."""

    why: str
    wait_s: float | None


class Limits:
    """The endpoint's door: who was let in, who is still in, and whether there is room for one more.

    Only those let in count towards the limits; those turned away are counted by themselves.
    """

    def __init__(self, knobs: Knobs, clock: Callable[[], float]) -> None:
        self._slots, self._in_work = knobs.slots, 0
        self._throttle = Throttle(knobs.rate_limit_per_s, clock)
        self._requests = Window(knobs.requests_per_minute, clock)
        self._tokens = Window(knobs.tokens_per_minute, clock)
        self._turned_away = Window(0, clock)
        self._by_the_minute = bool(knobs.requests_per_minute or knobs.tokens_per_minute)
        self._bounded = bool(knobs.slots or knobs.rate_limit_per_s or self._by_the_minute)

    def turns_away(self, tokens: int) -> TurnedAway | None:
        """Whether a request of so many tokens may not come in now."""
        reason = self._reason(tokens) if self._bounded else None
        if reason is not None:
            self._turned_away.add(1)
        return reason

    def let_in(self, tokens: int) -> int:
        """One more is in work; returns its place, for `bill`."""
        self._in_work += 1
        self._requests.add(1)
        return self._tokens.add(tokens) if self._tokens.limit else 0

    def bill(self, place: int, tokens: int) -> None:
        """So many tokens it really took, in place of those it was let in with, which an abandoned one keeps."""
        if self._tokens.limit:
            self._tokens.correct(place, tokens)

    def let_out(self) -> None:
        """It is in work no longer."""
        self._in_work -= 1

    def headers(self) -> dict[str, str]:
        """What each answer says of the limits by the minute."""
        if not self._by_the_minute:
            return {}
        return self._requests.headers("requests") | self._tokens.headers("tokens")

    def peaks(self) -> dict[str, int]:
        """The most that was counted in any window of a minute; tokens, with a limit only, as on arrival."""
        return {
            "peak_requests_per_minute": self._requests.peak,
            "peak_tokens_per_minute": self._tokens.peak,
            "peak_refused_per_minute": self._turned_away.peak,
        }

    def _reason(self, tokens: int) -> TurnedAway | None:
        """The throttle is asked last: it takes a request for let in when it says yes."""
        if self._slots and self._in_work >= self._slots:
            return TurnedAway(f"all {self._slots} slots are in use", None)
        if wait_s := self._requests.wait_s(1):
            return TurnedAway(f"{self._requests.limit} requests in {WINDOW_S:g} s are the most", wait_s)
        if wait_s := self._tokens.wait_s(tokens):
            limit = self._tokens.limit
            return TurnedAway(f"{limit} tokens in {WINDOW_S:g} s are the most, and this takes up to {tokens}", wait_s)
        if wait_s := self._throttle.wait_s():
            return TurnedAway("too many requests a second", wait_s)
        return None
