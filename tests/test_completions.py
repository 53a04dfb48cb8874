"""`api="completions"`: prompts are rendered here, by the chat template of the tokenizer that is named."""

from __future__ import annotations

import pandas as pd
import pytest
from click.testing import CliRunner
from corpora import CHAT_TEMPLATE, corpus
from job.jobs import assert_accounted_for, books_of
from scripted import completed

from nemocc_dask.cli import nemocc
from nemocc_dask.errors import SettingError
from nemocc_dask.generate import generate
from nemocc_dask.settings import Endpoint, GenerationConfig, Job
from nemocc_dask.tasks import TASKS
from nemocc_dask.tokens.sources import load_tokenizer

WORDS = "tokenizer of the model"


def completing(simulator):
    return Endpoint(base_url=simulator.base_url, model="simulated", api="completions")


def asked(scripted, tokenizer, task="distill", **sampling):
    """The bodies that ask about one segment."""
    scripted.reply = lambda body: completed("An answer.")
    config, endpoint = GenerationConfig(**sampling), scripted.endpoint(api="completions")
    segment = pd.DataFrame({"id": [1], "segment_id": 0, "text": ["Water boils."]})
    kept = generate(segment, TASKS[task], endpoint=endpoint, config=config, tokenizer=tokenizer).kept
    assert kept[TASKS[task].output_field].tolist() == ["An answer."] * config.n
    return scripted.bodies


def messages(task="distill"):
    return TASKS[task].messages(document="Water boils.")


# --- the prompt -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["distill", "diverse_qa"])
def test_the_template_makes_the_prompt(scripted, chat_tokenizer, task):
    """All messages, in the tags of the template and with its opening of an answer, are one text in `prompt`."""
    (body,) = asked(scripted, chat_tokenizer, task, max_tokens=9, stop=["Stop"], seed=3)
    turns = "".join(f"<|{turn['role']}|>\n{turn['content']}<|end|>\n" for turn in messages(task))
    assert body == {
        "model": "m", "prompt": f"{turns}<|assistant|>\n", "max_tokens": 9, "stop": ["Stop"], "seed": 3, "n": 1,
        "temperature": 0.5, "top_p": 0.9,
    }  # fmt: skip


def test_the_prompt_begins_with_one_beginning(scripted, chat_tokenizer):
    """The server puts a BOS before every text, so the one of the template is left out: the model sees exactly one."""
    (body,) = asked(scripted, chat_tokenizer)
    assert CHAT_TEMPLATE.startswith("{{ bos_token }}") and not body["prompt"].startswith("<s>")
    as_the_server_reads_it = load_tokenizer(chat_tokenizer.source).encode(body["prompt"])
    assert as_the_server_reads_it.count(0) == 1
    assert len(as_the_server_reads_it) == chat_tokenizer.count_prompt(messages())


def test_without_a_template_the_messages_are_joined(scripted, tokenizer):
    """The tokenizer of a base model has no turns: it reads one message after another."""
    (body,) = asked(scripted, tokenizer)
    assert body["prompt"] == "\n".join(turn["content"] for turn in messages())


def test_another_template_is_another_request(scripted, tokenizer, chat_tokenizer):
    """What was answered to one rendering is not taken for the answer to another, nor for that of a chat."""
    segment = pd.DataFrame({"id": [1], "segment_id": 0, "text": ["Water boils."]})
    scripted.reply = lambda body: completed("An answer.")
    ids = [
        generate(
            segment, TASKS["distill"], endpoint=scripted.endpoint(api=api), config=GenerationConfig(), tokenizer=counter
        ).kept["request_id"][0]
        for api, counter in (("completions", tokenizer), ("completions", chat_tokenizer), ("chat", chat_tokenizer))
    ]  # fmt: skip
    assert len(set(ids)) == 3 and ["prompt" in body for body in scripted.bodies] == [True, True, False]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_bound_and_stop_strings_hold(simulate, chat_tokenizer):
    """`max_tokens` cuts answers off, which are rejected as that; a stop string ends them, and they are kept."""
    simulator = simulate()

    def outcome(**sampling):
        return generate(
            corpus(4), TASKS["distill"], endpoint=completing(simulator), config=GenerationConfig(**sampling),
            tokenizer=chat_tokenizer,
        )  # fmt: skip

    assert outcome(max_tokens=3).stages[0].rejected == {"truncated": 4}
    whole, stopped = outcome().kept["distill"], outcome(stop=["in case"]).kept["distill"]
    assert whole.str.contains("in case").all()
    assert stopped.tolist() == [text.partition("in case")[0] for text in whole]


def test_several_answers_and_thoughts_are_as_in_a_chat(simulate, chat_tokenizer):
    """`n` answers are rows of their own, and what stands between the tags of thinking is no part of them."""
    thinking = simulate(reasoning="think")
    kept = generate(
        corpus(3), TASKS["distill"], endpoint=completing(thinking), config=GenerationConfig(n=2),
        tokenizer=chat_tokenizer,
    ).kept  # fmt: skip
    assert kept["sample"].tolist() == [0, 1] * 3 and not kept["distill"].str.contains("think>").any()
    assert thinking.stats()["requests"] == 3


@pytest.mark.parametrize("method", ["generate", "synthesize"])
def test_in_a_notebook(frames, simulate, chat_tokenizer_directory, method):
    """On every kind of frame the named tokenizer renders the prompts, and answers come in the task's form."""
    simulator, tokenizer = simulate(), str(chat_tokenizer_directory)
    documents = frames.make(corpus(4).assign(segment_id=0))
    rows = frames.rows(
        getattr(documents.nemocc, method)("distill", endpoint=completing(simulator), tokenizer=tokenizer)
    )
    assert sorted(set(rows["id"])) == [100, 101, 102, 103]
    assert simulator.stats()["by_task"] == {"distill": 4}


def test_a_job_completes_texts(simulate, tmp_path, chat_tokenizer_directory):
    """`--api completions` sends every prompt to the other path, and the books balance as ever."""
    simulator = simulate(error_rate=0.2, truncate_rate=0.1)
    done = run(tmp_path, simulator, "--tokenizer", chat_tokenizer_directory, "--base-delay", 0.01)
    assert done.exit_code == 0, done.stderr
    books = books_of(tmp_path / "out")
    assert_accounted_for(tmp_path / "out", books, http_requests=simulator.stats()["requests"])
    account = books["tasks"]["distill"]
    assert account["responses"] == 12 and account["kept"] > 5 and books["identity"]["api"] == "completions"
    again = run(tmp_path, simulator, "--tokenizer", chat_tokenizer_directory)
    assert again.exit_code == 0 and "nothing was sent now" in again.stdout


# --- without a tokenizer ----------------------------------------------------------------------------------------------


def test_the_template_of_another_model_is_not_used_unasked(frames, simulate):
    """Without a tokenizer the default one's template would be used, which is most likely wrong: it is asked for."""
    simulator = simulate()
    documents = frames.make(corpus(2))
    for method in ("generate", "synthesize"):
        with pytest.raises(SettingError, match=WORDS):
            getattr(documents.nemocc, method)("distill", endpoint=completing(simulator))
    with pytest.raises(SettingError, match=WORDS):
        generate(corpus(2), TASKS["distill"], endpoint=completing(simulator), config=GenerationConfig())
    with pytest.raises(SettingError, match=f"{WORDS}.*--tokenizer"):
        Job(output="o", samples=1, base_url="http://h/v1", model="m", api="completions")
    assert simulator.stats()["requests"] == 0


def test_a_job_without_a_tokenizer_ends_before_it_begins(simulate, tmp_path):
    """One line, exit code 2, and the endpoint hears nothing."""
    simulator = simulate()
    done = run(tmp_path, simulator)
    assert done.exit_code == 2 and WORDS in done.stderr and done.stderr.count("\n") == 1
    assert simulator.stats()["requests"] == 0 and not (tmp_path / "out").exists()


def run(folder, simulator, *words):
    """The job on the command line, in this process."""
    corpus(12).to_parquet(folder / "in.parquet")
    there = ("--input", folder / "in.parquet", "--output", folder / "out", "--base-url", simulator.base_url)
    words = ["run", *there, "--task", "distill", "--api", "completions", "--model", "simulated", *words]
    return CliRunner().invoke(nemocc, [str(word) for word in words], prog_name="nemocc-dask")
