"""The store: every answer is written as it arrives and found again by content, so that nothing is paid for twice.

A store is a folder. Each writer (`Attempt`) has a file of its own in it, one line of JSON an answer, and leaves a
sidecar when it ends, which says where the answers stand; where that is missing or out of date, the lines are looked
through.

`lines` is an answer as a line, `spent` what answers cost, `sidecar` what an attempt leaves; `folder` is what the two
kinds of folders, `local` and `remote`, have in common; `look` reads what there is, `places` and `index` hold where each
answer stands; `attempt` is the writer, `store` the face.
"""

from nemocc_dask.llm.store.attempt import Attempt
from nemocc_dask.llm.store.spent import Spent
from nemocc_dask.llm.store.store import Store

__all__ = ["Attempt", "Spent", "Store"]
