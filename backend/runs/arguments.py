"""What can be typed behind `precompute` and `smollm2`, the sub-commands that run as processes of their own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import BadInput
from ..kinds.unit import Option
from ..machine import FAST, WIDTHS, read_size
from ..models.info import BUNDLED
from ..models.smollm2 import WHEEL
from ..places import LIVE, SHIPPED, short
from ..tasks.task import DEMOS, DRAWS
from . import plan as planning
from .cluster import LOCAL
from .hardware import PEAK_SHARE, Hardware, parse, parse_price


def of_store(sub: argparse.ArgumentParser) -> None:
    """Which results are meant, for every command."""
    sub.add_argument("--store", metavar="FOLDER",
                     help=f"where results live (default: HEADROOM_CACHE, or {short(LIVE)})")
    sub.add_argument("--no-shipped", action="store_true", help="leave out the results that come with Headroom")


def of_precompute(sub: argparse.ArgumentParser) -> None:
    """What is measured, of what and how."""
    of_model(sub)
    of_request(sub)
    of_cluster(sub)
    sub.add_argument("--dry-run", action="store_true", help="say what would be done, load no model")
    of_hardware(sub, "with --dry-run: also what it would take on another machine, for instance 8xA100-80G, or "
                "4x8xA100-80G")
    sub.add_argument("--ship", nargs="?", const=str(SHIPPED), metavar="FOLDER",
                     help=f"then write the results as plain files (default folder: {short(SHIPPED)})")


def of_cluster(sub: argparse.ArgumentParser) -> None:
    """Who shares the work."""
    sub.add_argument("--cluster", metavar="ADDRESS", help="share the work among workers on Ray, each with a replica of "
                     "the model: local, for this machine's processors or GPUs, or the address of a cluster; see "
                     "docs/cluster.md")
    sub.add_argument("--workers", type=_one_or_more, metavar="N", help="of a cluster (default: as many as there is "
                     "room for)")
    sub.add_argument("--gpus-per-worker", type=_none_or_more, metavar="N", help="of a cluster; a replica is spread "
                     "over several (default: 1 where there are GPUs, else 0)")
    sub.add_argument("--threads-per-worker", type=_one_or_more, metavar="N", help="of a cluster: processors that one "
                     "computes with, the same on every machine (default: OMP_NUM_THREADS, or 1)")


def of_plan(sub: argparse.ArgumentParser) -> None:
    """What would be measured, of what, and where."""
    of_model(sub, loaded=False)
    of_request(sub)
    of_hardware(sub, "devices, for instance 8xA100-80G, 1xH100-80G, cpu:16x2.5GHz-64G, or nodes of them: "
                "4x8xA100-80G (default: %(default)s)")
    sub.set_defaults(hardware=parse("1xA100-80G"), dtype="bfloat16", tasks="paper")


def of_hardware(sub: argparse.ArgumentParser, about: str) -> None:
    """Which machine a plan is for, and what is assumed of it."""
    sub.add_argument("--hardware", type=_hardware, metavar="MACHINE", help=about)
    sub.add_argument("--peak-share", type=_part, default=PEAK_SHARE, metavar="SHARE", help="of a device's peak rate "
                     "that is assumed to be reached (default: %(default)s)")
    sub.add_argument("--price", type=_price, metavar="LOW-HIGH", help="dollars per device and hour (default: assumed "
                     "for the device, and said)")


def of_request(sub: argparse.ArgumentParser) -> None:
    """Which results are asked for."""
    sub.add_argument("--tasks", default="mini", help="names with commas between, or mini, paper, held-out, all "
                     "(default: %(default)s); see `tasks`")
    sub.add_argument("--rows", type=_digests, default={}, metavar="NAME=DIGEST", help="with commas between, as the "
                     "pages show them: refuse any other rows of these tasks")
    sub.add_argument("--shots", type=_numbers, default=(0, 1, 5), metavar="N,N", help="demonstrations (default: 0,1,5)")
    sub.add_argument("--what", type=_topics, default=planning.usual_topics(), metavar="TOPIC,TOPIC", help=(
        f"default: {','.join(planning.usual_topics())}; or all. " +
        "; ".join(f"{name}: {topic.about}" for name, topic in planning.topics().items())))
    sub.add_argument("--demos", choices=DEMOS, default="fixed", help="draws of demonstrations that queries "
                     "share, or a fresh one per query as in the study (default: %(default)s)")
    sub.add_argument("--draws", type=int, default=DRAWS, metavar="N", help="of fixed demonstrations, over "
                     "which the queries are spread; 1: one draw for all, named by --seeds (default: %(default)s)")
    sub.add_argument("--n-examples", type=int, default=planning.N_EXAMPLES, metavar="N",
                     help="queries per evaluation (default: %(default)s)")
    sub.add_argument("--seeds", type=_numbers, default=(0,), metavar="N,N", help="draws of queries and demonstrations")
    for option in planning.options().values():
        _add_option(sub, option)


def check_cluster(args: argparse.Namespace) -> None:
    """Fill in what a cluster's workers compute with.

    Raises:
        BadInput: something is said of workers where there is no cluster, or measured here for machines elsewhere.
    """
    if args.dtype == FAST and args.cluster not in (None, LOCAL):
        raise BadInput("--dtype fast is measured on this machine, and a cluster's workers may be on others: name the "
                       f"precision, {', '.join(WIDTHS)}.")
    if not args.cluster:
        for name in ("workers", "gpus_per_worker", "threads_per_worker"):
            if getattr(args, name) is not None:
                raise BadInput(f"--{name.replace('_', '-')} is of a cluster's workers: say which cluster with "
                               "--cluster local, or --cluster ADDRESS.")
    if args.threads_per_worker is None:
        given = os.environ.get("OMP_NUM_THREADS", "")
        args.threads_per_worker = max(1, int(given)) if given.isdecimal() else 1


def of_smollm2(sub: argparse.ArgumentParser) -> None:
    """Where its package is."""
    sub.add_argument("--wheel", metavar="FILE", help=f"{WHEEL}, where it was fetched elsewhere")


RUNS = {"precompute": of_precompute, "smollm2": of_smollm2}


def of_model(sub: argparse.ArgumentParser, loaded: bool = True) -> None:
    """Which model, in which state, and how it is run.

    Args:
        loaded: whether it is loaded here, so that it can be measured what is fast.
    """
    sub.add_argument("--model", default=BUNDLED, help="bundled, a checkpoint of its training such as bundled-step-0, a "
                     "local folder, a hub id, gguf:FILE, or a model made here such as SmolLM2-135M (default: "
                     "%(default)s)")
    sub.add_argument("--revision", help="commit, tag or branch on the hub; for a folder, the digest of its weights")
    sub.add_argument("--digest", help="of weights, config, tokenizer and adapter, as the pages show it: refuse any "
                     "other state of the model")
    sub.add_argument("--tokenizer", metavar="FOLDER", help="where the tokenizer is, if not beside the weights")
    sub.add_argument("--bos", choices=("auto", "always", "never"), default="auto", help="whether prompts begin with a "
                     "BOS token; auto: as the tokenizer does by itself, and none for OPT and GPT-2 as in the study "
                     "(default: %(default)s)")
    sub.add_argument("--dtype", choices=(*WIDTHS, FAST) if loaded else tuple(WIDTHS), default="float32",
                     help="default: %(default)s" + loaded * (
                         ", the reference; fast: bfloat16 where it is clearly faster here, measured, else float32"))
    sub.add_argument("--device", help="cpu, cuda, ... (default: the GPU where there is one)")
    sub.add_argument("--device-map", metavar="PLACEMENT", help="spread a large model over several devices, main memory "
                     "and disk: auto, balanced, balanced_low_0, sequential")
    sub.add_argument("--max-memory", type=_room, metavar="DEVICE=SIZE", help="with commas between: what its weights "
                     "may take of each, for instance cuda:0=70GB,cpu=200GB (default: 80 %% of what is free)")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of whole numbers such as 0,1,5") from None


def _one_or_more(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number such as 1 or 8")
    return int(text)


def _none_or_more(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a number such as 0 or 8")
    return int(text)


def _digests(text: str) -> dict[str, str]:
    pairs = [part.rpartition("=") for part in text.split(",")]
    if not all(name and digest for name, _, digest in pairs):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list such as piqa=0123456789ab,boolq=ba9876543210")
    return {name: digest for name, _, digest in pairs}


def _room(text: str) -> dict[str, int]:
    pairs = [part.partition("=") for part in text.split(",")]
    sizes = {device.strip(): read_size(amount) for device, _, amount in pairs}
    found = {device: amount for device, amount in sizes.items() if device and amount is not None}
    if len(found) != len(pairs):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list such as cuda:0=70GB,cpu=200GB")
    return found


def _hardware(text: str) -> Hardware:
    try:
        return parse(text)
    except BadInput as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _price(text: str) -> tuple[float, float]:
    try:
        return parse_price(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a range of prices such as 1.5-4") from None


def _part(text: str) -> float:
    try:
        if 0 < float(text) <= 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}' is not a share such as 0.35")


def _topics(text: str) -> tuple[str, ...]:
    topics = [part.strip() for part in text.split(",") if part.strip()]
    every = [name for name, topic in planning.topics().items() if not topic.alone] if "all" in topics else []
    return tuple(dict.fromkeys([*every, *(name for name in topics if name != "all")]))


def _add_option(sub: argparse.ArgumentParser, option: Option) -> None:
    """A flag that some kind of result knows."""
    if option.many:
        sub.add_argument(option.flag, action="append", default=[], metavar=option.metavar, help=option.about)
        return

    def read(text: str) -> Any:
        try:
            return option.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number" if option.read is int else
                                             str(error)) from None

    shown = ",".join(option.default) if isinstance(option.default, tuple) else option.default
    sub.add_argument(option.flag, type=read, default=option.default, metavar=option.metavar,
                     help=f"{option.about} (default: {shown})")


# --- what somebody else may have written down -----------------------------------------------------


class _Strict(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(message[0].upper() + message[1:] + ".")


def read(args: Sequence[str]) -> argparse.Namespace:
    """The arguments of a whole command that is a run.

    Raises:
        BadInput: if it is another command, or not one that could be typed.
    """
    if not args or args[0] not in RUNS:
        raise BadInput("It is no `precompute` command.")
    parser = _Strict(prog=args[0], add_help=False, allow_abbrev=False)
    of_store(parser)
    RUNS[args[0]](parser)
    return parser.parse_args(list(args[1:]))
