"""A question to be guessed before its answer is shown; being wrong is the point."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st


def ask(key: str, question: str, answers: Sequence[str]) -> str | None:
    """A question to answer before the reveal; None until it is answered."""
    return st.radio(f"**{question}**", answers, index=None, key=f"guess {key}", horizontal=True,
                    persist_state="session")


def answer(guess: str, right: str) -> None:
    """Whether the guess was right, by what the model does."""
    st.markdown(f":blue[:material/check_circle: You guessed right: **{right}**.]" if guess == right else
                f":orange[:material/lightbulb: You guessed “{guess}”. It is **{right}**.]")
