"""What goes wrong in other systems of this kind, seen by running them, and does not here: rows, requests and secrets.

Mistakes with texts are in `test_known_mistakes_in_texts`. A test's number is that of its mistake in one list for both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from books import assert_accounted, reasons, rejects
from corpora import corpus, of_tokens, text
from scripted import chat, document_in, error

import nemocc_dask as ncc
from nemocc_dask.generate import generate
from nemocc_dask.postprocess import postprocess
from nemocc_dask.settings import GenerationConfig, Job
from nemocc_dask.tasks import TASKS

READING = tuple(name for name, task in TASKS.items() if not task.makes_documents)
DISTILL = TASKS["distill"]
SECRET = "sk-never-to-be-seen-0123456789"


def rows_of(texts):
    return pd.DataFrame({"id": range(len(texts)), "text": texts})


# --- 1, 2: no row survives, one row fails -----------------------------------------------------------------------------


@pytest.mark.parametrize("task", READING)
@pytest.mark.parametrize("lazy", [False, True])
def test_fact_01_no_row_survives_a_filter(task, lazy, tokenizer, simulator, endpoint):
    """Elsewhere a batch whose every row is filtered out crashes the run; here the phases after it get zero rows."""
    frame = corpus(3).assign(text="a")
    if lazy:
        frame = dd.from_pandas(frame, npartitions=2)
    results = (
        frame.nemocc.preprocess(task, tokenizer=tokenizer)
        .nemocc.generate(task, endpoint=endpoint)
        .nemocc.postprocess(task, tokenizer=tokenizer)
    )
    results = results.compute() if lazy else results
    assert len(results) == 0 and TASKS[task].output_field in results.columns
    assert simulator.stats()["requests"] == 0


def test_fact_01_no_answer_survives(tokenizer, scripted):
    """Elsewhere an empty batch after cleaning crashes too; here every task ends with zero rows and balanced books."""
    scripted.reply = lambda body: chat("No.")
    for name in READING:
        answered = generate(
            corpus(2).nemocc.preprocess(name, tokenizer=tokenizer), TASKS[name],
            endpoint=scripted.endpoint(), config=GenerationConfig(),
        )  # fmt: skip
        cleaned = postprocess(answered.kept, TASKS[name], tokenizer=tokenizer)
        assert len(cleaned.kept) == 0
        assert_accounted(cleaned, len(answered.kept))


def test_fact_02_one_failed_row_of_ten(scripted):
    """Elsewhere one bad row of ten costs ten requests and gives no row; here nine come out and one says why not."""
    scripted.reply = lambda body: error(400, "not this") if document_in(body) == "row 6." else chat("fine")
    outcome = generate(
        rows_of([f"row {row}." for row in range(10)]), DISTILL, endpoint=scripted.endpoint(), config=GenerationConfig()
    )
    assert len(outcome.kept) == 9 and len(scripted.bodies) == 10
    (row,) = rejects(outcome).to_dict("records")
    assert (row["id"], row["status"], row["reason"]) == (6, 400, "http_400")
    assert row["detail"].startswith("not this [a prompt of ")
    assert_accounted(outcome, 10)


# --- 4: retries -------------------------------------------------------------------------------------------------------


def one_bad_row(scripted, reply, **settings):
    """How often one row of ten, which always gets this reply, was asked for, and what became of all."""
    scripted.reply = lambda body: reply if document_in(body) == "row 6." else chat("fine")
    outcome = generate(
        rows_of([f"row {row}." for row in range(10)]), DISTILL,
        endpoint=scripted.endpoint(**settings), config=GenerationConfig(),
    )  # fmt: skip
    assert_accounted(outcome, 10)
    assert outcome.stages[0].notes["http_requests"] == len(scripted.bodies)
    return scripted.times_asked("row 6."), outcome


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_fact_04_a_rate_limited_row_costs_one_request_and_its_retries(scripted, max_retries):
    """Elsewhere retries inside retries ask 12 times for a row answered 429; here exactly 1 + max_retries."""
    asked, outcome = one_bad_row(scripted, error(429), max_retries=max_retries)
    assert asked == 1 + max_retries and len(scripted.bodies) == 10 + max_retries
    assert reasons(outcome) == {"generate": {"http_429": 1}}


@pytest.mark.parametrize("words", ["failed to generate", "prompt has 1429 tokens", "rate limit", "timeout 503"])
def test_fact_04_words_of_an_error_cause_no_retry(scripted, words):
    """Elsewhere "gene-rate" and "1429 tokens" are taken for rate limits; here a 400 is final, whatever it says."""
    asked, outcome = one_bad_row(scripted, error(400, words), max_retries=3)
    [detail] = rejects(outcome)["detail"]
    assert asked == 1 and detail.startswith(f"{words} [a prompt of ")


@pytest.mark.parametrize(
    ("reply", "reason"), [(error(503), "http_503"), (error(429), "http_429"), (chat("late", delay_s=0.5), "timeout")]
)
def test_fact_04_what_passes_is_tried_again(scripted, reply, reason):
    """Elsewhere 503 and time-outs are not tried again; here they are, as often as allowed, then fail by name."""
    asked, outcome = one_bad_row(scripted, reply, max_retries=2, timeout=0.2)
    assert asked == 3 and reasons(outcome) == {"generate": {reason: 1}}


def test_fact_04_a_server_that_asks_for_time_gets_it(scripted):
    """Elsewhere `Retry-After` is ignored; here no attempt comes sooner than the server said."""
    replies = iter([error(503, headers={"Retry-After": "1"})])
    scripted.reply = lambda body: next(replies, chat("fine"))
    outcome = generate(rows_of(["a"]), DISTILL, endpoint=scripted.endpoint(), config=GenerationConfig())
    assert outcome.kept["attempts"].tolist() == [2]
    assert scripted.times[1] - scripted.times[0] >= 1


# --- 5, 6: what is asked for, and what is said of it ------------------------------------------------------------------


def test_fact_05_what_the_endpoint_says_is_kept(scripted):
    """Elsewhere finish reason, usage and all answers but the first are thrown away; here each is in the row."""
    scripted.reply = lambda body: chat("one", "two", finish_reason="stop", usage=(70, 30))
    kept = generate(rows_of(["a"]), DISTILL, endpoint=scripted.endpoint(), config=GenerationConfig(n=2)).kept
    assert kept["distill"].tolist() == ["one", "two"] and kept["finish_reason"].tolist() == ["stop", "stop"]
    assert kept["prompt_tokens"].sum() == 70 and kept["completion_tokens"].sum() == 30


def test_fact_05_what_was_set_goes_over_the_wire(scripted):
    """Elsewhere top_k is never sent, and a stop list as the text of a list; here both are what they were set to."""
    config = GenerationConfig(top_k=40, stop=["\n\n", "END"], n=2, seed=5)
    scripted.reply = lambda body: chat("one", "two")
    generate(rows_of(["a"]), DISTILL, endpoint=scripted.endpoint(), config=config)
    (body,) = scripted.bodies
    assert (body["top_k"], body["stop"], body["n"], body["seed"]) == (40, ["\n\n", "END"], 2, 5)


@pytest.mark.parametrize("name", TASKS)
def test_fact_06_each_task_asks_for_what_it_keeps(name, scripted):
    """Elsewhere all ask for 1600 tokens and drop, once paid for, what is over 598; here each asks for its own."""
    task = TASKS[name]
    generate(corpus(1).assign(language="French"), task, endpoint=scripted.endpoint(), config=GenerationConfig())
    assert scripted.bodies[0]["max_tokens"] == task.max_output_tokens == task.max_answer_tokens + 2


def test_fact_06_settings_that_ask_for_less_keep_what_they_ask_for(scripted, tokenizer, tmp_path):
    """A job that asks for fewer tokens also takes an answer that reached that number for one that was cut off."""
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": 1, "text": text(1)}) + "\n", encoding="utf-8")
    scripted.reply = lambda body: chat(f"Paraphrased Text: {of_tokens(100, tokenizer)}")
    endpoint = scripted.endpoint()
    job = Job(
        input=str(tmp_path / "in.jsonl"), output=str(tmp_path / "out"), task="distill", max_tokens=90,
        base_url=endpoint.base_url, model="m", tokenizer=tokenizer.source,
    )  # fmt: skip
    account = ncc.run_job(job)["tasks"]["distill"]
    assert scripted.bodies[0]["max_tokens"] == 90
    assert account["rejected"] == {"postprocess": {"answer_too_long": 1}}


# --- 17: choices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_fact_17_a_choice_depends_on_seed_row_and_task_alone(scheduler, tokenizer, endpoint):
    """Elsewhere pairs are drawn by a generator no seed reaches; here they are the same in any partitions and run."""

    def chosen(partitions, seed):
        frame = dd.from_pandas(corpus(6, lines=2), npartitions=partitions).nemocc.preprocess(
            "diverse_qa", tokenizer=tokenizer
        )
        answers = frame.nemocc.generate("diverse_qa", endpoint=endpoint)
        with dask.config.set(scheduler=scheduler):
            results = answers.nemocc.postprocess("diverse_qa", tokenizer=tokenizer, seed=seed).compute()
        return results.sort_values("id")["diverse_qa"].tolist()

    assert chosen(1, 0) == chosen(3, 0) == chosen(6, 0)
    assert chosen(3, 1) == chosen(1, 1) != chosen(1, 0)


def test_fact_17_the_language_is_seeded_and_in_the_row(endpoint):
    """Elsewhere the language is drawn unseeded and forgotten; here it stands in the row, and a seed draws it again."""

    def drawn(seed, size):
        rows = ncc.from_nothing(samples=40, seed=seed, rows_per_partition=size)
        answers = rows.nemocc.generate("multilingual_qa", endpoint=endpoint).compute()
        return answers[["id", "language"]].values.tolist()

    assert drawn(0, 40) == drawn(0, 7) != drawn(1, 40)
    assert {language for _, language in drawn(0, 40)} == set(TASKS["multilingual_qa"].languages)


def test_fact_17_an_id_may_be_of_any_type(tokenizer):
    """The choice for row 7 is the same whether ids were read as numbers, nullable numbers or fixed-width ones."""
    pairs = "\n".join(f"- Question: What is {number}? Answer: A number." for number in range(8))
    frame = pd.DataFrame(
        {"id": [7], "segment_id": 0, "text": [text(1)], "segment_token_count": 45, "diverse_qa": [pairs]}
    )
    results = {
        postprocess(frame.astype({"id": kind}), TASKS["diverse_qa"], tokenizer=tokenizer).kept["diverse_qa"].item()
        for kind in ("int64", "int32", "Int64", "int64[pyarrow]")
    }
    assert len(results) == 1


# --- 22: what starts when, and who sees the key -----------------------------------------------------------------------

HEAVY = (
    "aiohttp", "dask.dataframe", "distributed", "fsspec", "gigatoken", "mistral_common", "numpy", "pandas", "pyarrow",
    "rich", "tokenizers", "transformers",
)  # fmt: skip


def python(code, **environment):
    """Runs code in a Python of its own, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["demo", "--help"]])
def test_fact_22_help_starts_nothing(arguments):
    """Elsewhere a cluster starts before the help is printed; here nothing heavy is imported to print it."""
    said, imported = python(
        "import json, sys\n"
        "from nemocc_dask.cli import nemocc\n"
        f"nemocc({arguments!r}, prog_name='nemocc-dask', standalone_mode=False)\n"
        f"print('\\n@' + json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    ).split("@")
    assert "Usage: nemocc-dask" in said
    assert json.loads(imported) == []


def test_fact_22_importing_the_package_starts_nothing():
    """`import nemocc_dask` brings in neither Dask nor pandas: the accessor waits until they are there."""
    assert python(f"import sys, nemocc_dask\nprint([name for name in {HEAVY!r} if name in sys.modules])") == "[]\n"


@pytest.mark.parametrize("first", ["pandas", "dask.dataframe", "nemocc_dask"])
def test_fact_22_the_accessor_is_there_whatever_is_imported_first(first):
    """Imported before or after pandas and Dask, the package puts its accessor on both."""
    code = f"import {first}\nimport nemocc_dask, dask.dataframe as dd, pandas as pd\n"
    assert python(code + "print(hasattr(pd.DataFrame, 'nemocc'), hasattr(dd.DataFrame, 'nemocc'))") == "True True\n"


def test_fact_22_a_key_is_no_argument():
    """Elsewhere keys are arguments, seen by everyone on the machine; here there is only the name of a variable."""
    options = python(
        "from nemocc_dask.cli import nemocc\nprint([o for p in nemocc.commands['run'].params for o in p.opts])"
    )
    assert [option for option in json.loads(options.replace("'", '"')) if "key" in option] == ["--api-key-env"]


def test_fact_22_a_key_is_sent_and_written_nowhere(simulate, tokenizer, tmp_path, monkeypatch):
    """The key reaches the endpoint, and stands in no file of the run and no name of a task."""
    monkeypatch.setenv("TEST_KEY", SECRET)
    guarded = simulate(api_key=SECRET)
    corpus(4).to_parquet(tmp_path / "in.parquet")
    job = Job(
        input=str(tmp_path / "in.parquet"), output=str(tmp_path / "out"), base_url=guarded.base_url, model="simulated",
        api_key_env="TEST_KEY", tokenizer=tokenizer.source,
    )  # fmt: skip
    books = ncc.run_job(job)
    assert books["state"] == "done" and guarded.stats()["answered"] > 0
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any(path.name == "run.json" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    lazy = corpus(2).pipe(dd.from_pandas, npartitions=1).nemocc.generate("distill", endpoint=job.endpoint())
    assert SECRET not in repr(lazy.expr) + str(lazy.__dask_graph__())
