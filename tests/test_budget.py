"""Caps on what a run may take, and the meters that count towards them."""

import threading

import pytest

from nemocc_dask.budget import Caps, Meter, Tokens
from nemocc_dask.errors import BudgetReachedError, JobError
from nemocc_dask.settings import Job, Prices

PRICES = Prices(input=2, output=10)


@pytest.mark.parametrize(
    ("caps", "tokens", "reached"),
    [
        (Caps(), Tokens(10**12, 10**12), False),
        (Caps(max_tokens=100), Tokens(99, 0), False),
        (Caps(max_tokens=100), Tokens(60, 40), True),
        (Caps(max_cost=1.0, prices=PRICES), Tokens(499_999, 0), False),
        (Caps(max_cost=1.0, prices=PRICES), Tokens(0, 100_000), True),
        (Caps(max_cost=0.0, prices=PRICES), Tokens(), True),
    ],
)
def test_when_a_cap_is_reached(caps, tokens, reached):
    """A cap is reached by as many tokens, or as much money, as it says; without caps never."""
    assert caps.reached_by(tokens) is reached


def test_what_is_said_of_a_cap():
    """One line names what was spent, the cap, and what to do."""
    caps = Caps(max_cost=1.5, max_tokens=1000, prices=PRICES)
    dear, many = caps.error(Tokens(0, 200)), caps.error(Tokens(900, 200))
    assert str(many) == (
        "The run has taken 1,100 tokens, which reaches --max-tokens-total 1000. "
        "Raise it, and run the same command again to go on."
    )
    assert "has cost 0.002" in str(dear) and "--max-cost 1.5" in str(dear)
    assert isinstance(dear, BudgetReachedError) and isinstance(dear, JobError)


def test_caps_are_those_of_a_job():
    """Caps and prices come from the job's settings."""
    job = Job(output="o", samples=1, base_url="http://h/v1", model="m", price_input=2, price_output=10, max_cost=3)
    assert Caps.of(job) == Caps(max_cost=3, prices=PRICES)
    assert Caps.of(job.replace(max_tokens_total=7)).max_tokens == 7


def test_a_meter_counts_from_any_thread():
    """However many threads add at once, the cap is reached by exactly the additions from a sum on."""
    meter, said = Meter(Caps(max_tokens=1000), Tokens(100, 0)), []
    counts = {"prompt_tokens": 2, "completion_tokens": 1, "estimated_prompt_tokens": 1, "rows": 50}
    threads = [threading.Thread(target=lambda: said.extend(meter.add(counts) for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.taken == Tokens(100 + 3 * 400, 400) and meter.estimated == Tokens(400, 0)
    assert said.count(False) == 224  # 100 + 224 * 4 = 996
