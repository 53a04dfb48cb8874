"""Counting tokens: exactly as Hugging Face does, loaded once per process, and prompts as models see them."""

from __future__ import annotations

import logging
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from corpora import TRAINING_SENTENCES, count, of_tokens, text
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from nemocc_dask.errors import TokenizerError
from nemocc_dask.tokens import DEFAULT_TOKENIZER, TokenCounter, counter, encoder, load_tokenizer

PROMPT = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Shorten this: a"})
NO_SYSTEM_ROLE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}"
    "{{ raise_exception('no system role') }}{% endif %}[INST] {{ message.content }} [/INST]{% endfor %}"
)


@pytest.fixture(scope="module")
def slow(tokenizer_file):
    """The small tokenizer as `tokenizers` itself runs it."""
    return Tokenizer.from_file(str(tokenizer_file))


texts = st.lists(st.none() | st.text() | st.sampled_from((*TRAINING_SENTENCES, "a<s>b", "x\r\n", " \n\n ")), max_size=8)


@given(rows=texts)
@settings(max_examples=200, deadline=None)
def test_counts_are_those_of_hugging_face(tokenizer, slow, rows):
    """Every text counts as many tokens as encoding it gives, without special tokens; a null one has none."""
    expected = [len(slow.encode(row, add_special_tokens=False)) if row is not None else 0 for row in rows]
    counts = tokenizer.count(pa.array(rows, pa.large_string()))
    assert counts.tolist() == expected and counts.dtype == np.int64


def test_the_default_tokenizer_is_that_of_mistral_nemo():
    """Naming nothing gives the tokenizer that wrote Nemotron-CC, without a hub."""
    counter = TokenCounter()
    assert counter.name == "mistral-nemo"
    assert counter.count(pa.array(["Two words", "naïve 12"], pa.large_string())).tolist() == [2, 6]


def test_no_texts_load_no_tokenizer(tmp_path):
    """Zero rows have zero counts, even where the tokenizer could not be loaded: Dask asks for them early."""
    counts = TokenCounter(tmp_path / "missing.json").count(pa.array([], pa.large_string()))
    assert counts.tolist() == [] and counts.dtype == np.int64


def test_a_slice_counts_as_its_own_rows(tokenizer):
    """An Arrow array with an offset is counted from its offset on."""
    rows = pa.array([*TRAINING_SENTENCES, None, ""], pa.large_string())
    assert tokenizer.count(rows[3:]).tolist() == tokenizer.count(rows).tolist()[3:]


def test_counting_survives_the_renewal_of_the_encoder(tokenizer_file, tmp_path, monkeypatch):
    """Counts stay the same when the fast encoder is made anew to keep its memory bounded."""
    monkeypatch.setattr(encoder, "GIGATOKEN_CACHE_BYTES", -1)
    copy = shutil.copy(tokenizer_file, tmp_path / "copy.json")
    rows = pa.array([text(seed) for seed in range(20)], pa.large_string())
    first = TokenCounter(copy).count(rows)
    assert [TokenCounter(copy).count(rows[at : at + 1])[0] for at in range(20)] == first.tolist()


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_a_prompt_has_one_bos(tokenizer, slow):
    """Without a chat template a prompt is its messages' words and the one BOS the tokenizer puts first."""
    words = "\n".join(message["content"] for message in PROMPT)
    assert tokenizer.count_prompt(PROMPT) == len(slow.encode(words, add_special_tokens=False)) + 1


def test_a_prompt_counts_its_chat_template(chat_tokenizer, chat_tokenizer_directory):
    """With a chat template a prompt counts as the model gets it, roles and generation prompt included, one BOS."""
    fast = PreTrainedTokenizerFast.from_pretrained(chat_tokenizer_directory)
    rendered = fast.apply_chat_template(list(PROMPT), tokenize=False, add_generation_prompt=True)
    assert rendered.startswith("<s><|system|>") and rendered.endswith("<|assistant|>\n")
    assert chat_tokenizer.count_prompt(PROMPT) == len(fast.encode(rendered, add_special_tokens=False))
    assert chat_tokenizer.count_prompt(PROMPT) > count(rendered.removeprefix("<s>"), chat_tokenizer)


def test_a_template_without_a_system_role_gets_its_words_elsewhere(tokenizer_file):
    """Where a template refuses system messages, their words are counted at the head of the user's."""
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), bos_token="<s>", chat_template=NO_SYSTEM_ROLE)
    words = "[INST] Be brief.\n\nShorten this: a [/INST]"
    assert TokenCounter(fast).count_prompt(PROMPT) == 1 + count(words, TokenCounter(fast))


# --- sources ----------------------------------------------------------------------------------------------------------


def test_any_source_of_one_tokenizer_counts_alike(tokenizer, tokenizer_file, tmp_path):
    """A file, a directory, an object and another counter of the same tokenizer give the same counts."""
    shutil.copy(tokenizer_file, tmp_path / "tokenizer.json")
    sources = (
        tokenizer_file,
        str(tokenizer_file),
        tmp_path,
        PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file)),
    )
    for source in (*sources, tokenizer):
        assert count(text(1), TokenCounter(source)) == count(text(1), tokenizer)


def test_the_fingerprint_tells_tokenizers_apart(tokenizer, tokenizer_file, tmp_path):
    """Copies of one tokenizer have one fingerprint, and another tokenizer has another."""
    assert TokenCounter(shutil.copy(tokenizer_file, tmp_path / "copy.json")).fingerprint == tokenizer.fingerprint
    assert TokenCounter(word_level(tmp_path)).fingerprint != tokenizer.fingerprint


def test_a_counter_pickles_as_its_source(tokenizer):
    """What travels to a worker is a name or a path, not a vocabulary, and counts there as it did here."""
    travelled = pickle.dumps(tokenizer)
    assert len(travelled) < 500
    assert count(text(1), pickle.loads(travelled)) == count(text(1), tokenizer)


def test_a_tokenizer_object_travels_too(tokenizer_file):
    """A counter made of a tokenizer object counts the same after pickling."""
    of_object = TokenCounter(PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file)))
    assert count(text(1), pickle.loads(pickle.dumps(of_object))) == count(text(1), of_object)


def test_counters_of_one_source_have_one_dask_token(tokenizer, tokenizer_file):
    """Two counters of the same source give Dask tasks the same name."""
    assert tokenize(tokenizer) == tokenize(TokenCounter(tokenizer_file)) != tokenize(TokenCounter())


def test_threads_share_a_tokenizer(tokenizer_file, tmp_path):
    """Eight threads that count at once, from the very first use on, all count right."""
    counter = TokenCounter(shutil.copy(tokenizer_file, tmp_path / "copy.json"))
    rows = pa.array([text(seed) for seed in range(50)], pa.large_string())
    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(lambda _: counter.count(rows).tolist(), range(16)))
    assert counts == [counts[0]] * 16 == [[count(row, counter) for row in rows.to_pylist()]] * 16


def word_level(folder):
    """A tokenizer of whole words, which gigatoken does not read."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(folder / "words.json"))
    return folder / "words.json"


def test_what_the_fast_counter_cannot_read_is_counted_anyway(tmp_path, caplog):
    """A tokenizer that gigatoken refuses or miscounts is counted by Hugging Face, and that is said once."""
    caplog.set_level(logging.WARNING, logger="nemocc_dask")
    counter = TokenCounter(word_level(tmp_path))
    assert count("a b, a", counter) == count("a b, a", counter) == 4
    assert len([record for record in caplog.records if "Hugging Face" in record.message]) == 1


def wrong_sources(folder):
    (folder / "empty").mkdir()
    (folder / "torn.json").write_text('{"model": ')
    return {
        "missing.json": folder / "missing.json",
        "no file or directory": str(folder / "missing"),
        "holds no tokenizer.json": folder / "empty",
        "No tokenizer can be made": folder / "torn.json",
        "of type int is no tokenizer": 3,
    }


@pytest.mark.parametrize(
    "words",
    [
        "missing.json",
        "no file or directory",
        "holds no tokenizer.json",
        "No tokenizer can be made",
        "of type int is no tokenizer",
    ],
)
def test_what_is_no_tokenizer_is_refused_in_words(tmp_path, words):
    """A source of which no tokenizer can be made is refused with what was named and what may be."""
    with pytest.raises(TokenizerError, match=words) as refusal:
        TokenCounter(wrong_sources(tmp_path)[words]).fingerprint  # noqa: B018 - loads it
    assert "mistral-nemo" in str(refusal.value) and "\n" not in str(refusal.value)


def test_texts_of_so_many_tokens_are_what_they_say(tokenizer, chat_tokenizer):
    """The tests' own measure: a text of n words that are a token each has n tokens."""
    assert [count(of_tokens(n, tokenizer), chat_tokenizer) for n in (1, 30, 598)] == [1, 30, 598]


def test_a_tokenizer_object_is_loaded_once_however_often_it_is_unpickled(tokenizer_file):
    """A task brings its own copy of a tokenizer object along; the process counts with the one it has."""
    of_object = TokenCounter(PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file)))
    before = of_object.count(pa.array(["a b"], pa.large_string()))
    loaded = set(counter._by_key)
    copy = pickle.loads(pickle.dumps(of_object))
    assert copy.count(pa.array(["a b"], pa.large_string())) == before
    assert set(counter._by_key) == loaded


@pytest.mark.parametrize("beside", ["nothing", "a model", "nonsense"])
@pytest.mark.parametrize("kept", ["chat_tokenizer_directory", "default"])
def test_a_directory_is_loaded_as_transformers_loads_it(request, tmp_path, kept, beside):
    """Whichever way it is loaded, it is what `AutoTokenizer` makes of it."""
    directory = tmp_path / "tokenizer"
    if kept == "default":
        load_tokenizer(DEFAULT_TOKENIZER).save_pretrained(directory)
    else:
        shutil.copytree(request.getfixturevalue(kept), directory)
    if beside == "a model":
        (directory / "config.json").write_text('{"model_type": "llama"}')
    if beside == "nonsense":
        (directory / "tokenizer_config.json").write_text("[]")
        with pytest.raises(TokenizerError, match="No tokenizer can be made of"):
            load_tokenizer(str(directory))
        return
    ours, theirs = load_tokenizer(str(directory)), AutoTokenizer.from_pretrained(str(directory))
    assert type(ours) is type(theirs) and ours.chat_template == theirs.chat_template
    assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours("Say <s> a  b.")["input_ids"] == theirs("Say <s> a  b.")["input_ids"]
