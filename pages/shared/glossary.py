"""The words of the trade, explained: what a term means, and HTML in which it tells so on hover, focus and tap.

Pure: text in, text out. `marked` explains each term where a text says it first; `says` gives the same words to a
control's `help`; `listing` is the whole glossary, once per page, to which marked terms refer for screen readers.
"""

from __future__ import annotations

import re
from html import escape

# Term -> how texts say it (regular expressions; the longest that fits counts), what it means.
TERMS: dict[str, tuple[tuple[str, ...], str]] = {
    "ablation": (
        ("zero ablation", "mean ablation", "ablations?", "ablated"),
        "Switching a component off to see what it did. Zero: what it would add becomes 0. Mean: it becomes the mean of "
        "its output over the task's training prompts."),
    "accuracy": (
        ("accuracy", "accuracies"),
        "The share of questions that the model answers right: the right option has the highest log-likelihood, or the "
        "model would have written exactly the right word."),
    "aggregate ranking": (
        ("the aggregate ranking", "aggregate ranking", "aggregate"),
        "Heads ranked by the mean of the compared tasks' raw importance scores; FFNs by the mean of their oracles."),
    "attention pattern": (
        ("attention after softmax", "attention patterns?"),
        "How a head divides its attention: from each token, the query, one share for every token it may look at, the "
        "keys. The shares of a query add up to 1."),
    "BOS": (
        ("BOS tokens?", "BOS"),
        "A beginning-of-text token, which some models expect in front of every prompt."),
    "bootstrap": (
        ("paired bootstrap intervals?", "bootstrap"),
        "An interval found by drawing from what was measured, with replacement, again and again, and seeing how far "
        "the result moves. Paired: the same questions are drawn for both models."),
    "capacity": (
        ("capacity", "retained"),
        "The share of the total score of all heads that the heads still there hold."),
    "chance": (
        ("chance",),
        "What blind guessing would give. Of accuracy: options picked at random. Of a rank correlation: 0. Of an "
        "overlap: what two independent random rankings share."),
    "contribution": (
        ("direct contributions?", "contributions?"),
        "What a component writes at the last position, read straight as a part of a token's logit: the last norm's "
        "scale is held fixed, and what it does through later layers counts as theirs."),
    "copying": (
        ("copying scores?", "copying"),
        "How far a head raises the probability of the very token it attends to: its share of all that it raises above "
        "the mean, between 0 and 1."),
    "dead head": (
        ("dead heads?", "live heads?"),
        "Dead: a head whose share of what its layer writes to the residual stream is below 1 % of the median head's, "
        "over training prompts. Its scores are zeros or rounding, so statistics are over the others, the live ones."),
    "demonstrations": (
        ("fixed demonstrations", "per-query demonstrations", "draws of demonstrations", "demonstrations?"),
        "The solved examples in a prompt. Fixed: a few draws of them, which the questions share in turn. Per-query: a "
        "fresh draw for every question, as in the study."),
    "FFN": (
        ("feed-forward networks?", "FFNs?"),
        "Feed-forward network: the part of a layer that works on each token by itself. Off, it adds nothing to the "
        "residual stream, its bias included. Layers are counted from 0."),
    "function vector": (
        ("function-vector heads?", "function-vector effects?", "function vectors?"),
        "A head's mean output at the last token of prompts, where it carries the task: put in place of what the head "
        "puts out behind shuffled labels, it brings the right answer back. The effect is how far, a difference of "
        "probabilities."),
    "head": (
        ("attention heads?", "heads?"),
        "A part of a layer's attention, which fetches information from earlier tokens. L3H7 is head 7 of layer 3, both "
        "counted from 0. Off, it adds nothing to what its layer's output projection reads."),
    "Holm": (
        (r"p \(Holm\)", "Holm"),
        "Raises p-values for having made many tests at once, so that the chance of even one false alarm among them "
        "stays below the limit, 0.05."),
    "importance": (
        ("gradient importance", "head importance", "importance scores?", "importance"),
        "How strongly the loss depends on a head, from gradients: |z · dL/dz| over training prompts, z what the head "
        "puts out and L the loss. Higher: more important. Raw scores: layers differ in scale."),
    "induction head": (
        ("induction heads?",),
        "A head that looks for an earlier occurrence of the current token and attends to what followed it: it scores "
        "high in prefix matching and, where it copies what it finds, in copying."),
    "influence": (
        ("influences?",),
        "Of a demonstration: the right answer's log-likelihood with all demonstrations minus that with this one left "
        "out. Above 0 it makes the right answer likelier."),
    "integrated": (
        ("integrated gradients?", "integrated"),
        "The change of loss without a head as gradients tell it on the way: −z · dL/dz summed over an example, "
        "averaged over gates of 0.1, 0.3, 0.5, 0.7 and 0.9 that multiply all heads at once."),
    "interval": (
        ("95\\s%(?=:| interval| between)", "confidence intervals?", "95\\s% intervals?", "intervals?"),
        "How far a number may be off for having asked only some questions or examples: of such intervals, 95 in 100 "
        "contain what all of them would give."),
    "intersection over union": (
        ("intersection over union",),
        "How far two sets are the same: what is in both, divided by what is in either. 1 is the same set, 0 nothing in "
        "common."),
    "log-likelihood": (
        ("log-likelihoods?",),
        "The logarithm of the probability that the model gives to an option's tokens, in nats. It is 0 or negative; "
        "the nearer to 0, the likelier."),
    "logit": (
        ("logits?",),
        "The model's raw score of a token. Softmax turns all tokens' logits into probabilities."),
    "loss": (
        ("loss",),
        "How badly the right answer was predicted: the mean cross-entropy of its tokens, in nats. 0 is certain and "
        "right."),
    "margin": (
        ("margins?",),
        "The log-likelihood of the right option minus that of the best wrong one, in nats: above 0 the answer is "
        "right."),
    "McNemar": (
        ("exact McNemar test", "McNemar"),
        "A paired test of two models on the same questions. It looks at those that only one of the two answers right, "
        "and asks whether they fall to one side more than a fair coin would. Exact: by the binomial distribution."),
    "nats": (
        ("nats?",),
        "The unit of natural logarithms: one nat more makes something 2.7 times as likely."),
    "oracle": (
        ("oracle importance", "oracles?"),
        "Importance by trying it: intact accuracy minus accuracy with that one component off. Positive: it helped."),
    "p": (
        (r"p-values?", r"p(?= [=<] [\d.])"),
        "How often a difference at least as large would come about by luck alone, if switching off made none."),
    "optimal ablation": (
        ("optimal ablation", "optimal constants?"),
        "Switching a head off to the constant under which the loss on training prompts is lowest, found by gradient "
        "descent: what is lost then is what the head tells of the prompt."),
    "paired": (
        ("paired tests?", "paired"),
        "Both models answer the same questions behind the same demonstrations, so every question is compared with "
        "itself: by McNemar's test and, where questions share draws of demonstrations, by a t test over the draws; the "
        "larger p counts."),
    "one-divisor": (
        ("one-divisor", "one divisor"),
        "As per-token, but with every layer divided by all positions, so that the last layer can be compared with the "
        "others: the authors' code divides it by the answer's positions alone."),
    "per-example": (
        ("per-example",),
        "The importance as in the paper: z · dL/dz is summed over a whole example before the absolute value is taken."),
    "per-token": (
        ("per-token", "per token"),
        "The importance as in the authors' code: the absolute value is taken at every position, and the mean is over "
        "positions; in the last layer over the answer's alone, which makes its scores larger than the others'."),
    "prefix matching": (
        ("prefix-matching scores?", "prefix matching"),
        "On random tokens that repeat: the share of a head's attention that goes to the tokens which followed earlier "
        "occurrences of the current one. 1 is an ideal induction head."),
    "pruning": (
        ("pruned", "pruning"),
        "Switching off more and more components in the order of a ranking, the least important first."),
    "rank correlation": (
        ("Spearman's rank correlation", "rank correlations?", "Spearman ρ", "Spearman", "ρ"),
        "Spearman's ρ: how alike two rankings are. 1 is the same order, 0 is unrelated, −1 is the reverse."),
    "resample": (
        ("resample", "resampled"),
        "Switching a head off to what it puts out on another training prompt, at the same position from the end."),
    "residual stream": (
        ("residual stream", "running sum"),
        "The running sum that passes through the model: every head and FFN reads it and adds its part."),
    "seed": (
        ("seeds?",),
        "The number from which random draws follow: the same seed gives the same questions and demonstrations."),
    "shots": (
        (r"\d+-shot", r"\d+ shots?", "numbers? of shots", "shots?"),
        "How many solved examples stand before the question in the prompt. At 0 shots it is the bare question."),
    "signed": (
        ("signed first order", "signed gradients?", "signed"),
        "The change of loss without a head to first order: −z · dL/dz, summed over an example. Above 0 the head helps. "
        "Where the model is already sure, its gradients are next to nothing."),
    "softmax": (
        ("softmax",),
        "Turns scores into shares that add up to 1: e to the power of each, divided by the sum of them all."),
    "task learning": (
        ("task learning",),
        "What accuracy gains by the right answers in the demonstrations: with true labels minus with the same labels "
        "shuffled among them."),
    "task recognition": (
        ("task recognition",),
        "What accuracy gains by seeing what kind of task it is, whatever the demonstrations answer: with shuffled "
        "labels minus without demonstrations."),
    "Wilson interval": (
        ("Wilson intervals?", "Wilson"),
        "A 95 % confidence interval of a share such as accuracy, from the number of questions. It stays between 0 and "
        "100 % and is good for few questions too."),
    "z": (
        (r"z · dL/dz", r"z(?= · )"),
        "z is what a head puts out: its attention-weighted values, before the output projection. dL/dz is how the loss "
        "L moves with it. Their product says, to first order, how far the loss moves without the head."),
}

_FORMS = sorted(((form, term) for term, (forms, _) in TERMS.items() for form in forms), key=lambda f: -len(f[0]))
_TERM_OF = [term for _, term in _FORMS]
# What stands in ‘quotes’ is a token or an option, and what joins on to a name is a part of it: neither is a term.
_PATTERN = re.compile("‘[^’]*’|" + r"(?<![\w/@.])(?:" + "|".join(f"({form})" for form, _ in _FORMS) + r")(?![\w/])",
                      re.IGNORECASE)

STYLE = """
.term { font-style: inherit; text-decoration: underline dotted; text-decoration-thickness: 1px;
        text-underline-offset: 0.22em; cursor: help; border-radius: 2px; }
.term:focus-visible { outline: 2px solid var(--st-primary-color, #1f6fb2); outline-offset: 1px; }
.term:hover::after, .term:focus::after {
    content: attr(data-says); content: attr(data-says) / ""; position: absolute; z-index: 1000; left: 0; top: 100%;
    width: max-content; max-width: min(23rem, 100%); padding: 0.45rem 0.7rem; border-radius: 6px; text-align: left;
    font-size: 0.86rem; font-weight: 400; font-style: normal; line-height: 1.4; letter-spacing: 0; white-space: normal;
    background: #1d2733; color: #ffffff; border: 1px solid #8593a3; box-shadow: 0 2px 10px rgb(0 0 0 / 0.3); }
@supports (position-area: bottom span-right) {
    .term:hover::after, .term:focus::after {
        position: fixed; left: auto; top: auto; max-width: min(23rem, 92vw); position-area: bottom span-right;
        position-try-fallbacks: flip-inline, flip-block, flip-inline flip-block, bottom, top; } }
.quiet .term::after { display: none !important; }
.glossary { font-size: 0.9rem; margin-top: 1.5rem; }
.glossary summary { cursor: pointer; width: fit-content; }
.glossary dl { display: grid; grid-template-columns: max-content minmax(0, 42rem); gap: 0.3rem 1.2rem; padding: 0;
               margin: 0.6rem 0 0; }
.glossary dt { font-weight: 600; }
.glossary dd { margin: 0; }
@media (max-width: 40rem) { .glossary dl { grid-template-columns: 1fr; gap: 0.1rem; }
                            .glossary dd { margin-bottom: 0.5rem; } }
"""


# Escape puts an explanation away, until the pointer or the focus moves on; once per browser tab.
SCRIPT = """<script>
if (!window.termsListen) {
    window.termsListen = true;
    const quiet = on => document.documentElement.classList.toggle("quiet", on);
    document.addEventListener("keydown", event => { if (event.key === "Escape") quiet(true); });
    for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, () => quiet(false));
}
</script>"""


def marked(text: str, known: set[str] | None = None) -> str:
    """A plain text as HTML, whatever it holds: each term is explained where it stands first.

    Args:
        known: the terms that need no explanation any more; those explained here are added to it.
    """
    known = set() if known is None else known
    parts, at = [], 0
    for found in _PATTERN.finditer(text):
        term = _TERM_OF[found.lastindex - 1] if found.lastindex else None
        if term is None or term in known:
            continue
        known.add(term)
        parts += [escape(text[at:found.start()]), _dfn(term, found[0])]
        at = found.end()
    return "".join(parts) + escape(text[at:])


def terms(text: str) -> set[str]:
    """The terms that a plain text says."""
    return {_TERM_OF[found.lastindex - 1] for found in _PATTERN.finditer(text) if found.lastindex}


def says(*names: str) -> str:
    """What terms mean, for the `help` of a control."""
    return " ".join(TERMS[name][1] for name in names)


def listing() -> str:
    """All terms with what they mean, folded; marked ones refer to it."""
    return '<details class="glossary"><summary>Glossary</summary><dl>' + "".join(
        f'<dt>{escape(term)}</dt><dd id="{identifier(term)}">{escape(meaning)}</dd>'
        for term, meaning in in_order()) + "</dl></details>"


def document() -> str:
    """The glossary as Markdown, for docs/glossary.md."""
    lines = [f"- **{term}**: {meaning}" for term, meaning in in_order()]
    return "\n".join(["# Glossary", "", "The terms of the pages, as they are explained there on hover and focus.", "",
                      *lines, ""])


def in_order() -> list[tuple[str, str]]:
    """Every term with what it means, by the alphabet."""
    return sorted(((term, meaning) for term, (_, meaning) in TERMS.items()), key=lambda entry: entry[0].lower())


def _dfn(term: str, as_said: str) -> str:
    return (f'<dfn class="term" tabindex="0" aria-describedby="{identifier(term)}" '
            f'data-says="{escape(TERMS[term][1])}">{escape(as_said)}</dfn>')


def identifier(term: str) -> str:
    """What names a term's explanation within a page."""
    return "term-" + re.sub(r"\W+", "-", term.lower())
