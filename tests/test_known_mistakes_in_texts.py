"""What goes wrong with texts in other systems of this kind, seen by running them, and does not here, phase by phase.

A test's number is that of its mistake, as in `test_known_mistakes`.
"""

from __future__ import annotations

import dataclasses

import dask.dataframe as dd
import pandas as pd
import pytest
from books import assert_accounted, reasons
from corpora import corpus, count, of_tokens, text
from scripted import chat, document_in

from nemocc_dask.admit import admit
from nemocc_dask.generate import generate
from nemocc_dask.postprocess import postprocess
from nemocc_dask.preprocess import max_segment_tokens, preprocess
from nemocc_dask.route import quality_routes, route
from nemocc_dask.settings import GenerationConfig
from nemocc_dask.tasks import TASKS, Task, task_from_toml, task_to_toml
from nemocc_dask.tasks.prompts import PAIRS_MARKER

MARKERS = {"wikipedia_paraphrasing": "Here is a paraphrased version:", "distill": "Paraphrased Text:"}
PLAIN = Task(name="plain", output_field="made", prompt="{document}", max_input_tokens=103, max_output_tokens=200)
"""A task whose prompt is the document alone: 103 tokens less one BOS less 2 leave 100 for a segment."""


def results(name, *answers, tokenizer):
    """What the whole phase makes of answers, however short; None where it rejects one."""
    task = dataclasses.replace(TASKS[name], min_result_tokens=0)
    frame = pd.DataFrame({"id": range(len(answers)), "segment_id": 0, "text": "Source.", "segment_token_count": 150})
    outcome = postprocess(frame.assign(**{task.output_field: list(answers)}), task, tokenizer=tokenizer)
    assert_accounted(outcome, len(answers))
    kept = dict(zip(outcome.kept["id"], outcome.kept[task.output_field], strict=True))
    return [kept.get(row) for row in range(len(answers))]


# --- 7-11: cleaning ---------------------------------------------------------------------------------------------------

NO_MARKDOWN = (
    "my_snake_case and __init__ stay",
    "2*3*4=24",
    "`a*b*c` is code",
    "$x_1 * x_2 * x_3$",
    "https://x.y/a_b_c",
    "f(*args, **kwargs)",
    "5 * 3 = 15 and 2 * 2 = 4",
)


@pytest.mark.parametrize("name", ["wikipedia_paraphrasing", "distill", "extract_knowledge", "knowledge_list"])
def test_fact_07_removing_markdown_harms_no_text(name, tokenizer):
    """Elsewhere my_snake_case becomes mysnakecase and 2*3*4=24 becomes 234=24; here only markup goes."""
    begin = f"{MARKERS[name]}\n" if name in MARKERS else ""
    cleaned = results(name, *(begin + words for words in NO_MARKDOWN), tokenizer=tokenizer)
    assert cleaned == list(NO_MARKDOWN)


def test_fact_07_links_keep_their_words(tokenizer):
    """Elsewhere [the docs](https://x.y/a_b_c) becomes a damaged address; here it becomes the docs."""
    given = "**Read** [the docs](https://x.y/a_b_c) of *iron*."
    assert results("extract_knowledge", given, tokenizer=tokenizer) == ["Read the docs of iron."]


@pytest.mark.parametrize("name", MARKERS)
def test_fact_08_quotes_come_off_in_one_pair_only(name, tokenizer):
    """Elsewhere "A" and "B" loses its outer quotes; here one pair round the whole comes off, curly or straight."""
    given = ('"A" and "B"', '"All of it."', "“All of it.”", "“A” and “B”", 'He said "no".')
    cleaned = results(name, *(f"{MARKERS[name]} {words}" for words in given), tokenizer=tokenizer)
    assert cleaned == ['"A" and "B"', "All of it.", "All of it.", "“A” and “B”", 'He said "no".']


@pytest.mark.parametrize(
    "bullets", [("* ", "* "), ("• ", "• "), ("1. ", "2. "), ("1) ", "2) "), ("- ", "- "), ("", "")]
)
@pytest.mark.parametrize("preamble", ["", "Here is the list:\n\n", "Sure! Here are the facts:\n"])
def test_fact_09_a_list_keeps_its_first_fact(bullets, preamble, tokenizer):
    """Elsewhere lists in *, • or 1. lose their first fact; here every fact stays, and the preamble is none."""
    given = f"{preamble}{bullets[0]}Iron rusts.\n{bullets[1]}Gold does not."
    assert results("knowledge_list", given, tokenizer=tokenizer) == ["Iron rusts.\nGold does not."]


LAYOUTS = {
    "as asked for": "- Question: Does iron rust? Answer: Yes.",
    "numbered": "1. Question: Does iron rust?\nAnswer: Yes.",
    "starred": "* Question: Does iron rust?\n  Answer: Yes.",
    "short": "Q: Does iron rust?\nA: Yes.",
    "bold": "**Question:** Does iron rust?\n**Answer:** Yes.",
    "lower case": "question: Does iron rust? answer: Yes.",
    "with a preamble": "Of course! Here you are.\n\n- Question: Does iron rust? Answer: Yes.",
    "under its marker": f"{PAIRS_MARKER}\n- Question: Does iron rust? Answer: Yes.",
    "with a note": "- Question: Does iron rust? Answer: Yes.\n\nNote: these pairs are based on the text.",
    "and a question": "- Question: Does iron rust? Answer: Yes.\n\nLet me know if you need more!",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fact_10_pairs_are_read_in_any_layout(layout, tokenizer):
    """Elsewhere any layout but one gives nothing, and a note sticks to the last pair; here the pair comes out."""
    given = LAYOUTS[layout]
    assert results("diverse_qa", given, tokenizer=tokenizer) == ["Source.\n\nQuestion: Does iron rust?\nAnswer: Yes."]


def test_fact_10_pairs_are_chosen_by_a_seed(tokenizer):
    """Elsewhere pairs are sampled unseeded; here the same seed chooses the same pairs in the same order."""
    task = TASKS["diverse_qa"]
    given = "\n".join(f"- Question: What is {number}? Answer: A number." for number in range(8))
    frame = pd.DataFrame(
        {"id": range(9), "segment_id": 0, "text": text(1), "segment_token_count": 45, "diverse_qa": given}
    )
    chosen = [
        postprocess(frame, task, tokenizer=tokenizer, seed=seed).kept["diverse_qa"].tolist() for seed in (3, 3, 4)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) > 5  # and rows with the same pairs do not all keep the same ones


@pytest.mark.parametrize("name", MARKERS)
def test_fact_11_a_marker_is_found_however_dressed(name, tokenizer):
    """Elsewhere a marker after a blank line, in bold or in curly quotes counts as missing; here it is found."""
    marker = MARKERS[name]
    dressed = (f"\n\n{marker}\n", f"**{marker}**\n", f"“{marker}” ", f"## {marker}\n", f"{marker.lower()}\n")
    cleaned = results(name, *(f"{before}Iron rusts." for before in dressed), tokenizer=tokenizer)
    assert cleaned == ["Iron rusts."] * 5


# --- 12, 13: budgets --------------------------------------------------------------------------------------------------


def test_fact_12_an_overlong_line_does_not_vanish(tokenizer):
    """Elsewhere a line over the budget vanishes and its neighbours are joined; here all its words are in segments."""
    long = " ".join(text(seed, lines=1) for seed in range(4))
    assert count(long, tokenizer) > 100
    document = f"Before it.\n{long}\nAfter it."
    kept = preprocess(pd.DataFrame({"id": [1], "text": [document]}), PLAIN, tokenizer=tokenizer).kept
    assert " ".join(kept["text"]).split() == document.split()
    assert kept["segment_token_count"].max() <= 100
    assert [line for line in "\n".join(kept["text"]).splitlines()[1:-1] if not line.endswith(".")] == []


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.makes_documents])
def test_fact_12_no_token_of_a_long_document_is_lost(name, tokenizer):
    """In every task all words of documents with one line each, longer than any budget, are asked about."""
    frame = corpus(2, lines=1, sentences_per_line=150)
    kept = preprocess(frame, TASKS[name], tokenizer=tokenizer).kept
    asked = kept.groupby("id")["text"].agg(" ".join)
    assert [words.split() for words in asked] == [words.split() for words in frame["text"]]


def test_fact_12_nothing_is_joined_over_a_gap(tokenizer, scripted):
    """Dropping the line stays a choice, and then what stood on both sides of it is never presented as adjacent."""
    task = dataclasses.replace(
        TASKS["wikipedia_paraphrasing"], prompt="{document}", system_prompt=None, max_input_tokens=103, steps=(),
        min_result_tokens=0,
    )  # fmt: skip
    document = f"Iron rusts in air.\n{of_tokens(150, tokenizer)}\nGold does not rust."
    scripted.reply = lambda body: chat(body["messages"][-1]["content"].upper())
    segments = preprocess(pd.DataFrame({"id": [1], "text": [document]}), task, tokenizer=tokenizer, overlong="drop")
    assert reasons(segments) == {"filter_lines": {"line_too_long": 1}}
    answered = generate(segments.kept, task, endpoint=scripted.endpoint(), config=GenerationConfig())
    kept = postprocess(answered.kept, task, tokenizer=tokenizer).kept
    assert kept["rephrased"].tolist() == ["IRON RUSTS IN AIR.", "GOLD DOES NOT RUST."]


def test_fact_13_a_count_is_of_tokens(tokenizer):
    """Elsewhere characters are added to counts and each line's BOS is; here a count is that of the text alone."""
    lines = [of_tokens(10, tokenizer)] * 5
    kept = preprocess(pd.DataFrame({"id": [1], "text": ["\n".join(lines)]}), PLAIN, tokenizer=tokenizer).kept
    assert kept["document_token_count"].tolist() == kept["segment_token_count"].tolist() == [5 * 10 + 4]


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.makes_documents])
def test_fact_13_the_overhead_is_the_real_one(name, tokenizer, chat_tokenizer):
    """Elsewhere a prompt of 512 tokens has 548; here template and system words count, the placeholder does not."""
    task = TASKS[name]
    placeholder = count("{document}", tokenizer)
    for counter in (tokenizer, chat_tokenizer):
        budget = max_segment_tokens(task, counter)
        full = of_tokens(budget, counter)
        sent = counter.count_prompt(task.messages(document=full))
        assert task.max_input_tokens - 2 - placeholder < sent <= task.max_input_tokens
    assert max_segment_tokens(task, tokenizer) - max_segment_tokens(task, chat_tokenizer) >= 10


# --- 14, 15: documents ------------------------------------------------------------------------------------------------


def test_fact_14_documents_of_one_id_do_not_interleave(tokenizer, scripted):
    """Elsewhere two documents of one id become one, line by line; here the second is rejected, or stays apart."""
    frame = pd.DataFrame({"id": [7, 7], "text": [text(1, lines=3), text(2, lines=3)]})
    assert reasons(admit(frame)) == {"read": {"duplicate_id": 1}}
    scripted.reply = lambda body: chat(f"Here is a paraphrased version:\n{document_in(body)}")
    task = TASKS["wikipedia_paraphrasing"]
    segments = preprocess(frame, task, tokenizer=tokenizer).kept
    answered = generate(segments, task, endpoint=scripted.endpoint(), config=GenerationConfig()).kept
    kept = postprocess(answered, task, tokenizer=tokenizer).kept
    assert kept["rephrased"].tolist() == frame["text"].tolist()


def test_fact_14_null_ids_do_not_vanish_unsaid(tokenizer):
    """Elsewhere rows without an id vanish in a group-by; here each is rejected, and counted."""
    outcome = admit(pd.DataFrame({"id": [None, 2, None], "text": ["a", "b", "c"]}))
    assert reasons(outcome) == {"read": {"null_id": 2}}
    assert_accounted(outcome, 3)


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA])
def test_fact_14_null_texts_and_scores_crash_nothing(nothing, tokenizer, endpoint):
    """Elsewhere a null text or score crashes the batch; here that document is rejected and the others go on."""
    frame = corpus(3, lines=2)
    frame["text"] = frame["text"].where(frame["id"] != 101, nothing)
    scores = pd.Series([15, 15, nothing], dtype=object).convert_dtypes()
    frame = frame.assign(quality_score=scores)
    assert reasons(route(frame, quality_routes()).documents) == {"route": {"null_score": 1}}
    results = frame.nemocc.synthesize(endpoint=endpoint, tokenizer=tokenizer)
    assert set(results["id"]) == {100}
    lazy = dd.from_pandas(frame, npartitions=3).nemocc.synthesize(endpoint=endpoint, tokenizer=tokenizer).compute()
    assert set(lazy["id"]) == {100}


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_fact_14_line_ends_of_other_systems_leave_nothing(end, tokenizer):
    r"""Elsewhere \r\n leaves a \r on every line; here the same document gives the same segments and counts."""
    unix = pd.DataFrame({"id": [1], "text": [text(1, lines=6)]})
    other = unix.assign(text=unix["text"].str.replace("\n", end))
    expected = preprocess(unix, PLAIN, tokenizer=tokenizer).kept
    pd.testing.assert_frame_equal(preprocess(other, PLAIN, tokenizer=tokenizer).kept, expected)
    assert not expected["text"].str.contains("\r").any()


@pytest.mark.parametrize("cut", [1, 2, 7])
def test_fact_15_segments_meet_again_across_partitions(cut, tokenizer, endpoint):
    """Elsewhere segments in another batch are never joined; here one row per document comes out in any batches."""
    task, frame = "wikipedia_paraphrasing", corpus(4, lines=30)
    answers = frame.nemocc.preprocess(task, tokenizer=tokenizer).nemocc.generate(task, endpoint=endpoint)
    assert len(answers) > 8
    batches = dd.concat([dd.from_pandas(answers[at::cut], npartitions=1) for at in range(cut)])
    apart = batches.nemocc.postprocess(task, tokenizer=tokenizer).compute()
    together = answers.nemocc.postprocess(task, tokenizer=tokenizer)
    assert sorted(apart["rephrased"]) == sorted(together["rephrased"])
    assert apart["id"].nunique() == 4


# --- 16: braces -------------------------------------------------------------------------------------------------------

BRACES = 'Use {"a": {"b": [1]}}, {0}, {}, {document}, {language} and %s in \\1 \\g<0> ${x}.'


def test_fact_16_a_prompt_may_hold_json(scripted):
    """Elsewhere braces in a prompt raise KeyError; here only the placeholder is filled in, also read from TOML."""
    task = dataclasses.replace(PLAIN, prompt='Answer as {"text": "..."} about {document} {other}.')
    for form in (task, task_from_toml(task_to_toml(task), where="own.toml")):
        generate(pd.DataFrame({"text": ["iron"]}), form, endpoint=scripted.endpoint(), config=GenerationConfig())
        assert scripted.bodies[-1]["messages"][-1]["content"] == 'Answer as {"text": "..."} about iron {other}.'


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.makes_documents])
def test_fact_16_a_document_with_braces_passes_unharmed(name, tokenizer, scripted):
    """Elsewhere a document with braces breaks the template; here it reaches the endpoint, and the result, as it is."""
    document = f"{BRACES} {text(1, lines=1)}"
    task = dataclasses.replace(TASKS[name], steps=(), min_result_tokens=0)
    segments = preprocess(pd.DataFrame({"id": [1], "text": [document]}), task, tokenizer=tokenizer).kept
    scripted.reply = lambda body: chat(document_in(body))
    answered = generate(segments, task, endpoint=scripted.endpoint(), config=GenerationConfig()).kept
    assert document_in(scripted.bodies[0]) == document
    kept = postprocess(answered, task, tokenizer=tokenizer).kept
    assert kept[task.output_field].tolist() == [document]
