"""What docs/cluster.md tells Slurm and Kubernetes to run is what the command line takes, on one node as on many."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from backend.__main__ import parser
from backend.runs import cluster

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text("utf-8")
(SLURM,) = re.findall(r"```sh\n(#!.*?)```", PAGE, re.DOTALL)
(RAYJOB,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

# Stands for `ray`, `srun` and `headroom`: notes what it was called with, and what it would know of tokens.
NOTE = """#!/bin/bash
echo "$(basename "$0") $* auth=${RAY_AUTH_MODE:-}:${#RAY_AUTH_TOKEN} stats=${RAY_USAGE_STATS_ENABLED:-}" >> "$CALLS"
"""
WAIT = """#!/bin/bash
for _ in {1..200}; do ((SLURM_NNODES == 1)) || grep -q ^srun "$CALLS" && break; sleep 0.05; done  # it runs beside
"""


def run(folder: Path, n_nodes: int, gpus: int) -> list[str]:
    """The commands that the Slurm recipe gives on the first of so many nodes, each with its arguments."""
    (folder / "bin").mkdir()
    for name, text in {"ray": NOTE, "srun": NOTE, "headroom": WAIT + NOTE.partition("\n")[2],
                       "hostname": '#!/bin/bash\n[ "$1" = --all-ip-addresses ] && echo "10.0.0.1 fd00::1"\n'}.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    (folder / "headroom" / ".venv" / "bin").mkdir(parents=True)
    (folder / "headroom" / ".venv" / "bin" / "activate").touch()
    (folder / "job.sh").write_text(SLURM)
    around = {"HOME": str(folder), "CALLS": str(folder / "calls"), "SLURM_NNODES": str(n_nodes),
              "SLURM_CPUS_PER_TASK": "16", "SLURMD_NODENAME": "n1",
              "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if gpus:
        around["SLURM_GPUS_ON_NODE"] = str(gpus)
    done = subprocess.run(["bash", str(folder / "job.sh")], env=around, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize(("n_nodes", "gpus"), [(4, 8), (1, 8), (2, 0)])
def test_the_slurm_recipe_starts_ray_on_every_node_and_the_driver_on_the_first(tmp_path, n_nodes: int, gpus: int):
    calls = run(tmp_path, n_nodes, gpus)
    assert all(" auth=token:64 stats=0" in call for call in calls)
    assert calls[0].startswith(f"ray start --head --node-ip-address=10.0.0.1 --port=6379 --num-cpus=16 "
                               f"--num-gpus={gpus} ")
    (driver,) = [call for call in calls if call.startswith("headroom ")]
    args = parser().parse_args(shlex.split(driver.partition(" auth=")[0])[1:])
    assert (args.cluster, args.gpus_per_worker, args.workers) == ("10.0.0.1:6379", gpus, n_nodes)
    others = [call for call in calls if call.startswith("srun ")]
    assert [call.partition(" auth=")[0] for call in others] == [
        f"srun --nodes={n_nodes - 1} --ntasks={n_nodes - 1} --cpus-per-task=16 --exclude=n1 "
        f"ray start --address=10.0.0.1:6379 --num-cpus=16 --num-gpus={gpus} --block"][:n_nodes - 1]
    assert [call for call in calls if call.startswith("ray stop --force")] == [calls[-1]]


def test_the_kubernetes_recipe_asks_for_the_workers_that_its_driver_waits_for():
    spec = yaml.safe_load(RAYJOB)["spec"]
    args = parser().parse_args(shlex.split(spec["entrypoint"])[1:])
    head, (workers,) = spec["rayClusterSpec"]["headGroupSpec"], spec["rayClusterSpec"]["workerGroupSpecs"]
    assert args.workers == workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"]
    pods = head["template"]["spec"], workers["template"]["spec"]
    assert [int(pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0)) for pod in pods] == [
        0, args.gpus_per_worker]
    mounts = {mount["mountPath"] for mount in pods[0]["containers"][0]["volumeMounts"]}
    assert {args.store, "/" + args.model.split("/")[1]} <= mounts
    assert all(pod["securityContext"]["fsGroup"] for pod in pods)


def test_one_version_of_ray_is_named_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["optional-dependencies"]["cluster"] == [f"ray=={cluster.VERSION}"]
    assert f"\nray=={cluster.VERSION}\n" in (ROOT / "requirements-dev.txt").read_text("utf-8")
    named = re.findall(r"(?:[Rr]ay(?:==|:| )|rayVersion: \")(\d+\.\d+\.\d+)", PAGE)
    assert len(named) >= 4
    assert set(named) == {cluster.VERSION}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=str)
def test_no_page_installs_headroom_by_a_name_that_is_another_project_s_in_the_package_index(page: Path):
    assert re.findall(r"pip install (?:-\S+ )*'?headroom\b", page.read_text("utf-8")) == []
