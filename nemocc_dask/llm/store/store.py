"""The face of the store: a folder of answers that were paid for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property

from nemocc_dask.errors import SettingError
from nemocc_dask.filesystems import AddressError, is_local, located
from nemocc_dask.llm.results import Answer, Flaw
from nemocc_dask.llm.store.attempt import Attempt
from nemocc_dask.llm.store.folder import Folder
from nemocc_dask.llm.store.index import Index, index_of
from nemocc_dask.llm.store.local import LocalFolder
from nemocc_dask.llm.store.look import spent_by_attempt
from nemocc_dask.llm.store.remote import RemoteFolder
from nemocc_dask.llm.store.spent import Spent, add_up


class Store:
    """Answers that were paid for, kept as lines of JSON in a folder and found again by the key of their request.

    url: a local path or any fsspec URL. On a local or network file system an answer outlives its process as soon as it
    is appended; on an object store, about a second later (see `llm.store.remote.Segments`).

    Nothing is opened or made before it is used. It pickles as its address. All stores of one address in a process share
    an index of 24 bytes an answer. Processes see each other's answers after a second or more.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     store, key = Store(folder), "0123456789abcdef" * 2
    ...     with store.attempt("run-part-00000") as attempt:
    ...         attempt.append(key, Answer("Hi", "stop", "m", 7, 11, 1, 0.2, 0), label="distill", recipe="r")
    ...     store.find([key])[key].text, store.spent("run")["distill"].completion_tokens
    ('Hi', 11)
    """

    def __init__(self, url: str) -> None:
        try:
            self._filesystem, self._root = located(str(url))
        except AddressError as error:
            raise SettingError(
                f"The store {url!r} cannot be reached: {error}. Name a folder, or another URL."
            ) from None
        # A relative path means something in this process alone; a worker may stand in another folder.
        self.url = self._root if self._is_local else str(url)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return (Store, (self.url,))

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("Store", self.url)

    def attempt(self, name: str) -> Attempt:
        """A new writer. Its name is of letters, digits, - and _, and nobody else's. Raises `CallerError` otherwise."""
        return Attempt(name, self._index)

    def find(self, keys: Sequence[str], *, unless: Collection[Flaw] = ()) -> dict[str, Answer]:
        """The stored answers among these keys, each with `reused` set; from any thread.

        unless: answers with these flaws are left out.

        Of several answers to one request, one without a flaw is better than one with, and then the latest. Lines that
        cannot be read are as if they were not there. Takes a few seconds for a store of millions the first time.

        Raises `JobError` where the folder cannot be read.
        """
        return self._index.find(keys, unless)

    def spent(self, prefix: str, *, besides: Collection[str] = ()) -> dict[str, Spent]:
        """Label → what was paid for in attempts whose names begin so, but those named in `besides`.

        Every stored answer counts, also where it was asked for twice; answers not put yet do not (object stores).
        """
        attempts = spent_by_attempt(self._folder, prefix, besides)
        return add_up((label, spent) for sums in attempts for (label, _), spent in sums.items())

    def remembers(self) -> dict[tuple[str, str], int]:
        """Label and recipe → answers in the store: how many would be paid for again if the recipe changed.

        Reads sidecars, and the lines of attempts that were killed.
        """
        sums = add_up(each for sums in spent_by_attempt(self._folder, "", ()) for each in sums.items())
        return {origin: spent.responses for origin, spent in sums.items()}

    @property
    def _index(self) -> Index:
        # Looked up each time: a forked child has an index of its own.
        return index_of(self.url, self._folder)

    @cached_property
    def _folder(self) -> Folder:
        return LocalFolder(self._root) if self._is_local else RemoteFolder(self._filesystem, self._root, self.url)

    @property
    def _is_local(self) -> bool:
        return is_local(self._filesystem)
