"""For the time of the move."""

from backend.models.adapters import ADAPTERS


def starts_with_bos(source, architecture: str, bos: str) -> bool:
    row = ADAPTERS.get(architecture)
    return bos == "always" or (bos == "auto" and bool(row and row.starts_with_bos))
