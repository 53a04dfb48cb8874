"""Tasks as data: the six rows, what is derived from them, and how a record checks itself."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
from corpora import text

from nemocc_dask import columns
from nemocc_dask.errors import TaskError, UnknownTaskError
from nemocc_dask.postprocess import CLEANING
from nemocc_dask.route import HIGH_QUALITY_TASKS, LOW_QUALITY_TASKS
from nemocc_dask.settings import HIGH_ABOVE
from nemocc_dask.tasks import TASKS, Step, Task, find_task
from nemocc_dask.tasks.languages import CODES, code_of
from nemocc_dask.tasks.steps import STEP_OPTIONS

READING = tuple(task for task in TASKS.values() if not task.makes_documents)
PLAIN = Task(name="own", output_field="made", prompt="Say: {document}", max_input_tokens=100, max_output_tokens=50)

NUMBERS = {
    # task: output field, min document, min segment, max input, max output, longest answer, shortest result
    "wikipedia_paraphrasing": ("rephrased", 5, 5, 512, 512, 510, 50),
    "diverse_qa": ("diverse_qa", 30, 30, 1000, 600, 598, 100),
    "distill": ("distill", 30, 10, 2000, 1600, 1598, 50),
    "extract_knowledge": ("extract_knowledge", 30, 30, 1400, 1400, 1398, 50),
    "knowledge_list": ("knowledge_list", 30, 30, 1000, 600, 598, 50),
}


# --- the six rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NUMBERS)
def test_the_numbers_are_those_of_the_recipe(name):
    """Each task's output field, budgets and bounds are those of the published recipe."""
    task = TASKS[name]
    assert NUMBERS[name] == (
        task.output_field,
        task.min_document_tokens,
        task.min_segment_tokens,
        task.max_input_tokens,
        task.max_output_tokens,
        task.max_answer_tokens,
        task.min_result_tokens,
    )


def test_there_are_six_tasks():
    """The mapping holds five tasks on documents and one that makes documents, and cannot be changed."""
    assert tuple(TASKS) == (*NUMBERS, "multilingual_qa")
    assert all(name == task.name for name, task in TASKS.items())
    with pytest.raises(TypeError):
        TASKS["own"] = PLAIN  # type: ignore[index]


def test_multilingual_qa_makes_documents():
    """The sixth task reads nothing: it writes `text`, in one of the recipe's five languages."""
    task = TASKS["multilingual_qa"]
    assert task.makes_documents and task.output_field == columns.TEXT and task.max_input_tokens is None
    assert task.languages == ("English", "French", "German", "Spanish", "Italian")


def test_high_and_low_quality_have_their_tasks():
    """Scores above 11 take the four high tasks, the others paraphrasing, and no task is left over."""
    assert HIGH_ABOVE == 11
    assert LOW_QUALITY_TASKS == ("wikipedia_paraphrasing",)
    assert {*HIGH_QUALITY_TASKS, *LOW_QUALITY_TASKS} == {task.name for task in READING}


def test_only_paraphrases_meet_again():
    """Segments of one document become one result in paraphrasing alone."""
    assert [task.name for task in TASKS.values() if task.joins_segments] == ["wikipedia_paraphrasing"]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_prompt_asks_for_what_its_steps_look_for(task):
    """A marker that cleaning looks for stands on a line of its own in the prompt."""
    markers = {option for step in task.steps for name, option in step.options.items() if name in ("prefix", "marker")}
    assert markers <= set(task.prompt.splitlines())
    assert bool(markers) == (task.name in ("wikipedia_paraphrasing", "distill"))


def test_prompts_ask_for_the_layouts_that_are_parsed():
    """Pairs, bullets and language codes are asked for as the parsers expect them."""
    assert "- Question: (the question) Answer: (the answer)" in TASKS["diverse_qa"].prompt
    assert "up to eight" in TASKS["diverse_qa"].prompt and TASKS["diverse_qa"].steps[-1].options == {"max_pairs": 8}
    assert "Here are the questions and answers based on the provided text:" in TASKS["diverse_qa"].prompt.splitlines()
    assert '"- "' in TASKS["knowledge_list"].prompt
    assert "{language}" in TASKS["multilingual_qa"].prompt and "{code}" in TASKS["multilingual_qa"].prompt


def test_distilling_has_a_system_prompt_of_its_own():
    """All tasks share one system prompt, but distilling stresses accurate, factual reasoning."""
    prompts = {task.name: task.system_prompt for task in TASKS.values()}
    distill = prompts.pop("distill")
    assert len(set(prompts.values())) == 1 and "helpful assistant" in prompts["diverse_qa"]
    assert distill not in prompts.values() and "accurate" in distill and "factual" in distill


@pytest.mark.parametrize("task", READING, ids=lambda task: task.name)
def test_a_document_stands_alone_in_its_prompt(task):
    """The document comes last, between its tags, so that nothing follows that it could be confused with."""
    (_, user) = task.messages(document=text(1))
    assert user["content"].endswith(f"\n<document>\n{text(1)}\n</document>")


# --- what is derived --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", READING, ids=lambda task: task.name)
def test_a_segment_may_have_what_the_prompt_leaves(task):
    """A segment's budget is the input's, less the prompt round it, less 2."""
    assert task.max_segment_tokens(100) == task.max_input_tokens - 100 - 2


def test_a_prompt_without_room_is_refused():
    """A budget below the shortest segment raises and says by how much; one that just holds it does not."""
    task = dataclasses.replace(PLAIN, min_segment_tokens=30)
    assert task.max_segment_tokens(68) == 30
    with pytest.raises(TaskError, match=r"takes 69 of 100 .* leaves 29 for a segment of at least 30"):
        task.max_segment_tokens(69)
    with pytest.raises(TaskError, match="leaves 0"):
        PLAIN.max_segment_tokens(98)


def test_changing_a_number_changes_what_follows_from_it():
    """A task of one's own is another record: the bound on answers follows the tokens it asks for."""
    brief = dataclasses.replace(TASKS["distill"], name="brief", max_output_tokens=400)
    assert brief.max_answer_tokens == 398 and TASKS["distill"].max_answer_tokens == 1598


def test_messages_fill_in_the_document_and_nothing_else():
    """Braces in prompt and document stay; a document that holds a placeholder is not filled in again."""
    task = dataclasses.replace(PLAIN, prompt='As JSON {"a": {}}: {document} {0} {x!r}', system_prompt="Be {brief}.")
    said = task.messages(document="{document} {language} {{}} \\1 %s")
    assert [message["role"] for message in said] == ["system", "user"]
    assert said[0]["content"] == "Be {brief}."
    assert said[1]["content"] == 'As JSON {"a": {}}: {document} {language} {{}} \\1 %s {0} {x!r}'


@pytest.mark.parametrize("system_prompt", [None, ""])
def test_no_system_prompt_sends_no_system_message(system_prompt):
    """A task without a system prompt asks with the user's message alone."""
    (user,) = dataclasses.replace(PLAIN, system_prompt=system_prompt).messages(document="a")
    assert user == {"role": "user", "content": "Say: a"}


def test_tasks_travel():
    """A task pickles to an equal one, as it goes to workers."""
    assert {name: pickle.loads(pickle.dumps(task)) for name, task in TASKS.items()} == dict(TASKS)


# --- a record checks itself -------------------------------------------------------------------------------------------

CONTRADICTIONS = {
    "lower-case letters": {"name": "My Task"},
    "taken by the run itself": {"name": "input"},
    "has to be an identifier": {"output_field": "my field"},
    "column 'id' is the run's own": {"output_field": "id"},
    "column 'text' is the run's own": {"output_field": "text"},
    "column 'finish_reason' is the run's own": {"output_field": "finish_reason"},
    "column 'reason' is the run's own": {"output_field": "reason"},
    r"holds no \{document\}": {"prompt": "Say something."},
    "together with": {"prompt": "{document} in {language}"},
    "max_input_tokens has to be said": {"max_input_tokens": None},
    "languages have to be named": {"prompt": "Speak {language}"},
    "above 2": {"max_output_tokens": 2},
    "minimum is below zero": {"min_result_tokens": -1},
    "No code is known for the language 'Klingon'": {"prompt": "Speak {language}", "languages": ("Klingon",)},
}


@pytest.mark.parametrize("words", CONTRADICTIONS)
def test_a_task_that_contradicts_itself_is_refused(words):
    """A contradiction raises when the record is made, in one sentence that says what is wrong."""
    with pytest.raises(TaskError, match=words) as refusal:
        dataclasses.replace(PLAIN, **CONTRADICTIONS[words])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("field", ["sample", "task"])
def test_a_field_that_a_phase_writes_itself_is_refused(field):
    """The columns `sample` and `task` are written beside the output field, so neither can be it."""
    with pytest.raises(TaskError, match=f"'{field}' is the run's own"):
        dataclasses.replace(PLAIN, output_field=field)


def test_a_task_is_found_by_name_or_is_itself():
    """A name or a record is accepted; a wrong name is answered with those there are."""
    assert find_task("distill") is TASKS["distill"] and find_task(PLAIN) is PLAIN
    with pytest.raises(
        UnknownTaskError,
        match=r"no task 'destill'\. Did you mean 'distill'\? The tasks are: wikipedia_paraphrasing, .*--task-file",
    ):
        find_task("destill")


def test_every_step_is_there_to_be_run():
    """The steps a task may list are those that cleaning knows, no more and no fewer."""
    assert set(STEP_OPTIONS) == set(CLEANING)


def test_steps_check_themselves():
    """A step of another name, with an option too many or one too few, is refused in words."""
    with pytest.raises(TaskError, match=r"no step 'shout'.*remove_markdown"):
        Step("shout")
    with pytest.raises(TaskError, match=r"given the options \[\]; it takes: prefix"):
        Step("keep_prefixed")
    with pytest.raises(TaskError, match="it takes: none"):
        Step("remove_markdown", {"loudly": True})


@pytest.mark.parametrize(
    ("step", "options"),
    [
        ("keep_pairs", {"max_pairs": "eight"}),
        ("keep_pairs", {"max_pairs": 0}),
        ("remove_lines", {"pattern": "(Passage"}),
        ("keep_prefixed", {"prefix": " : "}),
        ("slice_after", {"marker": ""}),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_paid(step, options):
    """A pattern that is none, a marker without words or a number that is none is found when the step is made."""
    with pytest.raises(TaskError, match=step):
        Step(step, options)


def test_languages_have_codes():
    """Every known language has its two-letter code in brackets, each of its own."""
    assert code_of("Italian") == "[IT]" and len(set(CODES.values())) == len(CODES)
    with pytest.raises(TaskError, match="'Elvish'"):
        code_of("Elvish")
