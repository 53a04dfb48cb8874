"""A job that has changed takes the place of the one whose results its folder holds: what that means is told before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nemocc_dask.errors import OutputError
from nemocc_dask.io.differences import as_read_back, differences, some
from nemocc_dask.io.manifest import has_shards, with_inputs
from nemocc_dask.io.write import Output
from nemocc_dask.llm import Store

Record = dict[str, Any]

MANY_ROWS = 1000
"""More than so many rows are not paid for again without a yes."""

_MOVE_CUTS = ("tokenizer", "overlong", "text_field")
"""What of a job decides where documents are cut: another cut makes other prompts of all of them."""

_MOVE_ROWS = ("max_input_tokens", "languages")
"""What of a task decides what stands in its prompts, beside the prompt itself."""


@dataclass(frozen=True)
class Change:
    """What a job changes about the folder it is to run in.

    differences: in words, what its results depend on and differs. removed: tasks that are none of its own any more, and
    whose results go. paid_again: task → about how many rows may be paid for though they had an answer.
    """

    differences: tuple[str, ...]
    removed: tuple[str, ...]
    paid_again: Mapping[str, int]

    @property
    def needs_a_yes(self) -> bool:
        """Whether it costs so much, or destroys so much, that somebody has to agree."""
        return bool(self.removed) or sum(self.paid_again.values()) > MANY_ROWS

    def words(self, output: Output) -> str:
        """What changed, and what comes of it."""
        told = [f"{output.url} holds the results of another job, which differs in {some([*self.differences])}."]
        if self.removed:
            told.append(f"Going on removes the results of {', '.join(self.removed)}.")
        rows = {name: number for name, number in self.paid_again.items() if number}
        if rows:
            each = ", ".join(f"{name} {number:,}" for name, number in rows.items())
            told.append(f"About {sum(rows.values()):,} rows may be paid for again ({each}).")
        else:
            told.append("Answers that are paid for are used again.")
        return " ".join(told)


def change_of(
    earlier: Record, identity: Record, recipes: Mapping[str, str], *, output: Output, store: Store
) -> Change | None:
    """What a job changes; None where it is the one whose results the folder holds.

    earlier: the books there. identity: of the job that is to run. recipes: its tasks and what the store files their
    answers under.
    """
    told = differences(with_inputs(output, earlier["identity"]), identity)
    if not told:
        return None
    left = [name for name in _tasks_there(earlier) if name not in recipes]
    removed = tuple(name for name in left if has_shards(output, name))
    return Change(tuple(told), removed, _paid_again(earlier, as_read_back(identity), recipes, store))


def agree(
    change: Change, *, output: Output, yes: bool, confirm: Callable[[str], bool] | None, tell: Callable[[str], None]
) -> None:
    """Tell what changes, and ask where it takes a yes. Raises `OutputError` where there is none."""
    words = change.words(output)
    if yes or not change.needs_a_yes:
        tell(words)
    elif confirm is None or not confirm(f"{words} Go ahead?"):
        raise OutputError(
            f"{words} Say --yes to go ahead, name another --output, or call again with the earlier settings."
        )


def tasks_to_clear(earlier: Record) -> list[str]:
    """Tasks whose results may be there, those of a run before that was being replaced included."""
    return sorted(_tasks_there(earlier))


def _tasks_there(earlier: Record) -> set[str]:
    return {*earlier["identity"]["tasks"], *earlier["replaces"]}


def _paid_again(earlier: Record, now: Record, recipes: Mapping[str, str], store: Store) -> dict[str, int]:
    remembered = store.remembers()
    return {
        name: _rows_again(
            stored={made_by: rows for (label, made_by), rows in remembered.items() if label == name},
            recipe=recipe,
            moved=_is_moved(earlier["identity"], now, name),
            booked=earlier["tasks"].get(name, {}).get("responses", 0),
        )
        for name, recipe in recipes.items()
    }


def _rows_again(stored: Mapping[str, int], recipe: str, *, moved: bool, booked: int) -> int:
    """About how many answers of a task will be of no use.

    stored: recipe → answers in the store. recipe: the present one. moved: whether the prompts differ though the recipe
    does not. booked: answers that the run there has paid for, some of which the store may have lost.

    >>> _rows_again({"old": 500, "new": 200}, "new", moved=False, booked=500)
    300
    >>> _rows_again({"new": 200}, "new", moved=True, booked=200)
    200
    >>> _rows_again({}, "new", moved=False, booked=200)
    200
    """
    fitting, all_there = stored.get(recipe, 0), sum(stored.values())
    useless = all_there if moved else max(0, all_there - 2 * fitting)
    return max(useless, booked - all_there)


def _is_moved(before: Record, now: Record, task: str) -> bool:
    """Whether other prompts are made of the same rows by the same recipe."""
    earlier, present = before["tasks"].get(task), now["tasks"][task]
    if earlier is None:
        return False
    of_job = () if present["languages"] else _MOVE_CUTS
    return any(before[name] != now[name] for name in of_job) or any(
        earlier[name] != present[name] for name in _MOVE_ROWS
    )
