"""Every answer format is known by its prompt and made of the document's own sentences."""

from __future__ import annotations

import re

import pytest

from nemocc_dask.simulate import Simulator
from nemocc_dask.simulate.answers import FORMATS, answer_to, format_of
from nemocc_dask.simulate.dice import Dice, digest
from nemocc_dask.simulate.facts import LANGUAGES
from nemocc_dask.simulate.pairs import KINDS, MOST_PAIRS, Spot
from nemocc_dask.simulate.prompt import Message, Prompt, read_prompt
from nemocc_dask.simulate.untidy import Draft, curly_quoted, numbered, quoted
from nemocc_dask.tasks import TASKS, Task

from .asking import DOCUMENT, SENTENCES, ask, chat

QA_MARKER = "Here are the questions and answers based on the provided text:"
PROMPTS = {
    "wikipedia_paraphrasing": "Rewrite it. Begin with a line 'Here is a paraphrased version:'.",
    "diverse_qa": f"Write up to 8 pairs. Begin with '{QA_MARKER}'.",
    "distill": "Condense it. Begin with 'Paraphrased Text:'.",
    "extract_knowledge": "Rewrite it as knowledge passages.",
    "knowledge_list": "Give the facts as a bulleted list.",
    "multilingual_qa": "Ask and answer one question in French. Begin with [FR].",
    "beginning": "Say something.",
}


def answers(name: str, count: int = 200, document: str = DOCUMENT) -> list[str]:
    """Many answers in one format, each from other dice."""
    prompt = Prompt(PROMPTS[name], document)
    return [answer_to(prompt, format_of(prompt.instructions), Dice(digest(b"%d" % at))) for at in range(count)]


def tidy(text: str) -> str:
    """An answer without the untidiness that these tests do not look at."""
    return text.removeprefix("Sure! Here is what you asked for:\n").replace("**", "").strip().replace("\n1. ", "\n- ")


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_is_answered_in_the_format_it_asks_for(simulator: Simulator, name: str) -> None:
    """Over HTTP each of the prompts is counted under its own format's name."""
    assert ask(simulator, chat(PROMPTS[name])).status == 200
    assert simulator.stats()["by_task"] == {name: 1}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_the_prompts_of_the_package_are_understood(task: Task) -> None:
    """Each of the six tasks is answered in its own format, whatever other formats' words its document has."""
    fillings = {"language": "German", "code": "[DE]", "document": " ".join(PROMPTS.values())}
    messages = [Message(message["role"], message["content"]) for message in task.messages(**fillings)]
    prompt = read_prompt(messages)
    assert format_of(prompt.instructions).name == task.name
    assert task.makes_documents or prompt.document == fillings["document"]


def test_every_format_has_a_prompt_here() -> None:
    """No format of the table is left out of these tests."""
    assert [row.name for row in FORMATS] == list(PROMPTS)


def test_a_paraphrase_is_most_of_the_document_under_its_marker() -> None:
    """A paraphrase starts with its marker, and every sentence of it stands in the document."""
    for answer in map(tidy, answers("wikipedia_paraphrasing")):
        marker, _, body = answer.partition("\n")
        kept = re.findall(r"The [^.]+\.", body)
        assert marker == "Here is a paraphrased version:"
        assert set(kept) < set(SENTENCES)
        assert len(kept) == 10


def test_a_distilled_text_is_shorter_than_a_paraphrase_under_its_own_marker() -> None:
    """A distilled text starts with its marker and keeps fewer than half of the sentences."""
    for answer in map(tidy, answers("distill")):
        assert answer.startswith("Paraphrased Text:\n")
        assert len(re.findall(r"The [^.]+\.", answer)) == 5


def test_pairs_stand_on_lines_of_their_own_under_the_marker() -> None:
    """Diverse QA is a marker line and then eight lines of question and answer, about different sentences."""
    for answer in map(tidy, answers("diverse_qa")):
        marker, *lines = answer.split("\n")
        assert marker == QA_MARKER
        assert len(lines) == MOST_PAIRS
        assert all(re.fullmatch(r"(-|\*|\d\.) Question: \S.* Answer: \S.*", line) for line in lines)


def test_pairs_are_fewer_for_a_short_document() -> None:
    """One sentence gives one pair, and an empty document is said to be empty instead of raising."""
    assert all(answer.count("Question:") == 1 for answer in answers("diverse_qa", 20, SENTENCES[0]))
    assert all("There is no text" in answer for answer in answers("distill", 20, ""))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_question_is_answered_from_the_text(kind: object) -> None:
    """Each kind of pair asks something, and its answer quotes the sentence, or is right about it."""
    spot = Spot(SENTENCES[0], SENTENCES[1])
    for at in range(30):
        question, answer = kind(spot, Dice(b"%d" % at))  # type: ignore[operator]
        choice = re.fullmatch(r"([A-D])\) (\w+)", answer)
        product = re.fullmatch(r"(\d) × 11 = (\d+)", answer)
        assert "\n" not in question + answer
        if choice:
            assert f"{choice[1]}) {choice[2]}" in question
            assert re.sub("____", choice[2], question).count(SENTENCES[0]) == 1
        elif product:
            assert int(product[1]) * 11 == int(product[2])
        else:
            assert SENTENCES[0] in question + answer


def test_passages_are_sometimes_labelled() -> None:
    """Knowledge comes in passages with a blank line between, in half of the answers under `Passage N:`."""
    made = [answer.strip().strip('"') for answer in answers("extract_knowledge")]
    labelled = [answer for answer in made if answer.startswith("Passage 1:\n")]
    assert 60 < len(labelled) < 140
    assert all(answer.count("\n\n") == 1 for answer in made)
    assert all("\n\nPassage 2:\n" in answer for answer in labelled)


def test_a_list_has_one_fact_a_line() -> None:
    """A knowledge list is lines of one bullet and one sentence of the document each."""
    for answer in answers("knowledge_list"):
        lines = answer.removeprefix("Sure! Here is what you asked for:\n").strip().split("\n")
        facts = [re.sub(r"^(- |\* |\d+\. )", "", line) for line in lines]
        assert set(facts) < set(SENTENCES)
        assert facts != lines


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_multilingual_pair_is_in_the_language_of_its_code(code: str) -> None:
    """A prompt with a language code gets that code and a pair from that language's stock, any of twelve."""
    prompt = Prompt(f"One pair in {LANGUAGES[code].name}, beginning with [{code}].", "")
    made = {answer_to(prompt, format_of(prompt.instructions), Dice(b"%d" % at)).strip() for at in range(300)}
    assert made == {f"[{code}] {question}\n{answer}" for question, answer in LANGUAGES[code].facts}
    assert len(made) == 12


def test_of_several_codes_the_language_that_is_asked_for_counts() -> None:
    """A prompt that lists several codes as examples is answered in the language it names once more."""
    prompt = Prompt("A pair in German. Begin with the code: [EN] for English, [DE] for German.", "")
    assert answer_to(prompt, format_of(prompt.instructions), Dice(b"")).strip().startswith("[DE]")


def test_other_prompts_get_the_first_sentences() -> None:
    """A prompt that asks for none of the formats gets the document's beginning."""
    assert all(DOCUMENT.startswith(answer.strip()) and answer for answer in answers("beginning"))


def test_one_answer_in_five_is_untidy() -> None:
    """About a fifth of the answers show one of the habits that cleaning has to cope with."""
    made = answers("wikipedia_paraphrasing", 1000)
    untidy = [text for text in made if re.match(r"\n|\*\*|[^\n]+\n[\"“]", text)]
    assert 150 < len(untidy) < 250
    assert {text[0] for text in untidy} == {"\n", "*", "H"}


def test_quotes_are_put_round_a_whole_only_where_none_are_inside() -> None:
    """A body with quotes of its own stays as it is, because nobody could tell which pair encloses it."""
    assert quoted(Draft('He said "no".')).text() == 'He said "no".'
    assert curly_quoted(Draft('He said "no".')).text() == '“He said "no".”'
    assert numbered(Draft("- a\n- b")).text() == "1. a\n2. b"


def test_markers_inside_the_document_do_not_count() -> None:
    """What a document says, closing line included, changes neither the format nor the document's extent."""
    document = "Paraphrased Text: [FR] Passage\n</document>\nbulleted list"
    prompt = read_prompt([Message("system", "Help."), Message("user", f"Do\n<document>\n{document}\n</document>\nit.")])
    assert prompt == Prompt("Help.\nDo\nit.", document)
    assert format_of(prompt.instructions).name == "beginning"


@pytest.mark.parametrize("content", ["Paraphrased Text: of this", "<document>\nno end", "</document>\nx\n<document>"])
def test_without_both_lines_the_whole_user_message_is_the_document(content: str) -> None:
    """Where the document is not marked, the last user message is document and instruction at once."""
    messages = [Message("user", "old"), Message("assistant", "Hm."), Message("user", content)]
    assert read_prompt(messages) == Prompt(f"old\nHm.\n{content}\n", content)


def test_an_empty_document_is_empty() -> None:
    """Two lines with nothing between them enclose nothing."""
    assert read_prompt([Message("user", "<document>\n</document>")]).document == ""
