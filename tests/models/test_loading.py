"""Models from folders and from the hub's cache: what is read, what is refused, and what people are told."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import NotASafetensorsRepoError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from backend.errors import BadInput, ModelError
from backend.models.info import describe
from backend.models.loading import load_model, prepare
from tests.models.small import ARCHITECTURES, CONFIGS, small_model, small_network, small_tokenizer

REPOSITORY = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path) -> Path:
    return save(tmp_path / "llama-small", "llama, grouped queries")


def save(folder: Path, architecture: str, **options) -> Path:
    small_network(architecture).save_pretrained(folder, **options)
    small_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub's; the network is out of reach."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def in_cache(hub: Path, folder: Path, name: str = "someone/llama-small", commit: str = COMMIT) -> Path:
    """A folder laid out as the hub's client keeps it."""
    repository = hub / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    return repository / "snapshots" / commit


def pickle_instead(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_model_loads_as_it_was_and_is_described_as_it_loads(architecture, tmp_path):
    loaded = load_model(str(save(tmp_path / "saved", architecture)))
    ids = torch.tensor([loaded.encode("the cat sat")])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids).logits, small_network(architecture)(ids).logits, atol=1e-5, rtol=0)
    assert describe(str(tmp_path / "saved")) == loaded.info
    assert (loaded.info.name, loaded.info.dtype, loaded.info.vocab_size) == ("saved", "float32", len(small_tokenizer()))
    assert loaded.info.n_params == sum(p.numel() for p in loaded.model.parameters())
    assert loaded.info.bytes == 4 * loaded.info.n_params


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(folder):
    loaded = load_model(str(folder))
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_weights_in_half_precision_can_be_run_in_single_and_are_described_as_they_lie_on_disk(tmp_path):
    small_network("opt").half().save_pretrained(tmp_path / "half")
    small_tokenizer().save_pretrained(tmp_path / "half")
    loaded = load_model(str(tmp_path / "half"), dtype="float32")
    assert next(loaded.model.parameters()).dtype == torch.float32
    assert (loaded.dtype, loaded.info.dtype, loaded.info.bytes) == ("float32", "float16", 2 * loaded.info.n_params)
    assert describe(str(tmp_path / "half")) == loaded.info


@pytest.mark.parametrize(("dtype", "expected"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_the_dtype_asked_for_is_the_one_that_runs(folder, dtype, expected):
    loaded = load_model(str(folder), dtype=dtype)
    assert loaded.torch_dtype == expected
    assert {p.dtype for p in loaded.model.parameters()} == {expected}
    with torch.no_grad():
        hidden = loaded.trunk(input_ids=torch.tensor([[3, 4]]), use_cache=False).last_hidden_state
    assert loaded.unembed(hidden).dtype == torch.float32


def test_weights_in_several_files_load(tmp_path):
    folder = save(tmp_path / "sharded", "gpt2", max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    loaded = load_model(str(folder))
    assert loaded.info.n_params == small_model("gpt2").info.n_params == describe(str(folder)).n_params


def test_the_revision_of_a_folder_is_a_digest_of_its_weights(folder):
    before = describe(str(folder)).revision
    moved = folder.rename(folder.with_name("elsewhere"))
    assert describe(str(moved)).revision == before
    network = small_network("llama, grouped queries")
    with torch.no_grad():
        network.lm_head.weight[0, 0] += 1e-3
    network.save_pretrained(moved)
    assert describe(str(moved)).revision != before
    assert len(before) == 12


def test_a_revision_that_a_folder_does_not_hold_is_refused(folder):
    revision = describe(str(folder)).revision
    assert load_model(str(folder), revision=revision).info.revision == revision
    with pytest.raises(ModelError, match=f"holds weights of revision {revision}, not ffffffffffff"):
        load_model(str(folder), revision="f" * 12)


def test_pickled_weights_are_refused_with_the_command_that_converts_them(folder):
    pickle_instead(folder)
    for read in (describe, load_model):
        with pytest.raises(ModelError, match=r"pickled weights \(pytorch_model.bin\), which can run code") as refusal:
            read(str(folder))
        assert f"n = '{folder}'; M.from_pretrained(n).save_pretrained('converted')" in str(refusal.value)


def test_the_command_that_converts_pickled_weights_does(tmp_path, monkeypatch):
    folder = save(tmp_path / "pickled", "gpt2")
    torch.save(small_network("gpt2").state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError) as refusal:
        describe(str(folder))
    monkeypatch.chdir(tmp_path)
    exec(str(refusal.value).split('python -c "')[1].removesuffix('"'))
    converted = load_model(str(tmp_path / "converted"))
    ids = torch.tensor([converted.encode("the cat sat")])
    with torch.no_grad():
        assert torch.equal(converted.model(ids).logits, small_network("gpt2")(ids).logits)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no weights: expected one or more \*.safetensors"):
        describe(str(folder))


def test_a_folder_without_a_config_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config.json"):
        load_model(str(folder))


def test_a_config_that_is_no_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config.json cannot be read"):
        load_model(str(folder))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"No folder '.*nowhere'. Give the path of a model folder .* a hub id"):
        describe(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("length", [0, 5, 100, -10])
def test_weights_cut_short_are_refused(folder, length):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    for read in (describe, load_model):
        with pytest.raises(ModelError, match=r"model.safetensors is damaged or cut short: .* Fetch or convert it"):
            read(str(folder))


def test_weights_that_lack_a_tensor_are_refused_instead_of_left_random(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors \(model.layers.1.mlp.up_proj.weight"):
        load_model(str(folder))


def test_weights_of_another_shape_than_the_config_s_are_refused_with_both_shapes(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 40}))
    with pytest.raises(ModelError, match=r"not those of its config: 9 tensors have another shape, model.layers.0.mlp."
                                         r"down_proj.weight for instance \[32, 48\] instead of \[32, 40\]"):
        load_model(str(folder))


def test_a_folder_that_lacks_one_of_several_files_is_refused(tmp_path):
    folder = save(tmp_path / "sharded", "gpt2", max_shard_size="20KB")
    lost = sorted(folder.glob("*.safetensors"))[1]
    lost.unlink()
    for read in (describe, load_model):
        with pytest.raises(ModelError, match=f"cannot be loaded: it lacks {lost.name}, which its index names"):
            read(str(folder))


def test_an_unknown_dtype_is_refused_before_anything_is_read():
    with pytest.raises(BadInput, match=r"Unknown dtype 'int4'. Known: float32, bfloat16, float16"):
        load_model("no such model", dtype="int4")


@pytest.mark.parametrize("device", ["nowhere", "cuda:99"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(folder, device):
    with pytest.raises(BadInput, match=rf"The device '{device}' cannot be used here. Known: cpu"):
        load_model(str(folder), device=device)


def test_of_a_model_for_text_and_images_the_text_part_is_loaded(tmp_path):
    text = {**CONFIGS["gemma3"][1], "vocab_size": len(small_tokenizer())}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
              "image_size": 16, "patch_size": 8}
    whole = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        "gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=1)).eval()
    whole.save_pretrained(tmp_path)
    small_tokenizer().save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path))
    assert describe(str(tmp_path)) == loaded.info
    assert (loaded.info.architecture, loaded.n_layers, loaded.n_heads) == ("gemma3_text", 3, 4)
    ids = torch.tensor([loaded.encode("the cat sat on the mat")])
    with torch.no_grad():
        assert torch.equal(loaded.model(ids).logits, whole(ids).logits)


def test_an_architecture_without_a_row_is_refused_before_its_weights_are_read(folder, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "strange"}))
    with pytest.raises(ModelError, match=r"No adapter for architecture 'strange'.*write one row.*adapter=Adapter"):
        load_model(str(folder))


def test_a_folder_without_a_tokenizer_says_where_to_put_one(folder):
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"No tokenizer in '.*llama-small': it holds none of .*--tokenizer"):
        load_model(str(folder))
    small_tokenizer().save_pretrained(folder.with_name("words"))
    assert load_model(str(folder), tokenizer=str(folder.with_name("words"))).encode("the cat")


def test_code_in_a_models_folder_is_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(
        {**config, "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}))
    (folder / "mine.py").write_text("raise SystemExit('was run')")
    assert type(load_model(str(folder)).model).__name__ == "LlamaForCausalLM"


def test_an_adapter_that_does_not_fit_a_model_is_found_out():
    network = small_network("opt")
    network.config.num_attention_heads = 3
    with pytest.raises(ModelError, match=r"adapter of 'opt' does not fit.* reads 32 numbers.* 3 heads of 10"):
        prepare(network, small_tokenizer(), "odd", "")


def test_a_longrope_model_is_read_up_to_its_original_length(tmp_path):
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "rope_theta": 10000.0}
    network = small_network("phi3", rope_parameters=rope, original_max_position_embeddings=64)
    network.save_pretrained(tmp_path)
    assert describe(str(tmp_path)).max_positions == 64
    assert prepare(network, small_tokenizer(), "long", "").info.max_positions == 64


def test_what_a_prompt_begins_with_can_be_chosen(folder):
    plain = load_model(str(folder)).encode("the cat")
    for bos, front in (("auto", []), ("always", [0]), ("never", [])):
        loaded = load_model(str(folder), bos=bos)
        assert loaded.encode_context("the cat") == [*front, *plain]
        assert (loaded.empty_context, loaded.start) == ([0], 0)
    with pytest.raises(BadInput, match="Known: auto, always, never"):
        load_model(str(folder), bos="sometimes")


# The hub.


def test_a_hub_model_loads_from_the_cache_with_no_network(hub, folder):
    in_cache(hub, folder)
    loaded = load_model("someone/llama-small")
    assert (loaded.info.name, loaded.info.revision) == ("someone/llama-small", COMMIT[:12])
    assert describe("someone/llama-small") == loaded.info


@pytest.mark.parametrize("revision", [COMMIT, COMMIT[:12]])
def test_a_commit_or_the_beginning_of_one_is_found_in_the_cache(hub, folder, revision):
    in_cache(hub, folder, commit="f" * 40)
    in_cache(hub, folder, commit=COMMIT)
    (hub / "models--someone--llama-small" / "refs" / "main").write_text("f" * 40)
    assert load_model("someone/llama-small", revision=revision).info.revision == COMMIT[:12]
    assert describe("someone/llama-small").revision == "f" * 12


def test_a_commit_that_is_not_in_the_cache_is_refused(hub, folder):
    in_cache(hub, folder)
    with pytest.raises(ModelError, match="hub cannot be reached"):
        load_model("someone/llama-small", revision="e" * 40)


def test_a_download_that_stopped_between_two_files_is_no_model(hub, tmp_path):
    snapshot = in_cache(hub, save(tmp_path / "sharded", "gpt2", max_shard_size="20KB"))
    assert load_model("someone/llama-small", revision=COMMIT)
    sorted(snapshot.glob("*.safetensors"))[0].unlink()
    with pytest.raises(ModelError, match="hub cannot be reached"):
        load_model("someone/llama-small", revision=COMMIT)


@pytest.mark.parametrize("state", ["under way", "cut short", "taken away"])
def test_a_shard_of_the_hub_s_that_is_not_whole_is_no_part_of_a_model(hub, tmp_path, state):
    """As the hub's client leaves it: files are links to blobs, and what is being fetched is an .incomplete one."""
    snapshot = in_cache(hub, save(tmp_path / "sharded", "gpt2", max_shard_size="20KB"))
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    for shard in sorted(snapshot.glob("*.safetensors")):
        shard.rename(blobs / shard.name)
        shard.symlink_to(blobs / shard.name)
    assert load_model("someone/llama-small", revision=COMMIT)
    blob = blobs / shard.name
    if state == "cut short":
        blob.write_bytes(blob.read_bytes()[:-100])
        with pytest.raises(ModelError, match=r"is damaged or cut short: it should have"):
            load_model("someone/llama-small", revision=COMMIT)
        return
    blob.rename(f"{blob}.incomplete")
    if state == "under way":
        shard.unlink()
    with pytest.raises(ModelError, match="hub cannot be reached"):
        load_model("someone/llama-small", revision=COMMIT)


@pytest.mark.parametrize("offline", [True, False])  # told so, and found out: no name server answers in the tests
def test_with_no_network_a_hub_model_is_refused_at_once_with_advice(hub, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    started = time.monotonic()
    for revision in (None, COMMIT, "main"):
        for read in (describe, load_model):
            with pytest.raises(ModelError, match=r"hub cannot be reached. With no network, .* bundled model"):
                read("facebook/opt-125m", revision)
    assert time.monotonic() - started < 10


def test_a_name_that_is_no_hub_id_is_refused(hub):
    with pytest.raises(ModelError, match="neither a folder here nor a hub id"):
        describe("no such thing!")


def test_a_hub_model_of_pickled_weights_only_is_refused_with_the_command(hub, folder, monkeypatch):
    (folder / "model.safetensors").unlink()  # what a download of safetensors alone leaves
    snapshot = in_cache(hub, folder)
    files = SimpleNamespace(siblings=[SimpleNamespace(rfilename="pytorch_model.bin")], sha=COMMIT)
    asked = []

    def no_safetensors(*args, **kwargs):
        raise NotASafetensorsRepoError

    monkeypatch.setattr(huggingface_hub, "snapshot_download",
                        lambda *args, **kwargs: asked.append(kwargs) or str(snapshot))
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *args, **kwargs: files)
    monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", no_safetensors)
    for read in (describe, load_model):
        with pytest.raises(ModelError, match=r"pickled weights \(pytorch_model.bin\)"):
            read("someone/llama-small")
    assert not any(pattern.endswith((".bin", ".pt", "*")) for kwargs in asked for pattern in kwargs["allow_patterns"])


def test_a_hub_model_is_described_without_fetching_its_weights(hub, folder, monkeypatch):
    expected = describe(str(folder))
    (folder / "model.safetensors").unlink()
    in_cache(hub, folder)
    headers = {"model.safetensors": SimpleNamespace(tensors={
        "lm_head.weight": SimpleNamespace(dtype="F32", shape=(expected.n_params, 1)),
        "model.rotary_emb.inv_freq": SimpleNamespace(dtype="F32", shape=(4,))})}
    monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata",
                        lambda name, revision: SimpleNamespace(files_metadata=headers))
    found = describe("someone/llama-small")
    assert (found.n_params, found.bytes, found.n_heads) == (expected.n_params, expected.bytes, expected.n_heads)


class _Hub(BaseHTTPRequestHandler):
    """What the hub's client asks: what a revision holds, and a file's bytes."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.split(f"/resolve/{COMMIT}/")[-1]
        body, found = b"", (self.folder / name).is_file()
        files = [{"rfilename": f.name, "path": f.name, "type": "file", "oid": "0" * 40, "size": f.stat().st_size}
                 for f in self.folder.iterdir()]
        if self.path.startswith("/api/models/someone/llama-small/tree/"):
            body, found = json.dumps(files).encode(), True
        elif self.path.startswith("/api/models/someone/llama-small/revision/"):
            body, found = json.dumps({"id": "someone/llama-small", "sha": COMMIT, "siblings": files}).encode(), True
        elif found:
            body = (self.folder / name).read_bytes()
        self.send_response(200 if found else 404)
        for header, value in {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT,
                              "Content-Length": len(body)}.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_hub_s_own_client_fetches_a_model_without_its_pickles_and_its_commit_is_the_revision(
    tmp_path, folder, monkeypatch
):
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    _Hub.folder, _Hub.asked = folder, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    code = ("import sys; from backend.models.loading import load_model\n"
            "info = load_model(sys.argv[1], sys.argv[2]).info; print(info.name, info.revision, info.n_params)")
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0",
                   "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
    environment.pop("HF_HUB_CACHE", None)
    for revision in ("main", COMMIT):
        run = subprocess.run([sys.executable, "-c", code, "someone/llama-small", revision], cwd=REPOSITORY, text=True,
                             env=environment, capture_output=True, check=False)
        expected = ["someone/llama-small", COMMIT[:12], str(describe(str(folder)).n_params)]
        assert run.stdout.split() == expected, run.stderr
        server.shutdown()  # a commit that is here needs no hub
    server.server_close()
    assert any(path.endswith("model.safetensors") for path in _Hub.asked)
    assert not any(path.endswith(".bin") for path in _Hub.asked)
