"""What a model is called in every key: made once from what lies in its folder or on the hub. No torch here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput, ModelError
from ..machine import WIDTHS
from ..values import ModelId
from .adapters import ADAPTERS
from .info import Location, config_of, content_digest, locate, tokenizer_digest
from .obstacles import no_tokenizer
from .text import front_of

if TYPE_CHECKING:
    from .adapters import Adapter


def identify(
    name: str, revision: str | None = None, dtype: str = "float32", bos: str = "auto", tokenizer: str | None = None,
    adapter: Adapter | None = None,
) -> ModelId:
    """The identity of a model as it would be loaded with these choices; from the hub, its weights are not fetched.

    Args:
        bos: "auto" (as its tokenizer does by itself; none for OPT and GPT-2, as in the study), "always" or "never".
        tokenizer: a folder or hub id, where another tokenizer than the one beside the weights is used.
        adapter: where another row than its architecture's is used.

    Raises:
        ModelError: no such model, or its tokenizer cannot be read.
        BadInput: an unknown dtype; "fast", too, which is one only once it was measured.
    """
    place = locate(name, revision, weights=False)
    return identity_of(place, dtype, bos, tokenizer, adapter)


def identity_of(place: Location, dtype: str, bos: str, tokenizer: str | None, adapter: Adapter | None) -> ModelId:
    """As `identify`, of a model that was found."""
    if dtype not in WIDTHS:
        raise BadInput(f"A model's results are named by the precision that it runs in ({', '.join(WIDTHS)}), and "
                       f"'{dtype}' is none.")
    if why := no_tokenizer(place, tokenizer):
        raise ModelError(why)
    architecture = str(config_of(place).get("model_type"))
    row = adapter or ADAPTERS.get(architecture)
    parts = [
        content_digest(place.folder),
        tokenizer_digest(tokenizer) if tokenizer else "",
        row.identity if row else "",
    ]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    front = front_of(place.folder, Path(tokenizer) if tokenizer else None, bos)
    return ModelId(place.name, place.revision, digest, bool(front), dtype)
