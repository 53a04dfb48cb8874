"""What models answer and refuse: thoughts, bounds by another name, one answer at a time, prompts too long."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from corpora import corpus

from nemocc_dask.generate import generate
from nemocc_dask.job import run_job
from nemocc_dask.llm import Answer, Failure, Store, answer_all, check_endpoint, request_key
from nemocc_dask.settings import Endpoint, GenerationConfig, Job
from nemocc_dask.tasks import TASKS

DISTILL = TASKS["distill"]
WINDOW = 8
"""`max_concurrent_requests` of the tests' endpoint."""


def simulated(simulator, **settings):
    quick = {"base_delay": 0.01, "max_delay": 0.02, "max_concurrent_requests": WINDOW}
    return Endpoint(**{"base_url": simulator.base_url, "model": "simulated", **quick, **settings})


def asked(rows, endpoint, store=None, **sampling):
    """The outcome of asking about so many documents, what is answered kept in a store where one is given."""
    config = GenerationConfig(**sampling)
    if store is None:
        return generate(corpus(rows), DISTILL, endpoint=endpoint, config=config)
    with store.attempt("test") as attempt:
        return generate(corpus(rows), DISTILL, endpoint=endpoint, config=config, attempt=attempt)


# --- thoughts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["content", "think", "open"])
def test_thoughts_are_kept_apart_from_the_answer(simulate, tmp_path, where):
    """Wherever a model leaves its reasoning, the text is the answer alone, and the store keeps the reasoning beside."""
    plain = asked(6, simulated(simulate())).kept["distill"].str.lstrip().tolist()
    store, thinking = Store(str(tmp_path)), simulate(reasoning=where)
    for reused in (0, 6):
        outcome = asked(6, simulated(thinking), store)
        assert outcome.kept["distill"].str.lstrip().tolist() == plain
        assert outcome.stages[0].notes["reused"] == reused
        stored = store.find(outcome.kept["request_id"].tolist())
        assert [each.text for each in stored.values()] == outcome.kept["distill"].tolist()
        assert all(each.reasoning.startswith("Sentences in the text:") for each in stored.values())
        assert all("think>" not in f"{each.text}{each.reasoning}" for each in stored.values())


def test_tokens_of_thoughts_are_counted_where_they_are_told(simulate):
    """An endpoint that says how many tokens it thought is believed; thoughts that stand in the text count as none."""
    noted = {}
    for where in ("content", "think"):
        simulator = simulate(reasoning=where)
        noted[where] = asked(6, simulated(simulator)).stages[0].notes
        assert noted[where]["completion_tokens"] == simulator.stats()["completion_tokens"]
    assert 0 < noted["content"]["reasoning_tokens"] < noted["content"]["completion_tokens"]
    assert noted["think"]["reasoning_tokens"] == 0


def test_tokens_of_thoughts_stand_in_the_books_of_a_job(simulate, tmp_path, tokenizer_file):
    """In run.json the stage `generate` of a task tells them, added up over partitions."""
    corpus(6).to_parquet(tmp_path / "in.parquet")
    job = Job(
        input=str(tmp_path / "in.parquet"), output=str(tmp_path / "out"), task="distill", rows_per_partition=2,
        model="simulated", base_url=simulate(reasoning="content").base_url, tokenizer=str(tokenizer_file),
    )  # fmt: skip
    run_job(job)
    books = json.loads((tmp_path / "out" / "_nemocc" / "run.json").read_text())
    (notes,) = [s["notes"] for s in books["tasks"]["distill"]["stages"] if s["stage"] == "generate"]
    assert 0 < notes["reasoning_tokens"] < notes["completion_tokens"] and notes["responses"] == 6


CUT_OFF = {
    "between tags, by the bound": ({"content": "<think>Hm, and"}, "length", "truncated", ("", "Hm, and")),
    "between tags, by the model": ({"content": "<think>Hm, and"}, "stop", "empty", ("", "Hm, and")),
    "after the tags": ({"content": "<think>Hm.</think>\n"}, "stop", "empty", ("", "Hm.")),
    "with its tag in the prompt": ({"content": "Hm, and"}, "length", "truncated", ("Hm, and", None)),
    "beside a null": ({"content": None, "reasoning_content": "Hm, and"}, "length", "truncated", (None, "Hm, and")),
    "beside nothing": ({"content": "", "reasoning": "Hm, and"}, "stop", "empty", ("", "Hm, and")),
    "without content": ({"reasoning": "Hm, and"}, "stop", "empty", (None, "Hm, and")),
}


@pytest.mark.parametrize("how", CUT_OFF)
def test_an_answer_of_thoughts_alone_is_no_text(server, endpoint, ask, how):
    """A model that never came to its answer has answered nothing, or was cut off; it is not asked again unasked."""
    message, finish_reason, flaw, written = CUT_OFF[how]
    server.script = lambda call: server.reply(body={"choices": [{"message": message, "finish_reason": finish_reason}]})
    ((answer,),) = answer_all([ask()], endpoint).results
    assert (answer.flaw, (answer.text, answer.reasoning)) == (flaw, written) and len(server.calls) == 1


def test_a_model_that_is_cut_off_amid_its_thoughts_is_rejected_as_truncated(simulate):
    """With a bound below its thoughts, a reasoning model's rows are truncated, whichever way it sends them."""
    for where in ("content", "think", "open"):
        outcome = asked(3, simulated(simulate(reasoning=where)), max_tokens=5)
        assert outcome.stages[0].rejected == {"truncated": 3}


# --- a bound by another name ------------------------------------------------------------------------------------------


def refused(simulator):
    return simulator.stats()["by_status"].get("400", 0)


def test_the_newer_name_of_a_bound_is_found_out(simulate):
    """An endpoint that refuses `max_tokens` costs no row, one window of refusals at most, and none the next time."""
    newer = simulate(wants_max_completion_tokens=True, latency_s=0.02)
    outcome = asked(60, simulated(newer, max_retries=0))
    assert len(outcome.kept) == 60 and 1 <= refused(newer) <= WINDOW
    assert outcome.stages[0].notes["http_requests"] == newer.stats()["requests"] == 60 + refused(newer)
    before = refused(newer)
    asked(20, simulated(newer, max_retries=0), temperature=0.1)
    assert refused(newer) == before


def test_the_newer_name_is_sent_from_the_start_where_it_is_set(simulate, tmp_path):
    """Told by the settings, nothing is refused, and the answers have the same keys: the name is no part of them."""
    newer, store = simulate(wants_max_completion_tokens=True), Store(str(tmp_path))
    told = asked(4, simulated(newer, max_tokens_field="max_completion_tokens"), store)
    assert refused(newer) == 0 and newer.stats()["requests"] == 4
    found_out = asked(4, simulated(newer), store)
    assert found_out.kept["request_id"].tolist() == told.kept["request_id"].tolist()
    assert found_out.stages[0].notes["reused"] == 4 and newer.stats()["requests"] == 4


def test_each_address_is_asked_by_the_name_it_takes(simulate):
    """Of two addresses with one model, the one that knows the older name alone goes on being asked by it."""
    newer, older = simulate(wants_max_completion_tokens=True, latency_s=0.01), simulate(latency_s=0.01)
    both = simulated(newer, base_url=[newer.base_url, older.base_url])
    assert len(asked(60, both).kept) == 60
    assert refused(newer) <= WINDOW and refused(older) == 0
    assert min(newer.stats()["answered"], older.stats()["answered"]) > 10


def unsupported(server, call, name, status=400):
    """How an endpoint refuses a field; None where the request has none of it."""
    if name in call.body and call.body[name] != 1:
        return server.reply(status, {"error": {"message": f"no {name}", "param": name, "code": "unsupported"}})
    return None


@pytest.mark.parametrize("faults_at", [[], [0], [1], [0, 2], [1, 2]])
def test_finding_out_takes_none_of_the_retries(server, endpoint, ask, faults_at):
    """A request that was sent under the wrong name, before or after a fault, still has the retries it was given."""

    def script(call):
        refusal = unsupported(server, call, "max_tokens")
        return server.error(503) if call.number in faults_at else refusal or server.chat("a")

    server.script = script
    ((answer,),) = answer_all([ask(max_tokens=9)], endpoint.replace(max_retries=len(faults_at))).results
    assert isinstance(answer, Answer) and answer.attempts == len(server.calls) == len(faults_at) + 2
    assert server.calls[-1].body["max_completion_tokens"] == 9 and "max_tokens" not in server.calls[-1].body


def test_the_name_that_is_set_stays(server, endpoint, ask):
    """Whoever has said which name to send has it sent, and learns from the endpoint that it does not fit."""
    server.script = lambda call: unsupported(server, call, "max_tokens") or server.chat("a")
    ((failure,),) = answer_all([ask(max_tokens=9)], endpoint.replace(max_tokens_field="max_tokens")).results
    assert failure.reason == "http_400" and len(server.calls) == 1


def test_both_names_refused_is_a_failure(server, endpoint, ask):
    """An endpoint that takes neither name is asked twice for a row, not for ever."""
    server.script = lambda call: (
        unsupported(server, call, "max_tokens") or unsupported(server, call, "max_completion_tokens")
    )
    ((failure,),) = answer_all([ask(max_tokens=9)], endpoint).results
    assert failure.reason == "http_400" and failure.attempts == len(server.calls) == 2


# --- one answer at a time ---------------------------------------------------------------------------------------------


def test_answers_are_asked_for_one_by_one_where_several_are_refused(simulate):
    """An endpoint that refuses `n` gives all answers to all prompts, one window is refused, and none the next time."""
    single = simulate(refuses_n=True, latency_s=0.02)
    outcome = asked(20, simulated(single, max_retries=0), n=3)
    assert len(outcome.kept) == 60 and outcome.kept["request_id"].nunique() == 60
    assert 1 <= refused(single) <= WINDOW and single.stats()["requests"] == 60 + refused(single)
    before = refused(single)
    assert len(asked(10, simulated(single, max_retries=0), n=2, seed=5).kept) == 20
    assert refused(single) == before


def test_one_request_brings_several_answers_where_it_can(simulate):
    """An endpoint that takes `n` is asked once a prompt."""
    simulator = simulate()
    assert len(asked(5, simulated(simulator), n=4).kept) == 20
    assert simulator.stats()["requests"] == 5


def test_the_answers_are_the_same_however_they_are_asked_for(simulate):
    """Seed and key belong to an answer, so one by one gives other HTTP requests and the same keys."""
    ids = [
        asked(3, simulated(simulate(**knobs)), n=3).kept["request_id"].tolist()
        for knobs in ({}, {"refuses_n": True}, {"max_n": 2})
    ]
    assert ids[0] == ids[1] == ids[2]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("flat", [False, True])
def test_the_field_n_may_be_blamed_in_two_forms(server, endpoint, ask, status, flat):
    """With either status, and with the fields of the error in an object of their own or not, no row is lost."""

    def script(call):
        reply = unsupported(server, call, "n", status)
        return server.chat("a") if reply is None else server.reply(status, fields(reply, flat))

    server.script = script
    answers = answer_all([ask(n=3)] * 2, endpoint.replace(max_concurrent_requests=1)).results
    assert [[answer.text for answer in results] for results in answers] == [["a"] * 3] * 2
    assert [call.body["n"] for call in server.calls] == [3] + [1] * 6


def fields(reply, flat):
    body = json.loads(reply.body)
    return body["error"] | {"object": "error"} if flat else body


def test_a_prompt_that_is_refused_anyway_is_asked_once_more_at_most(server, endpoint, ask):
    """Where the endpoint does not say what it refuses, one answer is tried; where it names the prompt, none is."""
    blamed = {"vague": None, "clear": "messages"}
    server.script = lambda call: server.reply(400, {"error": {"message": "no", "param": blamed[call.prompt]}})
    results = answer_all([ask("vague", n=3), ask("clear", n=3)], endpoint).results
    assert [[failure.reason for failure in each] for each in results] == [["http_400"] * 3] * 2
    assert sorted(server.prompts) == ["clear", "vague", "vague"]


def test_a_prompt_that_is_refused_costs_one_request_once_it_is_known_that_answers_come_singly(server, endpoint, ask):
    """After an endpoint has shown that it gives one answer at a time, a refused prompt is asked once, not twice."""

    def script(call):
        return server.error(400) if call.body["n"] > 1 or call.prompt == "bad" else server.chat("a")

    server.script = script
    answer_all([ask("good", n=2)], endpoint)
    assert [call.body["n"] for call in server.calls] == [2, 1, 1]
    answer_all([ask("bad", n=3)], endpoint)
    assert len(server.calls) == 4


# --- prompts that are too long ----------------------------------------------------------------------------------------


def too_long(server, **more):
    error = {"message": "This model's maximum context length is 4 tokens.", "code": "context_length_exceeded", **more}
    return server.reply(400, {"error": error})


@pytest.mark.parametrize("param", [None, "messages", "max_tokens", "n"])
def test_a_prompt_that_does_not_fit_is_a_reason_of_its_own(server, endpoint, ask, param):
    """It is known by the error's code, whichever field is blamed, sent once, and told with its size."""
    server.script = lambda call: too_long(server, param=param)
    (failures,) = answer_all([ask("x" * 1234, n=2, max_tokens=5678)], endpoint).results
    assert {(each.reason, each.status, each.attempts) for each in failures} == {("context_length", 400, 1)}
    assert {each.detail for each in failures} == {
        "This model's maximum context length is 4 tokens. [a prompt of 1,234 characters, for up to 5,678 tokens]"
    }


@pytest.mark.parametrize(("status", "told"), [(400, True), (413, True), (422, True), (409, False), (418, False)])
def test_the_size_of_a_prompt_is_told_where_it_may_be_the_reason(server, endpoint, ask, status, told):
    """Whatever words an endpoint has for a prompt that is too long, the size stands behind them."""
    server.script = lambda call: server.error(status, "y" * 2000)
    ((failure,),) = answer_all([ask("x" * 1234)], endpoint.replace(max_retries=0)).results
    assert isinstance(failure, Failure)
    assert failure.detail == "y" * 500 + (" [a prompt of 1,234 characters]" if told else "")


def test_a_row_that_does_not_fit_is_rejected_with_all_that_is_known(server, endpoint, tmp_path, tokenizer_file):
    """Its id, segment and text stand there beside reason, status, words and attempts: somebody may shorten it."""
    server.script = lambda call: too_long(server) if "in case 7" in call.prompt else server.chat("a")
    corpus(12).to_parquet(tmp_path / "in.parquet")
    job = Job(
        input=str(tmp_path / "in.parquet"), output=str(tmp_path / "out"), task="distill", tokenizer=str(tokenizer_file),
        base_url=endpoint.base_url, model="m",
    )  # fmt: skip
    books = run_job(job)
    rows = pd.read_parquet(tmp_path / "out" / "_nemocc" / "rejected" / "distill")
    rows = rows[rows["reason"] == "context_length"]
    assert 0 < len(rows) < 12 and books["tasks"]["distill"]["failed"] == {"context_length": len(rows)}
    assert rows["text"].str.contains("in case 7").all() and rows["id"].isin(range(100, 112)).all()
    assert (rows[["stage", "status", "segment_id", "attempts"]] == ["generate", 400, 0, 1]).all(axis=None)
    assert rows["detail"].str.fullmatch(r"This .* \[a prompt of [\d,]+ characters, for up to 1,600 tokens\]").all()


def test_the_key_of_a_request_does_not_know_how_it_is_sent(server, endpoint, ask):
    """Neither a bound's other name nor single answers change what a row is known by."""
    server.script = lambda call: (
        unsupported(server, call, "max_tokens") or unsupported(server, call, "n") or server.chat("a")
    )
    check_endpoint(endpoint)
    request = ask(n=2, max_tokens=9)
    keys = answer_all([request], endpoint).keys
    assert keys == [request_key("m", request, choice) for choice in range(2)]
    assert [(call.body["n"], "max_tokens" in call.body) for call in server.calls] == [
        (2, True), (2, False), (1, False), (1, False),
    ]  # fmt: skip
