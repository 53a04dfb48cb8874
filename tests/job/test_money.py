"""What a run has paid for, counted across interruptions, and the caps it stops at."""

import itertools
import json
import re
from pathlib import Path

import pytest

from nemocc_dask.budget import Caps, Tokens
from nemocc_dask.errors import BudgetReachedError
from nemocc_dask.job import run_job
from nemocc_dask.settings import Prices

from .jobs import arguments, assert_accounted_for, books_of, clean_documents, quiet, start, wait_until

PRICES = Prices(input=3.0, output=15.0)
PRICED = {"price_input": PRICES.input, "price_output": PRICES.output}
DOCUMENTS = clean_documents(40)


def cost_of(*simulators):
    """What the tokens that endpoints have counted cost, and their number."""
    tokens = [sum(each.stats()[name] for each in simulators) for name in ("prompt_tokens", "completion_tokens")]
    return round(PRICES.cost(*tokens), 6), sum(tokens)


def answers_beyond(output, job):
    """How many answers came after the one by which a job has reached its cap; its store says when each came."""
    caps, files = Caps.of(job), (Path(output) / "_nemocc" / "responses").glob("*.jsonl")
    lines = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    answers = sorted((line for line in lines if "prompt_tokens" in line), key=lambda line: line["at"])
    each = (Tokens(line["prompt_tokens"], line["completion_tokens"]) for line in answers)
    beyond = [caps.reached_by(spent) for spent in itertools.accumulate(each, Tokens.plus)].count(True) - 1
    print(f"{beyond} of {len(answers)} answers beyond {caps}")
    return beyond


def taken(books):
    """Tokens that a run has taken, both ways."""
    return books["spent"]["prompt_tokens"] + books["spent"]["completion_tokens"]


# --- figures ----------------------------------------------------------------------------------------------------------


def test_what_a_run_costs(job, simulate, output):
    """Costs, in all and by task, are those of the tokens that the endpoint has counted, useless answers included."""
    simulator = simulate(truncate_rate=0.2, empty_rate=0.1, bad_request_rate=0.1)
    books = run_job(job(simulator, samples=5, **PRICED))
    stats = simulator.stats()
    assert (books["spent"]["cost"], taken(books)) == cost_of(simulator)
    assert books["spent"]["responses"] == stats["answered"] and "responses_without_usage" not in books["spent"]
    accounts = books["tasks"].values()
    assert sum(account["cost"] for account in accounts) == pytest.approx(books["spent"]["cost"], abs=1e-5)
    assert all(account["cost"] > 0 for account in accounts)
    assert_accounted_for(output, books, http_requests=quiet(simulator))


def test_prices_that_nobody_knows(job, simulator):
    """Without prices tokens are counted, and no cost is made up."""
    books = run_job(job(simulator, task=("distill",)))
    assert books["spent"]["cost"] is None and books["tasks"]["distill"]["cost"] is None and taken(books) > 0


def test_a_run_that_was_killed_has_paid_too(job, simulate, output, parquet):
    """What attempts that broke off have paid for counts, in the books and in the summary of the run that goes on."""
    settings = {"input": parquet(DOCUMENTS), "task": ("distill",), "rows_per_partition": 20, **PRICED}
    slow = {"max_concurrent_requests": 4, "threads_per_worker": 1}
    simulator = simulate(latency_s=0.1)
    with start(arguments(job(simulator, **settings, **slow))) as process:
        wait_until(lambda: simulator.stats()["answered"] >= 10)
        process.kill()
        process.communicate(timeout=30)
    quiet(simulator)
    rest = simulate()
    books = run_job(job(rest, **settings))
    answered = simulator.stats()["answered"] + rest.stats()["answered"]
    assert 40 <= answered <= 44 and 40 <= books["spent"]["responses"] <= answered
    cost, tokens = cost_of(simulator, rest)
    per_answer = tokens / answered
    assert tokens - 1.5 * 4 * per_answer <= taken(books) <= tokens and books["spent"]["cost"] <= cost
    account = books["tasks"]["distill"]
    assert account["reused"] + account["responses"] == 40 < account["http_requests"] + 4
    assert account["prompt_tokens"] == books["spent"]["prompt_tokens"]


def test_a_run_that_was_stopped_has_paid_exactly(job, simulate, output, parquet):
    """Where nothing in flight was lost, the tokens of all starts together are those that the endpoint has counted."""
    first = job(simulate(latency_s=0.02), input=parquet(DOCUMENTS), task=("distill",), **PRICED)
    simulator = simulate(latency_s=0.02)
    capped = first.replace(base_url=simulator.base_url, max_concurrent_requests=4)
    for cap in (4000, 8000, None):
        try:
            books = run_job(capped.replace(max_tokens_total=cap))
        except BudgetReachedError:
            books = books_of(output)
        assert (books["spent"]["cost"], taken(books)) == cost_of(simulator)
    assert books["state"] == "done" and quiet(simulator) == 40
    assert books["tasks"]["distill"]["http_requests"] == 40


# --- caps -------------------------------------------------------------------------------------------------------------


SLOW = {"latency_s": 0.03}
"""Many rounds come back between two looks of the threads that wait: the cap has to hold without them."""


@pytest.mark.parametrize(
    ("cap", "bound", "tasks"),
    [
        ("max_tokens_total", 5_000, ("distill",)),
        ("max_cost", 0.03, ("distill",)),
        ("max_cost", 0.06, ("distill", "knowledge_list", "diverse_qa")),
    ],
    ids=["tokens", "cost", "cost of three tasks"],
)
def test_a_cap(job, simulate, output, parquet, cap, bound, tasks):
    """A run stops at its cap with what was in flight, resumable; the same cap sends nothing, a higher one the rest."""
    in_flight, simulator, rest = 4, simulate(**SLOW), simulate()
    first = job(simulator, input=parquet(DOCUMENTS), task=tasks, max_concurrent_requests=in_flight, **PRICED)
    with pytest.raises(BudgetReachedError, match=rf"--{cap.replace('_', '-')} {bound}\. Raise it"):
        run_job(first.replace(**{cap: bound}))
    requests, books = quiet(simulator), books_of(output)
    cost, tokens = cost_of(simulator)
    assert (tokens if cap == "max_tokens_total" else cost) >= bound
    assert answers_beyond(output, first.replace(**{cap: bound})) < in_flight
    assert books["state"] == "stopped" and cap.replace("_", "-") in books["error"]
    assert taken(books) == tokens and simulator.stats()["abandoned"] == 0
    again = first.replace(base_url=rest.base_url)
    with pytest.raises(BudgetReachedError):
        run_job(again.replace(**{cap: bound}))
    assert quiet(rest) == 0
    books = run_job(again.replace(**{cap: 100 * bound}))
    assert requests + quiet(rest) == 40 * len(tasks) and taken(books) == cost_of(simulator, rest)[1]
    assert_accounted_for(output, books)


def test_a_cap_on_the_command_line(job, simulate, parquet, cli):
    """A cap ends a run with exit code 1 and one line: what was spent, the cap, and how to go on."""
    simulator, rest = simulate(**SLOW), simulate()
    settings = job(simulator, input=parquet(DOCUMENTS), task=("distill",), max_concurrent_requests=2, **PRICED)
    result = cli(*arguments(settings.replace(max_cost=0.01)))
    [line] = [line for line in result.stderr.splitlines() if line.startswith("nemocc-dask: ")]
    cost = cost_of(simulator)[0]
    assert result.exit_code == 1 and f"The run has cost {cost}, which reaches --max-cost 0.01." in line
    assert "run the same command again" in line and "Traceback" not in result.stderr
    result = cli(*arguments(settings.replace(base_url=rest.base_url)))
    assert result.exit_code == 0 and f"{cost_of(simulator, rest)[0]:,.4f} in all" in result.stdout
    [heading] = [line for line in result.stdout.splitlines() if line.strip().startswith("task")]
    assert "cost" in heading and "reused" in heading and re.search(r"reused, cost 0\.\d{4}", result.stderr)


def test_a_cap_holds_for_all_workers(job, simulate, output, parquet):
    """Worker processes stop at what all of them have taken together, though none has taken so much by itself."""
    simulator, rows, cap = simulate(**SLOW), 60, 20_000
    settings = {"workers": 2, "threads_per_worker": 2, "max_concurrent_requests": 4, "rows_per_partition": 5}
    first = job(simulator, input=parquet(clean_documents(rows)), task=("distill",), **settings)
    with pytest.raises(BudgetReachedError):
        run_job(first.replace(max_tokens_total=cap))
    requests, tokens = quiet(simulator), cost_of(simulator)[1]
    assert requests < rows and taken(books_of(output)) == tokens >= cap > rows / 2 * tokens / requests


def test_an_endpoint_that_tells_no_usage(job, simulate, output, parquet, cli):
    """Without usage a cap goes by characters, across starts; the books tell how many answers that concerns."""
    simulator, rest = simulate(**SLOW, no_usage=True), simulate(no_usage=True)
    settings = job(simulator, input=parquet(DOCUMENTS), task=("distill",), max_concurrent_requests=2, **PRICED)
    with pytest.raises(BudgetReachedError, match="max-tokens-total 2000"):
        run_job(settings.replace(max_tokens_total=2000))
    first = quiet(simulator)
    prompt, completion = books_of(output)["estimated_tokens"]
    assert 2000 <= prompt + completion <= 2000 + 2 * 2 * 1.5 * (prompt + completion) / first
    # What the endpoint would have said; a token of the simulated one has four characters, more or less.
    assert prompt / first == pytest.approx(450, rel=0.3) and completion / first == pytest.approx(170, rel=0.5)
    settings = settings.replace(base_url=rest.base_url)
    with pytest.raises(BudgetReachedError):
        run_job(settings.replace(max_tokens_total=2000))
    assert quiet(rest) == 0
    result = cli(*arguments(settings))
    assert result.exit_code == 0 and first + quiet(rest) == 40
    assert "did not say what 40 of 40 answers took: tokens and cost are too low" in result.stdout
    assert re.search(r"about [\d,]+ tokens in, about [\d,]+ out", result.stderr)
    spent = books_of(output)["spent"]
    assert spent["responses_without_usage"] == 40 and spent["cost"] == 0 == taken(books_of(output))
