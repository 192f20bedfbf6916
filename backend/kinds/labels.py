"""What do the demonstrations' labels do? The same questions behind shuffled and behind made-up ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..records import ModelInfo
from ..tasks.labels import RELABELLED, SHUFFLED
from ..values import INTACT, Ablation, Setup
from .evaluation import OFF, Answers, Masked, evaluate
from .means import N_TRAIN, Activations
from .oracles import HeadOracle, Oracle, Sweep, sweep
from .prompts import ready
from .unit import CountTokens, Option, Progress, Topic, Wish, one_of, some_of

if TYPE_CHECKING:
    from ..models.loading import LoadedModel


LABELS = Option("labels", RELABELLED, "labels of the demonstrations that --what labels puts in the true ones' place: "
                "shuffled among them, or made-up words (the options replaced alike)",
                read=some_of(one_of(RELABELLED, "are no labels")), metavar="NAME,NAME")


def _check(setup: Setup, labels: str) -> None:
    """Raises: BadInput: if there are no such labels, or no demonstrations to bear them."""
    if labels not in RELABELLED:
        raise BadInput(f"Unknown labels '{labels[:60]}'. Known: {', '.join(RELABELLED)}; those of an evaluation are "
                       "the true ones.")
    if not setup.n_shots:
        raise BadInput("At 0 shots there are no labels to replace. Choose 1 shot or more.")


@dataclass(frozen=True)
class Relabelled(Masked[Answers]):
    """How each option of each validation query scores where the demonstrations' labels are not the true ones.

    With true labels, and at 0 shots, it is an `Evaluation`.

    Attributes:
        labels: "shuffled" among a prompt's demonstrations, or "made-up" (see `tasks.labels`), by the setup's seed.
    """

    KIND = "labels"
    RECORD = Answers
    TITLE = "accuracy with other labels"
    DEFINITION = ("as accuracy, the demonstrations' answers shuffled among them, or every distinct answer replaced by "
                  "a made-up word, the question's options alike; recognition = shuffled - 0 shots, learning = true - "
                  "shuffled")
    SOURCE = "Min et al. 2022, arXiv:2202.12837; Pan et al. 2023, arXiv:2305.09731"
    TOPICS = {"labels": Topic("labels", "accuracy behind demonstrations whose labels are shuffled or made up, with the "
                              "heads and FFNs of --off switched off", rank=2, masked=True)}
    OPTIONS = (LABELS, OFF, N_TRAIN)

    setup: Setup
    labels: str = SHUFFLED
    ablation: Ablation = INTACT
    n_train: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.setup, self.labels)

    def __str__(self) -> str:
        return f"{super().__str__()} {self.labels}"

    def check(self, record: Answers, info: ModelInfo | None) -> None:
        self.check_asked(record.questions, info)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return count(self.setup, "validation")

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[Relabelled]:
        for setup in wish.setups:
            for labels in wish.options["labels"] if setup.n_shots else ():
                for ablation in wish.options["off"] or [INTACT]:
                    yield cls(setup, labels, ablation, wish.options["n_train"])

    def options(self) -> Mapping[str, Any]:
        return {"labels": self.labels, **super().options()}

    def measure(self, model: LoadedModel, basis: Sequence[Activations], progress: Progress | None) -> Answers:
        return evaluate(model, ready(model, self.setup, self.labels), [self.ablation], progress,
                        means=[basis[0] if basis else None])[0]


@dataclass(frozen=True)
class ShuffledHeads(Oracle):
    """Accuracy with each single head off where the demonstrations' labels are shuffled.

    With `HeadOracle` at the same and at 0 shots it says what each head's removal takes of recognition and of learning.
    """

    KIND = "shuffled_oracle"
    TITLE = "head oracle with shuffled labels"
    DEFINITION = ("answers with each single head off behind shuffled labels; what its removal takes of recognition or "
                  "learning = that part intact - that part with the head off")
    SOURCE = Relabelled.SOURCE
    TOPICS = {"label-heads": Topic("single heads, labels", "accuracy with each single head off behind shuffled labels: "
                                   "as many evaluations as there are heads", rank=11)}

    setup: Setup

    ablations = staticmethod(HeadOracle.ablations)

    def __post_init__(self) -> None:
        _check(self.setup, SHUFFLED)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return HeadOracle(self.setup).cost(info, count)

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[ShuffledHeads]:
        yield from (cls(setup) for setup in wish.setups if setup.n_shots)

    def each(self, info: ModelInfo) -> float:
        return HeadOracle(self.setup).each(info)

    def sweep(self, model: LoadedModel, basis: Sequence[Any], ablations: Sequence[Ablation],
              progress: Progress | None) -> Sweep:
        return sweep(model, ready(model, self.setup, SHUFFLED), ablations, progress, gold=True)
