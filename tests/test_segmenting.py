"""Segments whose prompt is counted as it will be sent; work that tasks share is done once."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from books import assert_accounted, reasons, rejects
from corpora import corpus
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from nemocc_dask.preprocess import counted_documents, filter_prompts, lines_of, preprocess
from nemocc_dask.tasks import TASKS, Task
from nemocc_dask.tokens import TokenCounter

HIGH = [TASKS[name] for name in ("diverse_qa", "distill", "extract_knowledge", "knowledge_list")]
BARE = Task(name="bare", output_field="made", prompt="{document}", max_input_tokens=43, max_output_tokens=50)


@pytest.fixture(scope="module")
def uneven() -> TokenCounter:
    """A tokenizer, of SentencePiece's kind, to which `ab` is one token at the head of a text, and two after a break."""
    vocabulary = {token: number for number, token in enumerate(["<unk>", "▁", "a", "b", "\n", "▁a", "▁ab"])}
    bpe = Tokenizer(models.BPE(vocabulary, [("▁", "a"), ("▁a", "b")], unk_token="<unk>"))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return TokenCounter(PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>"))


def documents(*texts):
    return pd.DataFrame({"id": range(len(texts)), "text": list(texts)})


def prompts(outcome, task, tokenizer):
    return [tokenizer.count_prompt(task.messages(document=text)) for text in outcome.kept["text"]]


def test_a_whole_that_is_more_than_its_parts_still_fits(uneven):
    """Where lines have more tokens together than apart, segments end earlier; nothing is lost or left half empty."""
    frame = documents("\n".join(["ab"] * 100), "ab", "\n".join(["ab ab"] * 30))
    outcome = preprocess(frame, BARE, tokenizer=uneven)
    sizes = prompts(outcome, BARE, uneven)
    assert max(sizes) <= 43 and min(sizes[:6]) > 30
    assert outcome.kept["segment_token_count"].tolist() == sizes  # this prompt is the document alone
    again = outcome.kept.sort_values(["id", "segment_id"]).groupby("id")["text"].agg("\n".join)
    assert again.tolist() == frame["text"].tolist()
    numbers = outcome.kept.groupby("id")["segment_id"].agg(list)
    assert all(each == [*range(len(each))] for each in numbers)
    assert_accounted(outcome, 3)


@given(rows=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=30), min_size=1, max_size=4))
def test_whatever_the_lines_no_prompt_is_too_long(uneven, rows):
    """Documents of any lines: every prompt fits, counts are true, and the segments are the document again."""
    frame = documents(*("\n".join(" ".join(["ab"] * words) for words in row) for row in rows))
    outcome = preprocess(frame, dataclasses.replace(BARE, min_segment_tokens=0), tokenizer=uneven, overlong="drop")
    assert all(size <= 43 for size in prompts(outcome, BARE, uneven))
    true = uneven.count(pa.array(outcome.kept["text"].tolist(), pa.large_string()))
    assert outcome.kept["segment_token_count"].tolist() == true.tolist()
    assert outcome.kept["segment_id"].groupby(outcome.kept["id"]).is_monotonic_increasing.all()
    assert_accounted(outcome, len(rows))


def test_a_line_whose_prompt_does_not_fit_is_named(uneven):
    """A line within its budget whose prompt is too long all the same, by what stands before it, is rejected."""
    often = dataclasses.replace(BARE, prompt="{document}" * 4, max_input_tokens=6)
    outcome = preprocess(documents("a", "ab"), often, tokenizer=uneven)
    assert outcome.kept["text"].tolist() == ["a"]
    assert reasons(outcome) == {"filter_segments": {"prompt_too_long": 1}}
    assert rejects(outcome)["text"].tolist() == ["ab"]
    assert_accounted(outcome, 2)


def test_a_document_may_stand_in_the_prompt_twice(uneven, tokenizer):
    """Both places count: every prompt fits, and segments are as long as half of what is left."""
    twice = dataclasses.replace(BARE, prompt="{document}\n{document}")
    for counter, word in ((uneven, "ab"), (tokenizer, "a")):
        frame = documents("\n".join([word] * 90), " ".join([word] * 90))
        sizes = prompts(preprocess(frame, twice, tokenizer=counter), twice, counter)
        assert max(sizes) <= 43 and sorted(sizes)[2] > 20


def test_a_template_that_makes_more_of_a_document_is_asked_about_each(uneven):
    """Where the template changes a document, its own tokens say nothing: each prompt is counted, however short."""
    upper = PreTrainedTokenizerFast(tokenizer_object=uneven.source.backend_tokenizer, unk_token="<unk>")
    upper.chat_template = "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
    counter, task = TokenCounter(upper), dataclasses.replace(BARE, max_input_tokens=200)
    frame = documents(" ".join(["ab"] * 98), "\n".join(["ab"] * 49), "ab")
    outcome = preprocess(frame, task, tokenizer=counter)
    assert counter.count(pa.array(frame["text"].tolist(), pa.large_string())).tolist() == [98, 145, 1]
    assert max(prompts(outcome, task, counter)) <= 200
    assert outcome.kept["id"].tolist() == [1, 2] and reasons(outcome) == {"filter_segments": {"prompt_too_long": 1}}
    assert_accounted(outcome, 3)


def test_prompts_of_segments_made_elsewhere_can_be_filtered(uneven):
    """`filter_prompts` keeps what fits, a null among them, and rejects the rest by name."""
    frame = documents("ab", " ".join(["ab"] * 44), None, " ".join(["ab"] * 43))
    outcome = filter_prompts(frame, BARE, tokenizer=uneven)
    assert outcome.kept["id"].tolist() == [0, 2, 3]
    assert reasons(outcome) == {"filter_prompts": {"prompt_too_long": 1}}


# --- done once --------------------------------------------------------------------------------------------------------


class Listening(TokenCounter):
    """Counts, and remembers how often each text was counted."""

    def __init__(self, source) -> None:
        super().__init__(source)
        self.heard: Counter[str] = Counter()

    def count(self, texts):
        """As ever."""
        self.heard.update(texts.to_pylist())
        return super().count(texts)


@pytest.fixture
def listening(tokenizer_file) -> Listening:
    return Listening(tokenizer_file)


def test_lines_are_counted_once_for_all_tasks(listening):
    """Four tasks on the same documents count every line once, and segments are those of each task by itself."""
    frame = counted_documents(corpus(6, lines=12), listening)
    listening.heard.clear()
    shared = lines_of(frame, listening, takers=4)
    together = [preprocess(frame, task, tokenizer=listening, lines=shared) for task in HIGH]
    lines = Counter(line for text in frame["text"] for line in text.split("\n"))
    assert {line: listening.heard[line] for line in lines} == lines
    for task, outcome in zip(HIGH, together, strict=True):
        assert_frame_equal(outcome.kept, preprocess(frame, task, tokenizer=listening).kept)


def test_counts_of_one_stage_serve_the_next(listening):
    """A segment that is a whole document, or a single line, is not counted again."""
    frame = documents("One line of a few words.\nAnother one.", "A single line of some more words, all alone.")
    kept = preprocess(frame, TASKS["wikipedia_paraphrasing"], tokenizer=listening).kept
    assert len(kept) == 2 and listening.heard[frame["text"][0]] == 1
    assert listening.heard[frame["text"][1]] == 2  # as a document, and as its only line


def test_a_document_that_lost_a_line_is_counted_again(tokenizer):
    """What is left of a document whose over-long line was dropped, or cut, has its own count, not the document's."""
    frame = documents("a a\n" + " ".join(["a"] * 99) + "\na a a", " ".join(["a"] * 99) + "\na a a")
    task = dataclasses.replace(BARE, max_input_tokens=60)
    for overlong in ("drop", "split"):
        kept = preprocess(frame, task, tokenizer=tokenizer, overlong=overlong).kept
        true = tokenizer.count(pa.array(kept["text"].tolist(), pa.large_string()))
        assert kept["segment_token_count"].tolist() == true.tolist() and len(kept) >= 3
        assert (kept["segment_token_count"] < kept["document_token_count"]).all()


def test_a_line_of_which_one_piece_is_left_is_counted_again(tokenizer):
    """An over-long line whose words fit together once the blanks between them are one has the count of what is left."""
    line = ("a" + "\u3000" * 60 + "b ") * 3
    kept = preprocess(documents(line), dataclasses.replace(BARE, min_segment_tokens=0), tokenizer=tokenizer).kept
    true = tokenizer.count(pa.array(kept["text"].tolist(), pa.large_string()))
    assert kept["segment_token_count"].tolist() == true.tolist() and len(kept) == 1


def test_lines_are_forgotten_when_all_have_them(listening):
    """After as many takers as were announced, lines are held no longer, and who comes later has them cut anew."""
    frame = counted_documents(corpus(2), listening)
    shared = lines_of(frame, listening, takers=2)
    first, second = shared(), shared()
    assert first is second
    assert shared() is not first
    assert np.array_equal(shared().counts, first.counts)
