"""What the Hugging Face hub answers when it does not give what was asked for: read out of an error, and said."""

from __future__ import annotations

from collections.abc import Iterator

_ASKING = {  # by the status, what whoever fetches can do
    401: "It asks who you are: log in with `hf auth login`, or set HF_TOKEN.",
    403: "You may not read it: ask its owner for access, then `hf auth login`.",
    404: "It has nothing of that name (or it is private: log in with `hf auth login`).",
    429: "It has been asked too often from here: wait some minutes, or log in with `hf auth login`.",
}
_WRITING = {403: "Your token may not write there: make one that may, or name a repository of your own."}


def refused(error: BaseException | None, what: str, writing: bool = False) -> str:
    """What the hub answered instead of what was asked of it, in a sentence; empty where nobody answered.

    Args:
        writing: whether something was to be uploaded.
    """
    cannot = f"{what} cannot be {'written' if writing else 'fetched'}"
    if (status := answered(error)) is not None:
        say = (_WRITING if writing else {}).get(status) or _ASKING.get(status) or (
            "The fault is the hub's own: try again later." if status >= 500 else "Check the name.")
        return f"{cannot}: the hub answered with status {status}. {say}"
    if no_data(error):
        return (f"{cannot}: what answered is not the hub, or not well (it sent something else than data). Check "
                "HF_ENDPOINT, and whether a log-in page of the network stands in between.")
    return ""


def answered(error: BaseException | None) -> int | None:
    """The status of 400 or more with which the hub refused, as an error or what is behind it says; None: it did not."""
    for one in behind(error):
        status = getattr(getattr(one, "response", None), "status_code", None)
        if isinstance(status, int) and status >= 400:
            return status
    return None


def no_data(error: BaseException | None) -> bool:
    """Whether something answered, with no JSON where JSON was promised."""
    return any(isinstance(one, ValueError) and not isinstance(one, OSError) for one in behind(error))


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it, the latest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
