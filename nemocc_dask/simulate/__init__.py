"""A simulated OpenAI-compatible endpoint: real HTTP, real faults, no language model.

Its answers are sentences of the document that was sent, in the form the prompt asked for. They are worth
nothing as training data; they serve to try a job, a setting or a client without a key, a GPU or a network.

>>> with Simulator(Knobs(latency_s=0.2, error_rate=0.01)) as simulator:
...     simulator.stats()["peak_in_flight"]
0
"""

from nemocc_dask.simulate.host import Simulator, serve
from nemocc_dask.simulate.knobs import Knobs

__all__ = ["Knobs", "Simulator", "serve"]
