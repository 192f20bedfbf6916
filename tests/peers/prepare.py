"""Fetch and build the tools that `speed.py` races against, each in an environment of its own.

    .venv/bin/python -m tests.peers.prepare PEERS

PEERS is a folder outside the checkout; 4 GB. What is there already is kept, so a run that was stopped goes on. It needs
the package index, cmake, ninja and a C++ compiler. llama.cpp takes 20 minutes on two cores, the rest a few.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
LLAMA = "llama-cpp-python==0.3.36"  # whose vendor/llama.cpp is ggml 0.25.3
SHARED = ("torch==2.13.0", "transformers==5.23.0")
ENVIRONMENTS = {
    "lm-eval": ("lm_eval==0.4.13", *SHARED, "accelerate", "gguf", "sentencepiece"),  # which converts for llama.cpp too
    "transformer-lens": ("transformer-lens==4.3.0", *SHARED),
}


def run(*command: str | Path, **environment: str) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, env={**os.environ, **environment})


def smollm2(peers: Path) -> Path:
    """SmolLM2-135M as a folder of float32 safetensors, as `make smollm2` writes it."""
    run(sys.executable, "-m", "backend", "smollm2", HEADROOM_CACHE=str(peers / "cache"))
    return peers / "cache" / "models" / "SmolLM2-135M"


def environment(peers: Path, name: str) -> Path:
    run(sys.executable, "-m", "venv", peers / name)
    run(peers / name / "bin" / "pip", "install", "--quiet", *ENVIRONMENTS[name])
    return peers / name / "bin" / "python"


def source(peers: Path) -> Path:
    """llama.cpp's source, out of the source package of its Python binding."""
    run(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--dest", peers / "sdist", LLAMA)
    (package,) = (peers / "sdist").glob("*.tar.gz")
    with tarfile.open(package) as archive:
        archive.extractall(peers / "unpacked", filter="data")
    (unpacked,) = (peers / "unpacked").iterdir()
    unpacked.rename(peers / "src")
    return peers / "src" / "vendor" / "llama.cpp"


def llama(peers: Path, jobs: int) -> Path:
    """`llama-perplexity`, built for this processor."""
    build = peers / "build"
    run("cmake", "-G", "Ninja", "-B", build, "-S", peers / "src" / "vendor" / "llama.cpp",
        "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF",
        "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF")
    run("ninja", "-C", build, "-j", str(jobs), "llama-perplexity")
    return build / "bin" / "llama-perplexity"


def gguf(peers: Path) -> Path:
    """The same weights in llama.cpp's format, float32, by its own converter."""
    file, converter = peers / "smollm2-f32.gguf", peers / "src" / "vendor" / "llama.cpp" / "convert_hf_to_gguf.py"
    run(peers / "lm-eval" / "bin" / "python", converter, peers / "cache" / "models" / "SmolLM2-135M",
        "--outtype", "f32", "--outfile", file.with_suffix(".part"))
    file.with_suffix(".part").rename(file)
    return file


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.peers.prepare", description=__doc__)
    parser.add_argument("peers", type=Path, help="a folder outside the checkout")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="of the compiler")
    chosen = parser.parse_args()
    peers = chosen.peers.resolve()
    peers.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], object]] = {  # what is there when the step is done, and the step
        "cache/models/SmolLM2-135M/made_from.json": lambda: smollm2(peers),
        "src/vendor/llama.cpp": lambda: source(peers),
        "build/bin/llama-perplexity": lambda: llama(peers, chosen.jobs),
        **{f"{name}/done": lambda name=name: (environment(peers, name), (peers / name / "done").touch())
           for name in ENVIRONMENTS},
        "smollm2-f32.gguf": lambda: gguf(peers),
    }
    for made, step in steps.items():
        if not (peers / made).exists():
            step()
    print(f"{peers} is ready: python -m tests.peers.speed {peers}")


if __name__ == "__main__":
    main()
