"""The comparison with NeMo Curator: what it takes for the reason of a difference is one, and nothing else is.

What Curator gives is written out by hand here. Where `NEMO_CURATOR_PYTHON` names the Python of an environment with
Curator 1.4.0, it is asked itself.
"""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from corpora import corpus, count, of_tokens
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from nemocc_dask import TASKS, Task, TokenCounter
from nemocc_dask.postprocess import postprocess
from nemocc_dask.preprocess import max_segment_tokens, preprocess

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))
MODULES = ("differences", "segment_differences", "answer_differences", "pair_choices")
differences, of_segments, of_answers, of_choices = map(importlib.import_module, MODULES)

TIMEOUT_S = 120
DOCUMENT_TASKS = [task.name for task in TASKS.values() if not task.makes_documents]
CURATOR = os.environ.get("NEMO_CURATOR_PYTHON")
MARKER = "Paraphrased Text:"
PAIRS = "Here are the questions and answers based on the provided text:"


# --- segments ---------------------------------------------------------------------------------------------------------

CUT = Task(name="cut", output_field="cut", prompt="{document}", max_output_tokens=9, max_input_tokens=63)


def _segments(text: str, theirs: list[str], counter: TokenCounter, *, task: Task = CUT, special_tokens: int = 0) -> Any:
    """The comparison of one document's segments with those that Curator is said to give."""
    documents = pd.DataFrame({"id": [7], "text": [text]})
    given = pd.DataFrame({"id": [7] * len(theirs), "segment_id": range(len(theirs)), "text": theirs})
    ours = preprocess(documents, task, tokenizer=counter).kept
    segmenting = of_segments.Segmenting(task, counter, special_tokens=special_tokens)
    return of_segments.compare_segments(documents, ours, given, segmenting)


def _habits(comparison: Any) -> set[str] | None:
    """The habits of the only difference; that there is one, and that the model is right, is asserted."""
    assert comparison.unlike_model == 0
    (difference,) = comparison.differences
    return None if difference.habits is None else set(difference.habits)


def test_an_overlong_line_that_was_dropped(tokenizer: TokenCounter) -> None:
    """A line over the budget, missing between two that were joined, is entry 12, and the only reason."""
    long = " ".join(["Iron rusts in damp air."] * 40)
    found = _segments(f"Gold.\n{long}\nSilver.", ["Gold.\nSilver."], tokenizer)
    assert _habits(found) == {"overlong"} and of_segments.HABITS["overlong"].entry == "12"


def test_carriage_returns_that_were_left(tokenizer: TokenCounter) -> None:
    """`\\r` at the end of lines is entry 14."""
    assert _habits(_segments("Gold.\r\nSilver.", ["Gold.\r\nSilver."], tokenizer)) == {"returns"}


def test_tokens_round_every_line_that_were_counted(tokenizer: TokenCounter) -> None:
    """Two lines that fit, but not with a token more for each, are apart for the reason of entry 13."""
    most = max_segment_tokens(CUT, tokenizer)
    line = of_tokens(most // 2 - 1, tokenizer)
    found = _segments(f"{line}\n{line}", [line, line], tokenizer, special_tokens=2)
    assert _habits(found) == {"bos"} and of_segments.HABITS["bos"].entry == "13"


def test_a_count_that_is_a_sum(tmp_path: Path) -> None:
    """A segment that is long enough by the sum of its lines and separators alone is entry 13."""
    text = "Iron" + "\n" * 12 + "rusts"
    counter = _counter_of_line_breaks(text, tmp_path / "tokenizer.json")
    by_lines = count("Iron", counter) + count("rusts", counter) + 12
    assert by_lines > count(text, counter)
    task = dataclasses.replace(CUT, min_segment_tokens=by_lines)
    assert _habits(_segments(text, [text], counter, task=task)) == {"sum"}


def _counter_of_line_breaks(text: str, path: Path) -> TokenCounter:
    """A tokenizer with tokens of several line breaks, as real ones have."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator([text], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    bpe.save(str(path))
    return TokenCounter(path)


def test_two_habits_at_once(tokenizer: TokenCounter) -> None:
    """Each of two reasons is named."""
    long = " ".join(["Iron rusts in damp air."] * 40)
    found = _segments(f"Gold.\r\n{long}\r\nSilver.", ["Gold.\r\nSilver."], tokenizer)
    assert _habits(found) == {"overlong", "returns"}
    assert [reason.alone for reason in found.reasons] == [0, 0]


def test_segments_that_nothing_explains(tokenizer: TokenCounter) -> None:
    """A word that is another is not put under an entry, whatever else the document would explain."""
    long = " ".join(["Iron rusts in damp air."] * 40)
    found = _segments(f"Gold.\n{long}\nSilver.", ["Gold.\nCopper."], tokenizer)
    assert _habits(found) is None and [one.key for one in found.unexplained] == [7]


@pytest.mark.parametrize("name", DOCUMENT_TASKS)
def test_the_model_makes_the_segments_that_the_phase_makes(name: str, tokenizer: TokenCounter) -> None:
    """On documents with long lines, blank ones and carriage returns, with a budget of every task."""
    documents = corpus(3, lines=5, sentences_per_line=9)
    documents["text"] = [
        text.replace("\n", ("\n", "\r\n", "\n\n")[row % 3]) + " " + text.replace("\n", " ") * (3 * (row == 1))
        for row, text in enumerate(documents["text"])
    ]
    ours = preprocess(documents, TASKS[name], tokenizer=tokenizer).kept
    segmenting = of_segments.Segmenting(TASKS[name], tokenizer, special_tokens=1)
    found = of_segments.compare_segments(documents, ours, ours.head(0), segmenting)
    assert (found.compared, found.unlike_model) == (3, 0)


def test_a_model_that_is_wrong_explains_nothing() -> None:
    """Where the model does not make what the package makes, its habits are no reasons."""
    found = differences.compare({1: ("a",)}, {1: ("b",)}, lambda worn, keys: dict.fromkeys(keys, ("b",)), ["habit"])
    assert (found.unlike_model, len(found.unexplained)) == (1, 1)


# --- answers ----------------------------------------------------------------------------------------------------------

LONG = "Iron rusts in damp air, while gold does not. "


def _answers(task: str, answers: list[str], *, segments: list[int] | None = None) -> pd.DataFrame:
    places = segments or [0] * len(answers)
    ids = [7] * len(answers) if segments else list(range(len(answers)))
    return pd.DataFrame(
        {
            "id": ids, "segment_id": places, "row": range(len(answers)), "text": "Iron rusts.",
            "segment_token_count": 300, TASKS[task].output_field: answers,
        }
    )  # fmt: skip


def _compared(
    name: str, answers: pd.DataFrame, theirs: list[str], counter: TokenCounter, *, special_tokens: int = 0, **own: int
) -> Any:
    """The comparison of one answer's results with those that Curator is said to give."""
    changed: dict[str, Any] = {"min_result_tokens": 1, **own}
    task = dataclasses.replace(TASKS[name], **changed)
    given = answers.head(1).loc[[0] * len(theirs)].assign(**{task.output_field: theirs})
    ours = postprocess(answers, task, tokenizer=counter).kept
    answering = of_answers.Answering(task, counter, special_tokens=special_tokens)
    return of_answers.compare_answers(answers, ours, given, answering)


@pytest.mark.parametrize(
    ("task", "answer", "theirs", "habits", "entries"),
    [
        ("distill", f"{MARKER}\nmy_snake_case", ["mysnakecase"], {"markdown"}, {"7"}),
        ("distill", f"{MARKER}\nSee [the docs](https://x.y/a).", ["See https://x.y/a."], {"markdown"}, {"7"}),
        ("distill", f'{MARKER}\n"A" and "B"', ['A" and "B'], {"quotes"}, {"8"}),
        ("distill", f"{MARKER}\n“All of it.”", ["“All of it.”"], {"quotes"}, {"8"}),
        ("extract_knowledge", '"All of it."', ['"All of it."'], {"quotes"}, {"8"}),
        ("knowledge_list", "• Iron rusts.\n• Gold shines.", ["• Gold shines."], {"bullets"}, {"9"}),
        ("knowledge_list", "Here is the list:\n\n- Iron.", ["\nIron."], {"bullets", "ends"}, {"9", "space"}),
        ("diverse_qa", f"{PAIRS}\n1. Question: What rusts? Answer: Iron.", [], {"pairs"}, {"10"}),
        ("diverse_qa", f"Sure!\n\n{PAIRS}\n- Question: What rusts? Answer: Iron.", [], {"pairs"}, {"10"}),
        (
            "diverse_qa", f"{PAIRS}\n- Question: What rusts? Answer: Iron.",
            ["Iron rusts.\n\nQuestion: What rusts? Answer: Iron."], {"layout"}, {"layout"},
        ),
        ("distill", f"\n{MARKER}\nIron.", [], {"marker"}, {"11"}),
        ("extract_knowledge", "Passage 4:\nIron.", ["Passage 4:\nIron."], {"passages"}, {"recipe"}),
        ("extract_knowledge", "\nIron.", ["\nIron."], {"ends"}, {"space"}),
    ],
)  # fmt: skip
def test_an_answer_that_curator_treats_otherwise(
    task: str, answer: str, theirs: list[str], habits: set[str], entries: set[str], tokenizer: TokenCounter
) -> None:
    """Each habit is found as the reason of a difference that it makes, and the entry is its own."""
    found = _habits(_compared(task, _answers(task, [answer]), theirs, tokenizer))
    assert found == habits and {of_answers.HABITS[name].entry for name in habits} == entries


def test_segments_joined_over_a_missing_one(tokenizer: TokenCounter) -> None:
    """Curator's one text for the first and third segment is entry 12."""
    said = [f"Here is a paraphrased version:\n{place}." for place in (0, 1)]
    found = _compared(
        "wikipedia_paraphrasing", _answers("wikipedia_paraphrasing", said, segments=[0, 2]), ["0.\n1."], tokenizer
    )
    assert _habits(found) == {"gap"} and of_answers.HABITS["gap"].entry == "12"


def test_an_answer_too_long_by_the_tokens_round_it(tokenizer: TokenCounter) -> None:
    """An answer that fills the bound and is dropped for its BOS is entry 13."""
    answers, most = _answers("extract_knowledge", [LONG]), count(LONG, tokenizer)
    found = _compared("extract_knowledge", answers, [], tokenizer, special_tokens=1, max_output_tokens=most + 2)
    assert _habits(found) == {"bos"} and of_answers.HABITS["bos"].entry == "13"


@pytest.mark.parametrize(
    ("task", "answer", "theirs"),
    [
        ("distill", f"{MARKER}\nmy_snake_case", ["my_snakecase"]),
        ("distill", f'{MARKER}\n"A" and "B"', ["A and B"]),
        ("knowledge_list", "* Iron rusts.\n* Gold shines.", ["Iron rusts."]),
        (
            "diverse_qa",
            f"{PAIRS}\n- Question: What rusts? Answer: Iron.",
            ["Iron rusts.\n\nQuestion: What? Answer: Iron."],
        ),
    ],
)
def test_an_answer_that_nothing_explains(task: str, answer: str, theirs: list[str], tokenizer: TokenCounter) -> None:
    """A result that Curator's habit would not give is not put under it, though it looks alike."""
    assert _habits(_compared(task, _answers(task, [answer]), theirs, tokenizer)) is None


@pytest.mark.parametrize("name", [name for name in DOCUMENT_TASKS if name != "diverse_qa"])
def test_the_model_makes_the_results_that_the_phase_makes(name: str, tokenizer: TokenCounter) -> None:
    """On answers in many dresses, of which some are dropped."""
    marker = of_answers.asked_marker(TASKS[name])
    bodies = [
        LONG * 5,
        f'"{LONG * 4}"',
        f"* {LONG}\n" * 9,
        f"Passage 4:\n\n{LONG * 5}\n",
        "`a_b_c` **bold** " * 20,
        "",
        "Short.",
    ]
    dresses = [f"{marker}\n", f"\n**{marker}** ", "", "Sure:\n\n"]
    answers = [dress + body for body in bodies for dress in dresses]
    frame = _answers(name, answers, segments=list(range(len(answers))))
    ours = postprocess(frame, TASKS[name], tokenizer=tokenizer).kept
    answering = of_answers.Answering(TASKS[name], tokenizer, special_tokens=1)
    found = of_answers.compare_answers(frame, ours, ours, answering)
    assert found.compared > 0 and (found.unlike_model, found.differences) == (0, [])


# --- pairs that were chosen -------------------------------------------------------------------------------------------

SOURCE = LONG.strip()
READ = [f"Question: What is {number}? Answer: A number." for number in range(12)]


def _theirs_hold(kept: list[str] | None, tokenizer: TokenCounter, *, source: str = SOURCE) -> bool:
    task = dataclasses.replace(TASKS["diverse_qa"], min_result_tokens=9)
    rules = of_choices.Choosing(task, tokenizer)
    result = None if kept is None else "\n\n".join([source, *kept])
    return bool(rules.theirs_holds(result, "\n\n".join([source, *READ]), source))


def test_pairs_chosen_by_the_rules(tokenizer: TokenCounter) -> None:
    """Any of the pairs may be kept, in any order, as many as the source's length allows."""
    assert _theirs_hold(READ[3:4], tokenizer) and _theirs_hold(READ[2::-1], tokenizer, source=SOURCE * 9)


@pytest.mark.parametrize("kept", [READ[:9], [READ[0], READ[0]], ["Question: Why? Answer: No."], [], None])
def test_pairs_chosen_against_the_rules(kept: list[str] | None, tokenizer: TokenCounter) -> None:
    """Too many, one twice, one that was never read, none, or no result at all though the shortest is long enough."""
    source = SOURCE if kept is None or len(kept) != 2 else SOURCE * 9
    assert not _theirs_hold(kept, tokenizer, source=source)


def test_our_pairs_are_chosen_by_the_rules(tokenizer: TokenCounter) -> None:
    """What the phase keeps is what the rule of this side says, and not one pair fewer."""
    answer = "\n".join(f"- Question: What is {number}? Answer: A number." for number in range(12))
    source, task = SOURCE * 5, dataclasses.replace(TASKS["diverse_qa"], min_result_tokens=1)
    frame = _answers("diverse_qa", [answer]).assign(text=source, segment_token_count=count(source, tokenizer))
    (kept,) = postprocess(frame, task, tokenizer=tokenizer).kept["diverse_qa"]
    (available,) = of_answers.Answering(task, tokenizer, special_tokens=0).results(frame, frozenset())[0]
    rules = of_choices.Choosing(task, tokenizer)
    assert rules.ours_holds(kept, available, source)
    assert not rules.ours_holds(kept.rpartition("\n\n")[0], available, source)


# --- the script -------------------------------------------------------------------------------------------------------


def _script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "against_curator.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.parametrize("module", MODULES)
def test_its_examples_run(module: str) -> None:
    """The doctests of its modules hold."""
    assert doctest.testmod(sys.modules[module]).failed == 0


def test_its_help_names_what_it_needs() -> None:
    """`--help` names Curator's version and the option for an environment that has it."""
    done = _script("--help")
    assert done.returncode == 0 and "nemo-curator==1.4.0" in done.stdout and "--curator-python" in done.stdout


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    """A wrong path ends in one line that names it, before anything is run or installed."""
    done = _script("--curator-python", tmp_path / "python")
    assert done.returncode == 1 and str(tmp_path / "python") in done.stderr and "Traceback" not in done.stderr


def test_this_side_alone(tokenizer_file: Path, tmp_path: Path) -> None:
    """Without Curator every part of this package's side runs, and its tables are kept."""
    results = tmp_path / "RESULTS.md"
    done = _script("--small", "--ours-only", "--tokenizer", tokenizer_file, "--results", results)
    assert done.returncode == 0, done.stderr
    kept = results.read_text(encoding="utf-8")
    for title in ("Preprocessing against", "Postprocessing against", "Whole jobs"):
        assert f"### {title}" in kept
    job = next(line for line in kept.splitlines() if line.startswith("| nemocc-dask"))
    needed, sent = [cell.strip() for cell in job.split("|")][2:4]
    assert needed == sent != "0"


@pytest.mark.skipif(CURATOR is None, reason="NEMO_CURATOR_PYTHON names no Python that has NeMo Curator")
def test_every_difference_has_a_reason(tokenizer_file: Path) -> None:
    """With Curator itself: nothing differs without one of the habits, and the model makes what this package makes."""
    parts = ("--part", "preprocessing", "postprocessing", "--no-append", "--tokenizer", tokenizer_file)
    done = _script("--small", *parts, "--curator-python", CURATOR or "")
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("### The same results")[2].partition("###")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")
    ]
    assert rows[0][-2:] == ["not explained", "unlike the model"]
    assert len(rows) == 12 and all(row[-2:] == ["0", "0"] for row in rows[1:])
