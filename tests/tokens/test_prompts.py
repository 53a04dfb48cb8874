"""Whole prompts: a column of documents counts as each prompt does when it is rendered and tokenized by Hugging Face."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError
from token_texts import all_texts
from tokenizer_kinds import KINDS
from tokenizers import normalizers, processors
from transformers import PreTrainedTokenizerFast

from nemocc_dask.errors import TokenizerError
from nemocc_dask.tasks import TASKS, Task
from nemocc_dask.tokens import SEAM_TOKENS, TokenCounter, prompts

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim"
    " + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ raise_exception('Only user roles!') }}{% endif %}"
    "{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    "{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] | trim + "
    "'<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
TWICE = "{% for message in messages %}[{{ message.content }}|{{ message.content }}]{% endfor %}"
TEMPLATES = {
    "none": None,
    "chatml": CHATML,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "twice": TWICE,
    "upper": CHATML.replace("message['content']", "message['content'] | upper"),
    "thinks": CHATML.replace("message['content']", "message['content'].split('</think>')[-1]"),
    "strips a mark": CHATML.replace("message['content']", "message['content'].replace('<!odd mark!>', '')"),
    "short only": CHATML.replace("message['content']", "message['content'][:2000]"),
    "both ends": "{% for m in messages %}{% if m.content.startswith('<re>') and m.content.endswith('</re>') %}!"
    "{% endif %}{{ m.content }}{% endfor %}",
}
ROW_BY_ROW = {"upper", "thinks", "strips a mark", "short only"}
"""Templates that do more with a document than put it in its place, wherever in a message it stands."""

OWN = {
    "twice": Task(
        name="t", output_field="o", prompt="{document} and {document}.", max_output_tokens=9, max_input_tokens=9
    ),
    "alone": Task(name="t", output_field="o", prompt="{document}", max_output_tokens=9, max_input_tokens=9),
    "at the end": Task(
        name="t", output_field="o", system_prompt="Be {x}.", prompt="Say:\n{document}", max_output_tokens=9,
        max_input_tokens=9,
    ),
    "distill": TASKS["distill"],
}  # fmt: skip


@pytest.fixture(scope="module")
def counters() -> dict[str, TokenCounter]:
    """A byte-level tokenizer and one from SentencePiece, which put BOS and EOS round a text, with each template."""

    def counter_of(kind: str, template: str | None) -> TokenCounter:
        backend = KINDS[kind]()
        ends = [(name, backend.token_to_id(name)) for name in ("<s>", "</s>")]
        backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
        fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
        fast.chat_template = template
        return TokenCounter(fast)

    kinds = {"byte": "byte-level, llama3", "piece": "sentencepiece, first"}
    return {f"{kind} {name}": counter_of(kinds[kind], TEMPLATES[name]) for kind in kinds for name in TEMPLATES}


def by_hugging_face(tokenizer, messages) -> int:
    """Tokens of a prompt as an endpoint makes it: the template, or with none its words and what encoding adds."""
    if not tokenizer.chat_template:
        return len(tokenizer.encode("\n".join(message["content"] for message in messages)))

    def tokens(turns) -> int:
        return len(tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)["input_ids"])

    try:
        return tokens(list(messages))
    except TemplateError:
        return tokens([{"role": "user", "content": "\n\n".join(message["content"] for message in messages)}])


def filled(task):
    return lambda document: task.messages(document=document)


def differing(counter: TokenCounter, task: Task, documents: list[str]) -> list[str]:
    """Documents whose prompts count otherwise, one by one or all at once, than by Hugging Face."""
    messages = filled(task)
    counts = counter.count_prompts(messages, pa.array(documents, pa.large_string())).tolist()
    wrong = []
    for document, count in zip(documents, counts, strict=True):
        if not count == counter.count_prompt(messages(document)) == by_hugging_face(counter.source, messages(document)):
            wrong.append(document)
    return wrong


DOCUMENTS = [
    *all_texts(["<s>", "[INST]", "<|im_end|>", "</think>", "<!odd mark!>"])[:110],
    *(
        prompts.PLACEHOLDER,
        "<re>a</re>",
        "a</think>b",
        " x <!odd mark!> y",
        "x" * 3000,
        "{document}",
        "{{ bos_token }}",
    ),
]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("task", OWN)
@pytest.mark.parametrize("kind", ["byte", "piece"])
def test_a_column_of_prompts_counts_as_each_of_them(counters, kind, template, task):
    """All at once, one by one and by `apply_chat_template`, a prompt has as many tokens."""
    assert differing(counters[f"{kind} {template}"], OWN[task], DOCUMENTS) == []


@pytest.mark.parametrize("template", ["chatml", "gemma", "thinks"])
@given(documents=st.lists(st.text(max_size=40), max_size=6))
@settings(max_examples=10)
def test_prompts_of_random_documents_count_alike(counters, template, documents):
    """Whatever a document holds, its prompt counts as Hugging Face has it."""
    assert differing(counters[f"byte {template}"], OWN["alone"], documents) == []


@pytest.mark.parametrize("template", TEMPLATES)
def test_only_templates_that_change_a_document_are_rendered_row_by_row(counters, template):
    """The fixed words round a document are found wherever there are any, and only there."""
    places = counters[f"byte {template}"].prompt_words(filled(TASKS["distill"])).places
    assert places == (None if template in ROW_BY_ROW else 2 if template == "twice" else 1)


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - ROW_BY_ROW))
@pytest.mark.parametrize("kind", ["byte", "piece"])
@pytest.mark.parametrize("task", ["twice", "at the end", "distill"])
def test_where_words_and_document_meet_few_tokens_change(counters, kind, template, task):
    """A prompt has the tokens of its words and of its documents, but for a few where they meet."""
    counter, messages, texts = counters[f"{kind} {template}"], filled(OWN[task]), pa.array(DOCUMENTS, pa.large_string())
    tokens, places = counter.prompt_words(messages)
    assert tokens == counter.count_prompt(messages(""))
    if places is None:
        assert template in ("llama3", "gemma") and task != "distill"  # a document at an end of its message is trimmed
        return
    beside = counter.count_prompts(messages, texts) - tokens - places * counter.count(texts)
    assert np.abs(beside).max() <= SEAM_TOKENS * places / 4


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{% for m in messages %}{{ m.content }}", "cannot be used: Unexpected end of template"),
        ("{{ raise_exception('No.') }}", "cannot be used: No"),
        ("{{ bos_token }}hello", "leaves documents out of prompts"),
    ],
)
def test_a_chat_template_that_is_no_use_is_named(template, complaint):
    """It is refused in one line before it can waste a request."""
    fast = PreTrainedTokenizerFast(tokenizer_object=KINDS["byte-level, llama3"](), bos_token="<s>")
    fast.chat_template = template
    with pytest.raises(TokenizerError, match=f"^The chat template of the tokenizer {complaint}"):
        TokenCounter(fast).prompt_words(filled(TASKS["distill"]))


def test_a_tokenizer_that_trims_the_ends_of_a_text_leaves_it_open():
    """What a document has by itself says nothing of a prompt that has its white space in the middle."""
    backend = KINDS["sentencepiece, first"]()
    backend.normalizer = normalizers.Strip()
    counter, messages = TokenCounter(PreTrainedTokenizerFast(tokenizer_object=backend)), filled(OWN["twice"])
    assert counter.prompt_words(messages).places is None
    document = f"{' ' * 90}x"
    alone = counter.count(pa.array([document], pa.large_string())).item()
    assert counter.count_prompt(messages(document)) > counter.count_prompt(messages("")) + 2 * alone + SEAM_TOKENS


def test_messages_that_change_a_document_are_made_row_by_row(counters):
    """Messages that do more with a document than put it in its place count as they are made."""
    texts = ["  a  ", "b", "a sentence\n"]

    def messages(document):
        return [{"role": "user", "content": document.strip()}]

    counts = counters["byte chatml"].count_prompts(messages, pa.array(texts, pa.large_string()))
    assert counts.tolist() == [counters["byte chatml"].count_prompt(messages(text)) for text in texts]


@pytest.mark.parametrize("template", ["chatml", "upper"])
def test_prompts_are_put_together_in_batches(counters, template, monkeypatch):
    """Documents that are more than a batch by themselves, slices and many small ones count the same."""
    documents = pa.array(["x", *DOCUMENTS], pa.large_string())[1:]
    whole = counters[f"byte {template}"].count_prompts(filled(OWN["twice"]), documents)
    monkeypatch.setattr(prompts, "BATCH_BYTES", 500)
    assert counters[f"byte {template}"].count_prompts(filled(OWN["twice"]), documents).tolist() == whole.tolist()


def test_no_documents_make_no_prompts_and_null_ones_are_refused(counters):
    """Zero rows have zero counts; a null is no document."""
    messages = filled(TASKS["distill"])
    assert counters["byte chatml"].count_prompts(messages, pa.array([], pa.large_string())).tolist() == []
    with pytest.raises(ValueError, match="1 of 2 documents are null"):
        counters["byte chatml"].count_prompts(messages, pa.array(["a", None], pa.large_string()))
