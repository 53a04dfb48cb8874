"""The six tasks. Each number stands here and nowhere else; budgets, bounds, help texts and tests are derived from it.

The numbers are those of the published Nemotron-CC recipe (https://arxiv.org/abs/2412.02595) as NeMo Curator ships them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nemocc_dask import columns
from nemocc_dask.tasks import prompts
from nemocc_dask.tasks.languages import RECIPE_LANGUAGES
from nemocc_dask.tasks.steps import Step
from nemocc_dask.tasks.task import Task
from nemocc_dask.text.lines import PASSAGE_LABEL


def _marked(marker: str) -> tuple[Step, ...]:
    """Cleaning of an answer that has to begin with a marker."""
    return (
        Step("remove_markdown"),
        Step("keep_prefixed", {"prefix": marker}),
        Step("slice_after", {"marker": marker}),
        Step("remove_quotation"),
    )


_ROWS = (
    Task(
        name="wikipedia_paraphrasing",
        output_field="rephrased",
        system_prompt=prompts.HELPFUL,
        prompt=prompts.WIKIPEDIA_PARAPHRASING,
        min_document_tokens=5,
        min_segment_tokens=5,
        max_input_tokens=512,
        max_output_tokens=512,
        min_result_tokens=50,
        steps=_marked(prompts.PARAPHRASE_MARKER),
        joins_segments=True,
    ),
    Task(
        name="diverse_qa",
        output_field="diverse_qa",
        system_prompt=prompts.HELPFUL,
        prompt=prompts.DIVERSE_QA,
        min_document_tokens=30,
        min_segment_tokens=30,
        max_input_tokens=1000,
        max_output_tokens=600,
        min_result_tokens=100,
        steps=(Step("remove_markdown"), Step("keep_pairs", {"max_pairs": 8})),
    ),
    Task(
        name="distill",
        output_field="distill",
        system_prompt=prompts.FACTUAL,
        prompt=prompts.DISTILL,
        min_document_tokens=30,
        min_segment_tokens=10,
        max_input_tokens=2000,
        max_output_tokens=1600,
        min_result_tokens=50,
        steps=_marked(prompts.DISTILL_MARKER),
    ),
    Task(
        name="extract_knowledge",
        output_field="extract_knowledge",
        system_prompt=prompts.HELPFUL,
        prompt=prompts.EXTRACT_KNOWLEDGE,
        min_document_tokens=30,
        min_segment_tokens=30,
        max_input_tokens=1400,
        max_output_tokens=1400,
        min_result_tokens=50,
        steps=(Step("remove_markdown"), Step("remove_quotation"), Step("remove_lines", {"pattern": PASSAGE_LABEL})),
    ),
    Task(
        name="knowledge_list",
        output_field="knowledge_list",
        system_prompt=prompts.HELPFUL,
        prompt=prompts.KNOWLEDGE_LIST,
        min_document_tokens=30,
        min_segment_tokens=30,
        max_input_tokens=1000,
        max_output_tokens=600,
        min_result_tokens=50,
        steps=(Step("remove_markdown"), Step("normalize_bullets")),
    ),
    Task(
        name="multilingual_qa",
        output_field=columns.TEXT,
        system_prompt=prompts.HELPFUL,
        prompt=prompts.MULTILINGUAL_QA,
        max_output_tokens=600,
        languages=RECIPE_LANGUAGES,
    ),
)

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _ROWS})
"""Name → `Task`, in the order of the recipe."""
