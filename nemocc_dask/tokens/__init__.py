"""Counts tokens: exactly as the Hugging Face tokenizer does, many times faster where that is possible.

The only room that imports transformers, tokenizers, gigatoken or mistral-common; each is imported when a tokenizer is
first loaded, because the four together take a second.
"""

from nemocc_dask.tokens.counter import TokenCounter
from nemocc_dask.tokens.prompts import SEAM_TOKENS, Messages, PromptWords
from nemocc_dask.tokens.sources import DEFAULT_TOKENIZER, load_tokenizer

__all__ = ["DEFAULT_TOKENIZER", "SEAM_TOKENS", "Messages", "PromptWords", "TokenCounter", "load_tokenizer"]
