"""The bundled model on the way: its weights from before the first step of training to the last. No torch here.

Each checkpoint is an ordinary model folder, its weights in float16 and its tied embedding once; `steps.json` beside
them says of each how many tokens were read by then, in how many minutes, and what the losses were. A checkpoint's
folder is named as the model is: `load_model("bundled-step-200")`. The last is the bundled model itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..models.info import BUNDLED, CHECKPOINTS, checkpoint_name


@dataclass(frozen=True)
class Checkpoint:
    """One line of `steps.json`."""

    step: int  # optimiser steps done
    tokens: int  # read by then
    minutes: float  # of training by then
    answers: float  # nats per token, on answers in episodes of training rows
    repeats: float  # nats per token, on random words said before

    @property
    def name(self) -> str:
        """What it is called as a model."""
        return checkpoint_name(self.step)


def known(folder: Path = CHECKPOINTS) -> list[Checkpoint]:
    """All checkpoints of the training, the first steps first, whether or not their weights are here."""
    steps = folder / "steps.json"
    return [Checkpoint(**line) for line in json.loads(steps.read_text())] if steps.is_file() else []


def here() -> dict[int, str]:
    """Step -> model name, of the checkpoints whose weights are in the repository; the last is the bundled model."""
    steps = [checkpoint.step for checkpoint in known()]
    names = {step: BUNDLED if step == steps[-1] else checkpoint_name(step) for step in steps}
    return {step: name for step, name in names.items() if name == BUNDLED or (CHECKPOINTS / name).is_dir()}


def note(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint's line into `steps.json`; that of step 0 begins it anew."""
    lines = [*(known(folder) if checkpoint.step else []), checkpoint]
    (folder / "steps.json").write_text("[\n" + ",\n".join(json.dumps(asdict(line)) for line in lines) + "\n]\n")
