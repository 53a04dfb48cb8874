"""A language model of some kilobytes that has learnt nothing, made on the spot."""

from __future__ import annotations

from pathlib import Path

EOS_EVERY = 47
"""Each 47th token ends an answer: of answers bounded by 32 tokens about half get there."""

WIDE = 0.5
"""Weights so far apart that what the model writes depends on the prompt; the usual 0.02 makes it write nearly alike."""


def write_tiny_model(directory: Path, tokenizer_directory: Path) -> None:
    """Write a random Llama that samples its answers, and the tokenizer it goes with, into a directory.

    Its texts are noise, the same noise wherever this is called. Imports torch.
    """
    from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM, set_seed

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_directory)
    tokenizer.save_pretrained(directory)
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=8192,
        initializer_range=WIDE,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,  # otherwise temperature, top_p and seed change nothing
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(range(1, len(tokenizer), EOS_EVERY)),
        pad_token_id=tokenizer.bos_token_id,
    )
    model.save_pretrained(directory)
