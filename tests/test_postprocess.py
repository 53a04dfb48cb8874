"""Postprocessing: what is asked of an answer, what is kept of it, and how a document's segments meet again."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from books import assert_accounted, assert_same_kind, reasons, rejects
from corpora import corpus, count, of_tokens, text
from pandas.testing import assert_frame_equal

from nemocc_dask.errors import ColumnNotFoundError
from nemocc_dask.generate import generate
from nemocc_dask.postprocess import postprocess
from nemocc_dask.preprocess import preprocess
from nemocc_dask.settings import Endpoint, GenerationConfig
from nemocc_dask.simulate import Simulator
from nemocc_dask.tasks import TASKS, Step

WIKIPEDIA, QA, DISTILL = TASKS["wikipedia_paraphrasing"], TASKS["diverse_qa"], TASKS["distill"]
EXTRACT, LIST, MULTILINGUAL = TASKS["extract_knowledge"], TASKS["knowledge_list"], TASKS["multilingual_qa"]
FREE = {task.name: dataclasses.replace(task, min_result_tokens=0) for task in TASKS.values()}
"""The tasks without a shortest result, for answers short enough to read."""
LONG = text(1)
"""Prose that is long enough for every task."""


def answers(task, *given, **more):
    """Rows as `generate` leaves them, one document each."""
    frame = {"id": range(len(given)), "text": "The source.", "segment_id": 0, "segment_token_count": 100, "sample": 0}
    return pd.DataFrame(frame | {task.output_field: pd.Series(given, dtype="str")} | more)


def cleaned(task, *given, tokenizer):
    """What is left of each answer, None where it was rejected."""
    free = FREE[task.name]
    kept = postprocess(answers(free, *given), free, tokenizer=tokenizer).kept
    by_id = dict(zip(kept["id"], kept[task.output_field], strict=True))
    return [by_id.get(row) for row in range(len(given))]


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_an_answer_that_reached_its_limit_is_dropped(task, tokenizer):
    """The longest answer kept has the tokens asked for less 2; one token more is rejected, before any cleaning."""
    longest = of_tokens(task.max_answer_tokens, tokenizer)
    frame = answers(task, longest, f"{longest} a").assign(language="French")
    outcome = postprocess(frame, task, tokenizer=tokenizer)
    assert outcome.stages[0].rejected["answer_too_long"] == 1
    (too_long,) = (row for row in rejects(outcome).to_dict("records") if row["reason"] == "answer_too_long")
    assert too_long["id"] == 1 and too_long[task.output_field] == f"{longest} a"
    assert_accounted(outcome, 2)


@pytest.mark.parametrize("task", [WIKIPEDIA, DISTILL, EXTRACT, LIST], ids=lambda task: task.name)
def test_a_result_of_exactly_the_minimum_is_kept(task, tokenizer):
    """50 tokens of cleaned text are kept where 50 are asked for, 49 are rejected as too short."""
    marker = next((step.options["marker"] + "\n" for step in task.steps if "marker" in step.options), "")
    enough, short = (marker + of_tokens(tokens, tokenizer) for tokens in (50, 49))
    outcome = postprocess(answers(task, enough, short), task, tokenizer=tokenizer)
    assert outcome.kept["id"].tolist() == [0] and outcome.kept["rephrased_document_token_count"].tolist() == [50]
    assert reasons(outcome) == {"filter_results": {"result_too_short": 1}}


def test_pairs_count_together_with_their_source(tokenizer):
    """A result of source and pairs has to have 100 tokens as a whole."""
    pair = "- Question: What? Answer: Iron."
    around = count("\n\nQuestion: What?\nAnswer: Iron.", tokenizer)
    sources = [of_tokens(tokens - around, tokenizer) for tokens in (100, 99)]
    outcome = postprocess(answers(QA, pair, pair).assign(text=sources), QA, tokenizer=tokenizer)
    assert outcome.kept["id"].tolist() == [0] and outcome.kept["rephrased_document_token_count"].tolist() == [100]


def test_counts_are_of_the_answer_and_of_the_result(tokenizer):
    """A row tells the tokens of its answer as it came and of its result as it is."""
    answer = f"Paraphrased Text:\n**{LONG}**"
    (row,) = postprocess(answers(DISTILL, answer), DISTILL, tokenizer=tokenizer).kept.itertuples()
    assert row.rephrased_segment_token_count == count(answer, tokenizer)
    assert row.rephrased_document_token_count == count(row.distill, tokenizer) < row.rephrased_segment_token_count


# --- cleaning, task by task -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [WIKIPEDIA, DISTILL], ids=lambda task: task.name)
def test_a_marked_answer_loses_its_marker_and_its_wrapping(task, tokenizer):
    """The marker is found as it may come and taken off, then the quotes round the whole; without it a row goes."""
    marker = task.steps[1].options["prefix"]
    given = (
        f"{marker}\nIron rusts.",
        f"\n\n**{marker}**\n\nIron **rusts**.",
        f'{marker} "Iron rusts."',
        f"“{marker} Iron rusts.”",
        f"{marker.upper()}\nIron rusts.",
        "Iron rusts.",
        f"Well. {marker} Iron rusts.",
    )
    assert cleaned(task, *given, tokenizer=tokenizer) == ["Iron rusts."] * 5 + [None] * 2
    outcome = postprocess(answers(task, *given), FREE[task.name], tokenizer=tokenizer)
    assert reasons(outcome) == {"postprocess": {"marker_missing": 2}}


def test_a_marker_without_a_text_is_nothing(tokenizer):
    """An answer of which cleaning leaves nothing is rejected as such."""
    outcome = postprocess(answers(DISTILL, "Paraphrased Text:\n\n"), FREE["distill"], tokenizer=tokenizer)
    assert reasons(outcome) == {"postprocess": {"empty_after_cleaning": 1}}


def test_passages_lose_their_labels(tokenizer):
    """Lines that only say which passage follows go; a sentence about a passage stays."""
    given = "**Passage 1:**\nIron rusts.\n\nPassage:\nThe passage 2: narrow."
    assert cleaned(EXTRACT, given, tokenizer=tokenizer) == ["Iron rusts.\n\nThe passage 2: narrow."]


def test_a_list_becomes_one_fact_a_line(tokenizer):
    """Bullets and numbers go, the preamble with them, and the first fact stays."""
    given = ("Here is the list:\n\n* Iron rusts.\n* Gold does not.", "1. Iron rusts.\n2. Gold does not.")
    assert cleaned(LIST, *given, tokenizer=tokenizer) == ["Iron rusts.\nGold does not."] * 2


def test_pairs_follow_their_source(tokenizer):
    """A result is the segment's text, a blank line, and pairs with a blank line between them."""
    given = "Sure!\n- Question: Does iron rust? Answer: Yes.\n- Question: Does gold? Answer: No."
    (result,) = cleaned(QA, given, tokenizer=tokenizer)
    source, *pairs = result.split("\n\n")
    assert source == "The source."
    assert sorted(pairs) == ["Question: Does gold?\nAnswer: No.", "Question: Does iron rust?\nAnswer: Yes."]


def test_an_answer_without_pairs_is_rejected(tokenizer):
    """Where no pair can be read there is no result, rather than a source without questions."""
    outcome = postprocess(answers(QA, "I cannot do that."), QA, tokenizer=tokenizer)
    assert reasons(outcome) == {"postprocess": {"no_pairs": 1}}


@pytest.mark.parametrize(("tokens", "pairs"), [(1, 1), (15, 1), (30, 2), (75, 5), (119, 7), (120, 8), (900, 8)])
def test_longer_segments_keep_more_pairs(tokens, pairs, tokenizer):
    """A segment keeps a pair for each 15 of its tokens, at least one, at most eight."""
    given = "\n".join(f"- Question: What is {number}? Answer: A number." for number in range(12))
    frame = answers(QA, given).assign(segment_token_count=tokens)
    (result,) = postprocess(frame, FREE["diverse_qa"], tokenizer=tokenizer).kept["diverse_qa"]
    assert result.count("Question:") == pairs


def test_a_made_document_may_have_to_begin_with_its_code(tokenizer):
    """On request answers without the code of their language are rejected; by default every answer is a document."""
    strict = dataclasses.replace(MULTILINGUAL, steps=(Step("keep_language_code"),))
    given = pd.DataFrame(
        {"id": range(4), "language": ["French", "French", "German", "Italian"], "sample": 0}
        | {"text": ["[FR] Oui?\nNon.", "Oui?", " [DE] Ja?", "[ES] ¿Sí?"]}
    )
    outcome = postprocess(given, strict, tokenizer=tokenizer)
    assert outcome.kept["language"].tolist() == ["French", "German"]
    assert reasons(outcome) == {"postprocess": {"language_code_missing": 2}}
    assert (
        postprocess(given, MULTILINGUAL, tokenizer=tokenizer).kept["text"].tolist()
        == given["text"].str.strip().tolist()
    )


def test_a_task_of_ones_own_lists_its_steps(tokenizer):
    """Steps run in the order in which a task lists them."""
    own = dataclasses.replace(
        FREE["distill"], steps=(Step("normalize_bullets"), Step("remove_lines", {"pattern": "x+"}))
    )
    assert postprocess(answers(own, "- xx\n- Iron."), own, tokenizer=tokenizer).kept["distill"].tolist() == ["Iron."]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_null_answer_is_no_result(task, tokenizer):
    """A row without an answer, as one read back from a file may be, is rejected and crashes nothing."""
    frame = answers(task, None, "x").assign(language="French")
    outcome = postprocess(frame, FREE[task.name], tokenizer=tokenizer)
    assert 0 not in outcome.kept["id"].tolist()
    assert_accounted(outcome, 2)


def test_a_null_source_is_not_written_out(tokenizer):
    """Pairs about a source that is missing never get the word None for it."""
    frame = answers(QA, "- Question: What? Answer: Iron.").assign(text=pd.Series([None], dtype="str"))
    kept = postprocess(frame, FREE["diverse_qa"], tokenizer=tokenizer).kept
    assert not kept["diverse_qa"].str.contains("None").any()


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answered(tokenizer):
    """Task → answers of a simulated endpoint to six documents, two answers to each segment."""
    with Simulator() as simulator:
        endpoint = Endpoint(base_url=simulator.base_url, model="simulated")
        rows = {}
        for task in TASKS.values():
            frame = corpus(6, lines=30).assign(language="French").drop(columns="quality_score")
            if not task.makes_documents:
                frame = preprocess(frame, task, tokenizer=tokenizer).kept
            rows[task.name] = generate(frame, task, endpoint=endpoint, config=GenerationConfig(n=2)).kept
    return rows


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_has_results_and_its_books_balance(task, answered, tokenizer):
    """Simulated answers, untidy as models', mostly become results, and each that does not is accounted for."""
    outcome = postprocess(answered[task.name], task, tokenizer=tokenizer)
    assert len(outcome.kept) > 3 and "sample" in outcome.kept.columns
    assert_accounted(outcome, len(answered[task.name]))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_partitions_do_not_matter(task, answered, tokenizer):
    """Answers postprocessed document by document and all together give the same results, chosen pairs included."""
    rows = answered[task.name]
    together = postprocess(rows, task, tokenizer=tokenizer).kept.reset_index(drop=True)
    parts = [postprocess(part, task, tokenizer=tokenizer).kept for _, part in rows.groupby("id", sort=False)]
    assert_frame_equal(pd.concat(parts).reset_index(drop=True), together)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_given_frame_is_not_changed(task, answered, tokenizer):
    """Postprocessing leaves the frame it was given as it was."""
    rows = answered[task.name]
    before = rows.copy(deep=True)
    postprocess(rows, task, tokenizer=tokenizer)
    assert_frame_equal(rows, before)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_no_answers_are_legal(task, answered, tokenizer):
    """Zero answers, and answers of which none is of use, give zero results of the same columns and dtypes."""
    rows = answered[task.name]
    some = postprocess(rows, task, tokenizer=tokenizer).kept
    none = postprocess(rows[:0], task, tokenizer=tokenizer)
    useless = postprocess(rows.assign(**{task.output_field: "\n \n"}), task, tokenizer=tokenizer)
    assert_same_kind(none.kept, some)
    assert_same_kind(useless.kept, some)
    assert_accounted(none, 0)
    assert_accounted(useless, len(rows))


def test_a_missing_column_is_named(tokenizer):
    """Without the output field the caller learns which is missing."""
    with pytest.raises(ColumnNotFoundError, match="'distill'"):
        postprocess(answers(LIST, "x"), DISTILL, tokenizer=tokenizer)
