"""How fast Headroom is beside other tools: SmolLM2-135M in float32 on real HellaSwag rows behind 5 shots, in turns.

    .venv/bin/python -m tests.peers.speed PEERS --shared FOLDER

PEERS is what `python -m tests.peers.prepare PEERS` made. Every tool is a process of its own with the model loaded, all
with the same number of threads; llama.cpp's is started anew, and what it takes for one tiny question is taken off.
In a turn each scores the same questions once, and a product of 2048 x 2048 x 2048 is timed. First it is made sure that
they do the same work: llama.cpp must read the tokens that are counted here and get the same questions right, the
others agree on every log-likelihood.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.peers.worker import Row, Scores, text

ROOT = Path(__file__).parents[2]
MEASURED = Path(__file__).with_name("measured.json")
QUERIES = {"fixed": 24, "per-query": 12}
TARGETS = {"fixed": 3.0, "per-query": 1.3}  # times as fast as llama.cpp
SHARE = 12  # tools that read every option whole score one question in so many, and their times are scaled up by tokens
TOLERANCE = 0.01  # nats: rounding of two ways to sum in float32
NEAR = 1e-3  # nats per token: two options closer than this may be ranked either way
TOOLS = ("headroom", "llama.cpp", "lm-eval", "transformer-lens")
# llama.cpp, whichever of these settings is fastest (`--tune` tries them): tokens of a question's context x parallel
# sequences (four a question) and tokens of one product.
SETTINGS: dict[str, Sequence[str]] = {
    "one question a pass": ("-c", "512", "-b", "2048", "-ub", "512"),
    "one question a pass, wide": ("-c", "512", "-b", "2048", "-ub", "2048"),
    "two questions a pass": ("-c", "256", "-np", "8", "-b", "2048", "-ub", "2048"),
    "four questions a pass": ("-c", "256", "-np", "16", "-b", "4096", "-ub", "4096"),
    "one question a pass, no flash attention": ("-c", "512", "-b", "2048", "-ub", "512", "-fa", "off"),
}
CHOSEN = "one question a pass"
TUNED = 8  # questions that the settings are tried on


@dataclass(frozen=True)
class Peers:
    """Where the tools lie, as `prepare` puts them."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "cache" / "models" / "SmolLM2-135M"

    @property
    def gguf(self) -> Path:
        return self.folder / "smollm2-f32.gguf"

    @property
    def llama(self) -> Path:
        return self.folder / "build" / "bin" / "llama-perplexity"

    def python(self, tool: str) -> Path:
        return Path(sys.executable) if tool == "headroom" else self.folder / tool / "bin" / "python"

    def has(self, tool: str) -> bool:
        return (self.llama.is_file() and self.gguf.is_file()) if tool == "llama.cpp" else self.python(tool).exists()


@dataclass
class Took:
    """Seconds of one tool on one work, a turn each."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def add(self, wall: float, processor: float) -> None:
        self.wall.append(wall)
        self.processor.append(processor)


class Worker:
    """A tool in a process of its own, asked line by line."""

    def __init__(self, peers: Peers, tool: str, threads: int) -> None:
        self.process = subprocess.Popen(
            [peers.python(tool), "-m", "tests.peers.worker", tool, "--model", peers.model, "--threads", str(threads)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        self._answer()

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(json.dumps(command), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise SystemExit(f"It ended: {' '.join(map(str, self.process.args))}. Start it by hand to see why.")
        return dict(json.loads(line))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@dataclass(frozen=True)
class Llama:
    """`llama-perplexity --hellaswag` on the same rows, as a process from start to end."""

    peers: Peers
    threads: int
    scratch: Path
    settings: Sequence[str]

    def write(self, name: str, rows: Sequence[Row]) -> Path:
        """Six lines for each question: all before the options, which option is right, and four options."""
        lines = [line for row in rows
                 for line in (text(row), str(row["gold"]), *(option.removeprefix(" ") for option in row["options"]))]
        if len(lines) != 6 * len(rows) or any("\n" in line for line in lines):
            raise SystemExit("llama.cpp takes four options a question, and every text on one line.")
        file = self.scratch / f"{name}.txt"
        file.write_text("\n".join(lines) + "\n")
        return file

    def run(self, file: Path, n: int, *more: str) -> tuple[float, float, str]:
        """Seconds from start to end, seconds of the processor, and all that it said."""
        command = [str(self.peers.llama), "-m", str(self.peers.gguf), "--hellaswag", "--hellaswag-tasks", str(n),
                   "-f", str(file), "-t", str(self.threads), "-tb", str(self.threads), *self.settings, *more]
        with (self.scratch / "said").open("w+", errors="replace") as said:
            began = time.perf_counter()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            words = said.read()
        if process.returncode or "acc_norm" not in words:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{words[-2000:]}")
        return wall, used.ru_utime + used.ru_stime, words

    def load(self) -> tuple[float, float]:
        """The same for one question of a few words: reading the file, warming up, and next to no work."""
        tiny = {"demos": [], "question": "The sky is", "options": [" blue.", " far.", " near.", " wide."], "gold": 0}
        wall, processor, _ = self.run(self.write("tiny", [tiny]), 1)
        return wall, processor


def rows_of(demos: str, n: int, n_shots: int = 5) -> list[Row]:
    """Real HellaSwag questions behind real demonstrations, as Headroom draws them."""
    from backend.tasks.registry import get_task
    from backend.tasks.task import prompts

    return [{"demos": list(p.demos), "question": p.example.contexts[0], "options": list(p.example.options),
             "gold": p.example.gold[0]} for p in prompts(get_task("hellaswag"), n_shots, demos, n)]


@dataclass(frozen=True)
class Tokens:
    """The options of one question in token ids, all before them included."""

    options: tuple[tuple[int, ...], ...]
    context: int  # tokens of what stands before them

    @property
    def shared(self) -> int:
        """How many first tokens all options have in common."""
        return next((i for i, column in enumerate(zip(*self.options, strict=False)) if len(set(column)) > 1),
                    min(map(len, self.options)))

    @property
    def in_a_tree(self) -> int:
        """Tokens that llama.cpp reads: what is shared once, and every option to its end."""
        return self.shared + sum(len(option) - self.shared for option in self.options)

    @property
    def apart(self) -> int:
        """Tokens that are read where every option is read with all before it."""
        return sum(len(option) - 1 for option in self.options)


def tokens_of(rows: Sequence[Row], model: Path) -> list[Tokens]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    def ids(words: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(words, add_special_tokens=False).ids)

    return [Tokens(tuple(ids(text(row) + option) for option in row["options"]), len(ids(text(row)))) for row in rows]


def order_of(n: int) -> list[int]:
    """The order in which llama.cpp takes n questions: std::uniform_int_distribution over std::mt19937(1)."""
    generator = np.random.MT19937()
    generator._legacy_seeding(1)  # as std::mt19937 is seeded
    left, order = list(range(n)), list[int]()
    while left:
        size = len(left)
        product = int(generator.random_raw()) * size
        if product % 2**32 >= 2**32 % size:  # else it draws again, lest some places come up more often
            order.append(left.pop(product >> 32))
    return order


def outcomes_of(said: str, n: int) -> list[bool]:
    """Which questions llama.cpp got right, in the order of the file, from the running accuracies that it prints."""
    running = [float(share) for share in re.findall(r"^\d+\t\s*([\d.]+)%", said, re.MULTILINE)]
    if len(running) != n:
        raise SystemExit(f"llama.cpp scored {len(running)} questions of {n}.")
    right = [round(share * (i + 1) / 100) for i, share in enumerate(running)]
    return [found for _, found in sorted(zip(order_of(n), (b > a for a, b in zip([0, *right], right, strict=False)),
                                             strict=True))]


def cut_later(rows: Sequence[Row], tokens: Sequence[Tokens], model: Path) -> dict[int, Row]:
    """Per question whose options all begin alike: the same texts, with that beginning told with the question.

    llama.cpp takes a mean over the tokens of an option that are not shared by all of them.
    """
    from tokenizers import Tokenizer

    tokenizer, found = Tokenizer.from_file(str(model / "tokenizer.json")), {}
    for number, (row, one) in enumerate(zip(rows, tokens, strict=True)):
        begun = tokenizer.decode(list(one.options[0][one.context:one.shared]), skip_special_tokens=False)
        if begun and all(option.startswith(begun) for option in row["options"]):
            found[number] = row | {"question": row["question"] + begun,
                                   "options": [option.removeprefix(begun) for option in row["options"]]}
    return found


def agrees_with_llama(rows: Sequence[Row], scores: dict[int, list[float]], tokens: Sequence[Tokens], said: str) -> str:
    """That llama.cpp read these tokens and answered as Headroom's log-likelihoods say: a sentence, or SystemExit.

    Args:
        scores: per question, the log-likelihood of each option behind all that they share; a question may be missing.
    """
    read = re.findall(r"prompt eval time =.*?/\s*(\d+) tokens", said)
    due = sum(one.in_a_tree for one in tokens)
    if not read or abs(int(read[-1]) - due) > 8:  # its warm-up reads one or two
        raise SystemExit(f"llama.cpp read {read[-1:] or 'no'} tokens, and the same texts have {due} here.")
    outcomes, compared, right = outcomes_of(said, len(rows)), 0, 0
    for number, lls in scores.items():
        row, one = rows[number], tokens[number]
        means = [ll / (len(option) - one.shared) for ll, option in zip(lls, one.options, strict=True)]
        best, second = sorted(means)[-1:-3:-1]
        if best - second < NEAR:
            continue
        compared, right = compared + 1, right + outcomes[number]
        if (means.index(best) == row["gold"]) != outcomes[number]:
            raise SystemExit(f"llama.cpp answers otherwise: '{row['question']}' {means}, gold {row['gold']}")
    return (f"llama.cpp reads the same {due:,} tokens and has the same {right} of {compared} questions right; "
            f"{len(rows) - compared} are not compared")


def agrees(ours: Scores, theirs: Scores, tool: str) -> str:
    """That two tools give the same log-likelihoods: a sentence, or SystemExit."""
    worst = max(abs(a - b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True))
    if worst > TOLERANCE:
        raise SystemExit(f"{tool} differs by {worst:.3g} nats, more than {TOLERANCE}: a race over other work says "
                         "nothing.")
    return f"{tool} differs by {worst:.1e} nats at most"


@contextmanager
def started(peers: Peers, tools: Sequence[str], threads: int) -> Iterator[dict[str, Worker]]:
    with ExitStack() as stack:
        workers = {}
        for tool in tools:
            if tool != "llama.cpp":
                workers[tool] = Worker(peers, tool, threads)
                stack.callback(workers[tool].close)
        yield workers


def race(peers: Peers, tools: Sequence[str], works: Sequence[str], repeat: int, threads: int, setting: str,
         share: int) -> dict[str, Any]:
    """Everything measured, as it is written to measured.json."""
    rows = {work: rows_of(work, QUERIES[work]) for work in works}
    tokens = {work: tokens_of(rows[work], peers.model) for work in works}
    found: dict[tuple[str, str], Took] = {(work, tool): Took() for work in works for tool in tools}
    loads, rates, said = Took(), list[float](), list[str]()
    with tempfile.TemporaryDirectory() as scratch, started(peers, tools, threads) as workers:
        llama = Llama(peers, threads, Path(scratch), SETTINGS[setting])
        files = {work: llama.write(work, rows[work]) for work in works}
        scores = {work: workers["headroom"].ask(do="score", rows=rows[work])["loglikelihoods"] for work in works}
        for work in works:  # before anything counts: the same numbers, everything loaded and warm
            for tool in tools[1:]:
                if tool == "llama.cpp":
                    asked = cut_later(rows[work], tokens[work], peers.model)
                    lls = workers["headroom"].ask(do="score", rows=list(asked.values()))["loglikelihoods"]
                    known = {number: scores[work][number] for number, one in enumerate(tokens[work])
                             if one.shared == one.context} | dict(zip(asked, lls, strict=True))
                    now = agrees_with_llama(rows[work], known, tokens[work],
                                            llama.run(files[work], len(rows[work]), "-lv", "4")[2])
                else:
                    answer = workers[tool].ask(do="score", rows=rows[work][::share])
                    now = agrees(scores[work][::share], answer["loglikelihoods"], tool)
                said.append(f"{work}: {now}")
                print(said[-1], flush=True)
        for turn in range(repeat):
            rates.append(workers["headroom"].ask(do="product")["flops"])
            if "llama.cpp" in tools:
                loads.add(*llama.load())
            for work in works:
                for tool in tools:
                    if tool == "llama.cpp":
                        found[work, tool].add(*llama.run(files[work], len(rows[work]))[:2])
                        continue
                    some = slice(None, None, 1 if tool == "headroom" else share)
                    answer = workers[tool].ask(do="score", rows=rows[work][some])
                    times = sum(t.apart for t in tokens[work]) / sum(t.apart for t in tokens[work][some])
                    found[work, tool].add(times * answer["wall"], times * answer["processor"])
            print(f"turn {turn + 1} of {repeat}", flush=True)
    lines = [_line(work, tool, found, loads) for work in works for tool in tools]
    return {"agreement": said, "product_gflops": [rate / 1e9 for rate in rates], "llama_setting": setting,
            "llama_load_seconds": {"wall": loads.wall, "processor": loads.processor},
            "lengths": {work: {"queries": len(rows[work]), "tokens in trees": sum(t.in_a_tree for t in tokens[work]),
                               "tokens option by option": sum(t.apart for t in tokens[work])} for work in works},
            "rows": lines}


def _line(work: str, tool: str, found: dict[tuple[str, str], Took], loads: Took) -> dict[str, Any]:
    """One row of the table; what llama.cpp takes to load is taken off."""

    def net(name: str, clock: str) -> list[float]:
        off = median(getattr(loads, clock)) if name == "llama.cpp" else 0.0
        return [seconds - off for seconds in getattr(found[work, name], clock)]

    line: dict[str, Any] = {"work": work, "tool": tool}
    for clock in ("wall", "processor"):
        ours, theirs = net("headroom", clock), net(tool, clock)
        each = [b / a for a, b in zip(ours, theirs, strict=True)]
        line[clock] = {"seconds": theirs, "median": median(theirs), "ratio": median(theirs) / median(ours),
                       "ratios": each}
    return line


def table(found: dict[str, Any]) -> str:
    """The figures in Markdown."""
    lines = ["| work | tool | seconds (min to max) | times Headroom's (min to max) | processor seconds | times ours |",
             "| --- | --- | ---: | ---: | ---: | ---: |"]
    for row in found["rows"]:
        wall, processor = row["wall"], row["processor"]
        ratio = "" if row["tool"] == "headroom" else \
            f"{wall['ratio']:.2f} ({min(wall['ratios']):.2f} to {max(wall['ratios']):.2f})"
        if row["tool"] == "llama.cpp" and (due := TARGETS.get(row["work"])):
            ratio += f", asked {due:g} {'✓' if wall['ratio'] >= due else '✗'}"
        lines.append(f"| {row['work']}, {found['lengths'][row['work']]['queries']} queries | {row['tool']} | "
                     f"{wall['median']:.2f} ({min(wall['seconds']):.2f} to {max(wall['seconds']):.2f}) | {ratio} | "
                     f"{processor['median']:.2f} | "
                     f"{'' if row['tool'] == 'headroom' else format(processor['ratio'], '.2f')} |")
    rates = found["product_gflops"]
    return "\n".join([*lines, "", f"Product of 2048 x 2048 x 2048: {median(rates):.0f} GFLOP/s "
                                  f"({min(rates):.0f} to {max(rates):.0f})."])


def tune(peers: Peers, threads: int, repeat: int) -> None:
    """Every setting of llama.cpp, in turns: for it, fixed demonstrations are no other work than a query's own."""
    rows = rows_of("per-query", TUNED)
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(repeat):
            for name, settings in SETTINGS.items():
                llama = Llama(peers, threads, Path(scratch), settings)
                load = llama.load()
                wall, processor, _ = llama.run(llama.write("tuned", rows), len(rows))
                print(f"{turn + 1}: {name}: {wall - load[0]:.2f} s, {processor - load[1]:.2f} s of the processor "
                      f"(loading: {load[0]:.2f} s, {load[1]:.2f} s)", flush=True)


def _about(threads: int, load: float) -> dict[str, Any]:
    """What was measured, and where."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    from tests.benchmarks.measuring import machine

    return {"commit": git("rev-parse", "--short=12", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")), "threads": threads,
            "load_before": load, **machine("cpu")}


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.peers.speed", description=__doc__)
    parser.add_argument("peers", type=Path, help="the folder that tests.peers.prepare made")
    parser.add_argument("--shared", type=Path, default=os.environ.get("HEADROOM_SHARED"),
                        help="the folder whose data/ holds HellaSwag's rows; HEADROOM_SHARED by default")
    parser.add_argument("--tools", nargs="+", choices=TOOLS[1:], default=list(TOOLS[1:]), help="beside which tools")
    parser.add_argument("--works", nargs="+", choices=list(QUERIES), default=list(QUERIES))
    parser.add_argument("--repeat", type=int, default=5, help="turns; medians are printed")
    parser.add_argument("--threads", type=int, default=2, help="of every tool")
    parser.add_argument("--share", type=int, default=SHARE,
                        help="lm-eval and transformer-lens score one question in so many, scaled up by tokens")
    parser.add_argument("--setting", choices=list(SETTINGS), default=CHOSEN, help="of llama.cpp")
    parser.add_argument("--tune", action="store_true", help="only try all settings of llama.cpp")
    parser.add_argument("--out", type=Path, help="write the figures here; tests/peers/measured.json for the record")
    chosen = parser.parse_args()
    if chosen.shared is None:
        parser.error("--shared names the folder whose data/ holds HellaSwag's rows.")
    os.environ["HEADROOM_DATA"] = str(Path(chosen.shared).resolve() / "data")
    peers = Peers(chosen.peers.resolve())
    missing = [tool for tool in chosen.tools if not peers.has(tool)]
    tools = ["headroom", *(tool for tool in chosen.tools if tool not in missing)]
    for tool in missing:
        print(f"{tool} is not in {peers.folder}: see tests/peers/README.md. It is left out.")
    if chosen.tune:
        return tune(peers, chosen.threads, chosen.repeat)
    load = os.getloadavg()[0]
    found = _about(chosen.threads, load) | race(peers, tools, chosen.works, chosen.repeat, chosen.threads,
                                                chosen.setting, chosen.share)
    print(f"\nCommit {found['commit']}{' with changes' if found['changed'] else ''}, {chosen.threads} threads, load "
          f"before {load:.1f}\n\n{table(found)}")
    if chosen.out:
        chosen.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
