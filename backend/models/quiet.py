"""Keeps transformers from talking: what matters of it is told by us."""


def quiet() -> None:
    """No progress bars and no warnings of transformers in this process from here on."""
    from transformers.utils import logging as noise

    noise.disable_progress_bar()
    noise.set_verbosity_error()
