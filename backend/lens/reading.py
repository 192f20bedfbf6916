"""One prompt, read by a model with something switched off or nothing: what comes next, how likely each option is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine import trees
from ..errors import BadInput
from ..kinds.evaluation import evaluate
from ..models.gates import MeanActivations
from ..tasks.task import Prompt
from ..values import INTACT, Ablation
from .patterns import NextToken, next_tokens, tokens_shown

if TYPE_CHECKING:
    from ..models.loading import LoadedModel


@dataclass(frozen=True)
class Reading:
    """What a model makes of one prompt."""

    token_ids: tuple[int, ...]  # all that stands before the answer, whichever option it is
    tokens: tuple[str, ...]  # the same as text with visible spaces
    next_tokens: tuple[NextToken, ...]  # likeliest first
    loglikelihoods: tuple[float, ...]  # per option, nats, summed over its tokens; none for bare text
    first_tokens: tuple[int, ...]  # per option, its token behind `token_ids`
    first_shown: tuple[str, ...]  # the same as text
    dropped_demos: int = 0  # demonstrations left out because the prompt was too long


def read(
    model: LoadedModel, prompt: Prompt | str, ablation: Ablation = INTACT, means: MeanActivations | None = None,
    k: int = 10,
) -> Reading:
    """Read a prompt as an evaluation does, demonstrations dropped from the front where it is too long.

    Where options have contexts of their own (WinoGrande), the tokens are those before the first right option.

    Args:
        prompt: a task's prompt, or bare text, which has no options.
        means: the mean activations, where the ablation's fill is "mean".
        k: how many next tokens.

    Raises:
        BadInput: no text, text that does not fit the model's context, or a component that it does not have.
    """
    if isinstance(prompt, str):
        ids = tuple(model.encode_context(prompt)) if prompt else ()
        return Reading(ids, tuple(tokens_shown(model.tokenizer, ids)), next_tokens(model, ids, ablation, k, means),
                       (), (), ())
    ((query, dropped),) = trees.encode([prompt], model.encode_pairs, model.info.max_positions)
    if query is None:
        raise BadInput(f"This question is too long: the model reads at most {model.info.max_positions} tokens. "
                       "Choose another one.")
    # All options of the gold one's text are shown behind the same tokens, also where one of them begins with a token
    # that spans the two and so stands behind fewer.
    texts = prompt.example.contexts
    alike = [option if text == texts[prompt.example.gold[0]] else None
             for option, text in zip(query.options, texts, strict=True)]
    ids = min((option.context for option in alike if option is not None), key=len)
    first = tuple(option.ids[len(ids)] if option in alike and option.ids[:len(ids)] == ids else option.continuation[0]
                  for option in query.options)
    scored = evaluate(model, [prompt], [ablation], means=[means])[0]
    return Reading(ids, tuple(tokens_shown(model.tokenizer, ids)), next_tokens(model, ids, ablation, k, means),
                   scored.loglikelihoods[0], first, tuple(tokens_shown(model.tokenizer, first)), dropped)
