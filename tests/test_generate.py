"""Generation: each row is asked, each answer finds its row again with what it cost, and what failed says why."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError

import numpy as np
import pandas as pd
import pytest
from books import assert_accounted, assert_same_kind, reasons, rejects
from corpora import corpus
from pandas.testing import assert_frame_equal
from scripted import Reply, chat, document_in, error

from nemocc_dask import columns
from nemocc_dask.errors import ColumnNotFoundError, EndpointRefusedError, SettingError
from nemocc_dask.generate import generate
from nemocc_dask.job import run_job
from nemocc_dask.settings import Endpoint, GenerationConfig, Job
from nemocc_dask.tasks import TASKS

DISTILL = TASKS["distill"]
ONCE = GenerationConfig()


def segments(rows):
    """Segments whose texts are their numbers."""
    return pd.DataFrame({"id": range(rows), "segment_id": 0, "text": [f"number {row}." for row in range(rows)]})


def simulated(simulator, **settings):
    """A simulated endpoint whose retries come soon."""
    return Endpoint(base_url=simulator.base_url, model="simulated", base_delay=0.01, max_delay=0.02, **settings)


def asked(frame, server, task=DISTILL, config=ONCE, **settings):
    """The outcome of asking a scripted endpoint."""
    return generate(frame, task, endpoint=server.endpoint(**settings), config=config)


# --- answers and their rows -------------------------------------------------------------------------------------------


def test_each_answer_finds_its_row(scripted):
    """Answers that come in any order stand beside the row they were asked for, in the order of the rows."""
    scripted.reply = lambda body: chat(document_in(body), delay_s=0.001 * (hash(document_in(body)) % 20))
    outcome = asked(segments(100), scripted)
    assert outcome.kept["distill"].tolist() == outcome.kept["text"].tolist() == segments(100)["text"].tolist()
    assert_accounted(outcome, 100)


def test_a_row_says_what_its_answer_cost(scripted):
    """The ledger holds model, finish reason, the endpoint's token counts, attempts and seconds, in fixed types."""
    scripted.reply = lambda body: chat("x", model="m-2026", usage=(12, 34), delay_s=0.05)
    kept = asked(segments(2), scripted).kept
    row = kept.iloc[0]
    assert (row["model"], row["finish_reason"], row["attempts"], row["sample"]) == ("m-2026", "stop", 1, 0)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (12, 34) and 0.05 <= row["latency_s"] < 2
    types = {name: str(dtype) for name, dtype in kept.dtypes.items() if name in {*columns.LEDGER, columns.SAMPLE}}
    assert types == columns.LEDGER | {name: "str" for name, kind in columns.LEDGER.items() if kind == "string"} | {
        columns.SAMPLE: "int64"
    }


def test_usage_that_is_not_told_is_missing(scripted):
    """An endpoint that tells no token counts leaves them missing, not zero, and the row is kept."""
    scripted.reply = lambda body: chat("x", usage=None)
    kept = asked(segments(2), scripted).kept
    assert kept["prompt_tokens"].isna().all() and str(kept["prompt_tokens"].dtype) == "Int64"


def test_the_request_is_the_tasks(scripted):
    """What goes over the wire are the task's prompts round the segment, its max tokens, and the sampling."""
    asked(
        segments(1), scripted, config=GenerationConfig(seed=3, top_k=40, stop=["A", "B"], extra_kwargs={"min_p": 0.1})
    )
    (body,) = scripted.bodies
    assert body.pop("messages") == list(DISTILL.messages(document="number 0."))
    assert body == {
        "model": "m", "max_tokens": 1600, "n": 1, "seed": 3, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
        "stop": ["A", "B"], "min_p": 0.1,
    }  # fmt: skip


def test_max_tokens_of_the_settings_beat_the_tasks(scripted):
    """Asked for explicitly, max_tokens is what is sent."""
    asked(segments(1), scripted, config=GenerationConfig(max_tokens=77))
    assert scripted.bodies[0]["max_tokens"] == 77


def test_several_answers_are_several_rows(scripted):
    """n answers are n neighbouring rows with samples from 0, request ids of their own, and the usage on the first."""
    scripted.reply = lambda body: chat(*(f"{document_in(body)} {i}" for i in range(body["n"])))
    outcome = asked(segments(3), scripted, config=GenerationConfig(n=2))
    assert outcome.kept["distill"].tolist() == [f"number {row}. {i}" for row in range(3) for i in range(2)]
    assert outcome.kept["sample"].tolist() == [0, 1] * 3 and outcome.kept["request_id"].nunique() == 6
    assert outcome.kept["prompt_tokens"].sum() == 3 * 7 and outcome.stages[0].notes["prompt_tokens"] == 3 * 7
    assert outcome.stages[0].rows_in == 6 and outcome.stages[0].notes["http_requests"] == 3


def test_an_endpoint_that_gives_one_answer_at_a_time_is_asked_again(simulate):
    """Where the endpoint ignores n, the rows are there all the same."""
    one_by_one = simulate(max_n=1)
    outcome = generate(corpus(4), DISTILL, endpoint=simulated(one_by_one), config=GenerationConfig(n=3))
    assert outcome.kept["id"].tolist() == [row for row in range(100, 104) for _ in range(3)]
    assert one_by_one.stats()["requests"] == outcome.stages[0].notes["http_requests"] == 12


def test_a_request_id_names_the_answer_alone(scripted):
    """The same segment asked the same way has the same id in any batch; another segment, seed or model another one."""
    ids = asked(segments(5), scripted).kept["request_id"].tolist()
    assert asked(segments(5)[2:3], scripted, max_retries=1).kept["request_id"].tolist() == ids[2:3]
    assert len(set(ids)) == 5
    assert asked(segments(1), scripted, config=GenerationConfig(seed=1)).kept["request_id"][0] != ids[0]
    scripted.models = ["m", "other"]
    assert asked(segments(1), scripted, model="other").kept["request_id"][0] != ids[0]


# --- rows that get no answer, and answers of no use -------------------------------------------------------------------


def test_one_row_in_ten_that_fails_costs_the_others_nothing(scripted):
    """One row in ten answered 400: nine come out, the tenth is among the rejected, with status, reason and words."""
    scripted.reply = lambda body: error(400, "bad words") if "number 3." in document_in(body) else chat("fine")
    outcome = asked(segments(10), scripted)
    assert outcome.kept["id"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    (row,) = rejects(outcome).to_dict("records")
    assert (row["id"], row["stage"], row["reason"], row["status"]) == (3, "generate", "http_400", 400)
    assert row["detail"].startswith("bad words [a prompt of 6") and row["attempts"] == 1 and pd.isna(row["distill"])
    assert outcome.stages[0].failed == {"http_400": 1} and outcome.stages[0].notes["responses"] == 9
    assert_accounted(outcome, 10)


def test_an_answer_of_no_use_is_a_response_that_is_rejected(scripted):
    """Truncated, filtered and empty answers were paid for: they count as responses, and are rejected by their names."""
    replies = {
        "number 0.": chat("cut o", finish_reason="length"),
        "number 1.": chat("cut o", finish_reason="content_filter"),
        "number 2.": chat(" \n"),
        "number 3.": chat(None),
        "number 4.": chat("fine"),
        "number 5.": chat("", finish_reason="length"),
    }
    scripted.reply = lambda body: replies[document_in(body)]
    outcome = asked(segments(6), scripted)
    assert outcome.kept["id"].tolist() == [4]
    assert reasons(outcome) == {"generate": {"truncated": 2, "content_filtered": 1, "empty": 2}}
    assert outcome.stages[0].failed == {} and outcome.stages[0].notes["responses"] == 6
    assert outcome.stages[0].notes["completion_tokens"] == 6 * 11
    assert rejects(outcome)["distill"].fillna("").str.strip().tolist().count("cut o") == 2
    assert_accounted(outcome, 6)


def test_an_answer_of_another_finish_reason_is_kept(scripted):
    """A finish reason that says nothing bad, or none at all, is no reason to drop an answer."""
    scripted.reply = lambda body: chat("fine", finish_reason=None if "0" in document_in(body) else "eos")
    assert asked(segments(2), scripted).kept["distill"].tolist() == ["fine", "fine"]


def test_one_sample_that_fails_leaves_the_others(scripted):
    """Of several answers to one prompt, a truncated one goes by itself."""
    choices = [
        {"index": 0, "message": {"content": "fine"}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": "cut o"}, "finish_reason": "length"},
    ]
    scripted.reply = lambda body: Reply(200, {"choices": choices})
    outcome = asked(segments(2), scripted, config=GenerationConfig(n=2))
    assert outcome.kept["sample"].tolist() == [0, 0] and reasons(outcome) == {"generate": {"truncated": 2}}
    assert_accounted(outcome, 4)


def test_whatever_happens_the_books_balance(simulate):
    """With errors, cuts, garbage, refusals, truncation and emptiness at once, every row is accounted for."""
    chaos = simulate(
        error_rate=0.2, cut_rate=0.1, garbage_rate=0.1, bad_request_rate=0.1, truncate_rate=0.1, empty_rate=0.1
    )
    settings = simulated(chaos, max_retries=1)
    outcome = generate(corpus(200, lines=1), DISTILL, endpoint=settings, config=GenerationConfig(n=2))
    (stage,) = outcome.stages
    assert_accounted(outcome, 400)
    assert stage.rows_in == stage.notes["responses"] + sum(stage.failed.values())
    assert stage.notes["http_requests"] == chaos.stats()["requests"]
    assert {"truncated", "empty"} <= set(stage.rejected) and {"http_400", "http_500"} <= set(stage.failed)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_refuses_all_stops_the_phase(scripted, status):
    """A wrong key, path or model raises at once, instead of failing row by row."""
    scripted.reply = lambda body: error(status, "go away", delay_s=0.01)
    with pytest.raises(EndpointRefusedError, match="go away"):
        asked(segments(500), scripted, max_concurrent_requests=4)
    assert len(scripted.bodies) < 50


def test_a_refusal_comes_back_from_a_dask_worker_as_what_it_is(scripted, tokenizer, tmp_path):
    """An endpoint that refuses in the midst of a job stops it with that error and its words, not with Dask's."""
    corpus(3).to_parquet(tmp_path / "in.parquet")
    scripted.reply = lambda body: error(401, "go away")
    job = Job(
        input=str(tmp_path / "in.parquet"), output=str(tmp_path / "out"), task="distill", model="m",
        base_url=scripted.endpoint().base_url, tokenizer=tokenizer.source,
    )  # fmt: skip
    with pytest.raises(EndpointRefusedError, match="go away"):
        run_job(job)


def test_a_key_that_is_not_set_stops_before_the_first_request(scripted, monkeypatch):
    """The variable of the key is looked up first, and named where it is missing."""
    monkeypatch.delenv("TEST_KEY", raising=False)
    with pytest.raises(SettingError, match="TEST_KEY"):
        asked(segments(3), scripted, api_key_env="TEST_KEY")
    assert scripted.bodies == []


# --- who watches ------------------------------------------------------------------------------------------------------


def test_results_are_told_as_they_come(scripted):
    """The watcher hears of every row once."""
    seen = []
    generate(segments(20), DISTILL, endpoint=scripted.endpoint(), config=ONCE, on_result=seen.append)
    assert len(seen) == 20 and {len(results) for results in seen} == {1}


def test_a_stop_stops_the_spending(scripted):
    """Told to stop, the phase raises and no further request is sent."""
    scripted.reply = lambda body: chat("slow", delay_s=0.2)
    started = time.monotonic()
    with pytest.raises(CancelledError):
        generate(
            segments(1000), DISTILL, endpoint=scripted.endpoint(max_concurrent_requests=2), config=ONCE,
            should_stop=lambda: time.monotonic() > started + 0.1,
        )  # fmt: skip
    sent = len(scripted.bodies)
    time.sleep(0.3)
    assert len(scripted.bodies) == sent < 30


# --- rows -------------------------------------------------------------------------------------------------------------


def test_partitions_do_not_matter(endpoint):
    """Rows asked by threes and together get the same answers under the same request ids."""
    frame = corpus(9)
    together = generate(frame, DISTILL, endpoint=endpoint, config=ONCE).kept.drop(columns="latency_s")
    parts = [generate(frame[at : at + 3], DISTILL, endpoint=endpoint, config=ONCE).kept for at in (0, 3, 6)]
    assert_frame_equal(pd.concat(parts).drop(columns="latency_s"), together)


def test_the_given_frame_is_not_changed(endpoint):
    """Generating leaves the frame it was given as it was."""
    frame = corpus(3)
    before = frame.copy(deep=True)
    generate(frame, DISTILL, endpoint=endpoint, config=GenerationConfig(n=2))
    assert_frame_equal(frame, before)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_no_rows_send_nothing(task, simulator, endpoint):
    """Zero rows send no request and give zero rows of the same columns and dtypes as some."""
    frame = corpus(3).assign(language="French")
    none = generate(frame[:0], task, endpoint=endpoint, config=ONCE)
    assert simulator.stats()["requests"] == 0
    assert_same_kind(none.kept, generate(frame, task, endpoint=endpoint, config=ONCE).kept)
    assert_accounted(none, 0)


def test_no_row_that_survives_is_legal(scripted):
    """Where every row fails, zero rows of the usual columns and dtypes come out."""
    some = asked(segments(3), scripted).kept
    scripted.reply = lambda body: error(400)
    none = asked(segments(3), scripted)
    assert_same_kind(none.kept, some)
    assert_accounted(none, 3)


def test_rejected_rows_are_alike_whatever_their_reason(scripted):
    """Failed and rejected rows have the columns of `columns.REJECT` in fixed types, so that they fit into one file."""
    replies = {"number 0.": error(400), "number 1.": chat("cut", finish_reason="length"), "number 2.": chat("")}
    scripted.reply = lambda body: replies[document_in(body)]
    frames = asked(segments(3), scripted).rejected
    assert [reason for frame in frames for reason in frame["reason"]] == ["http_400", "truncated", "empty"]
    for frame in frames:
        kinds = {name: str(frame[name].dtype) for name in columns.REJECT}
        assert kinds == {"stage": "str", "reason": "str", "status": "Int64", "detail": "str"}
        assert frame.dtypes.to_dict() == frames[0].dtypes.to_dict()


def test_a_missing_column_is_named(scripted):
    """Without text, or without a language where the task makes documents, the caller learns which is missing."""
    with pytest.raises(ColumnNotFoundError, match="'text'"):
        asked(pd.DataFrame({"id": [1]}), scripted)
    with pytest.raises(ColumnNotFoundError, match="'language'"):
        asked(pd.DataFrame({"id": [1]}), scripted, TASKS["multilingual_qa"])


@pytest.mark.parametrize("nothing", [None, np.nan])
def test_a_null_text_is_nothing_to_ask_about(scripted, nothing):
    """A row without a text is rejected, and no request is paid for it."""
    outcome = asked(pd.DataFrame({"id": [1, 2], "text": ["a", nothing]}), scripted)
    assert outcome.kept["id"].tolist() == [1] and len(scripted.bodies) == 1
