"""Languages by their English names, and the codes an answer in each is asked to begin with (ISO 639-1)."""

from __future__ import annotations

from nemocc_dask.errors import TaskError

RECIPE_LANGUAGES = ("English", "French", "German", "Spanish", "Italian")
"""The languages of the published recipe."""

CODES = {
    "Arabic": "AR", "Bengali": "BN", "Bulgarian": "BG", "Catalan": "CA", "Chinese": "ZH", "Croatian": "HR",
    "Czech": "CS", "Danish": "DA", "Dutch": "NL", "English": "EN", "Estonian": "ET", "Finnish": "FI",
    "French": "FR", "German": "DE", "Greek": "EL", "Hebrew": "HE", "Hindi": "HI", "Hungarian": "HU",
    "Indonesian": "ID", "Italian": "IT", "Japanese": "JA", "Korean": "KO", "Latvian": "LV", "Lithuanian": "LT",
    "Norwegian": "NO", "Persian": "FA", "Polish": "PL", "Portuguese": "PT", "Romanian": "RO", "Russian": "RU",
    "Serbian": "SR", "Slovak": "SK", "Slovenian": "SL", "Spanish": "ES", "Swahili": "SW", "Swedish": "SV",
    "Thai": "TH", "Turkish": "TR", "Ukrainian": "UK", "Urdu": "UR", "Vietnamese": "VI",
}  # fmt: skip


def code_of(language: str) -> str:
    """Code in brackets that an answer in `language` begins with.

    Raises `TaskError` for a language whose code is not known.

    >>> code_of("French")
    '[FR]'
    """
    if language not in CODES:
        raise TaskError(f"No code is known for the language {language!r}. Those known are: {', '.join(CODES)}.")
    return f"[{CODES[language]}]"
