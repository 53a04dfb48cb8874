"""What tokens cost: a small table of published prices, for who does not give their own."""

from __future__ import annotations

from typing import NamedTuple


class Prices(NamedTuple):
    """US dollars per million tokens, or whatever currency the user gives them in.

    >>> Prices(input=0.5, output=1.5).cost(prompt_tokens=1_000_000, completion_tokens=2_000_000)
    3.5
    """

    input: float
    output: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of so many tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


PRICES = {
    "gpt-4.1": Prices(2.00, 8.00),
    "gpt-4.1-mini": Prices(0.40, 1.60),
    "gpt-4.1-nano": Prices(0.10, 0.40),
    "gpt-4o": Prices(2.50, 10.00),
    "gpt-4o-mini": Prices(0.15, 0.60),
}
"""Model → list price in US dollars, as OpenAI published it in 2025. What a user gives beats it; prices change."""


def price_of(model: str, price_input: float | None, price_output: float | None) -> Prices | None:
    """The user's prices where both are given, else those of the table; None where nobody knows.

    >>> price_of("gpt-4o-mini", None, None), price_of("my-model", None, None)
    (Prices(input=0.15, output=0.6), None)
    """
    if price_input is not None and price_output is not None:
        return Prices(price_input, price_output)
    return PRICES.get(model)
