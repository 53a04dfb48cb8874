"""Where requests go, how answers are sampled, what a job is: frozen, validated, picklable values without secrets."""

from nemocc_dask.settings.base import Settings
from nemocc_dask.settings.endpoint import FROM_ENVIRONMENT, Endpoint
from nemocc_dask.settings.formats import check_format
from nemocc_dask.settings.generation import DEFAULT_TEMPERATURE, DEFAULT_TOP_P, GenerationConfig
from nemocc_dask.settings.job import HIGH_ABOVE, MAX_DOCUMENT_BYTES, ROWS_PER_PARTITION, Job
from nemocc_dask.settings.prices import PRICES, Prices, price_of

__all__ = [
    "DEFAULT_TEMPERATURE",
    "DEFAULT_TOP_P",
    "FROM_ENVIRONMENT",
    "HIGH_ABOVE",
    "MAX_DOCUMENT_BYTES",
    "PRICES",
    "ROWS_PER_PARTITION",
    "Endpoint",
    "GenerationConfig",
    "Job",
    "Prices",
    "Settings",
    "check_format",
    "price_of",
]
