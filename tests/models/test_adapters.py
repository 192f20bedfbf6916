"""The adapter table: every row is tried, and a missing one says what to do."""

from dataclasses import fields

import pytest

from backend.engine.passes import takes_trees
from backend.errors import ModelError
from backend.models.adapters import ADAPTERS, adapter_for, part
from tests.models.small import ARCHITECTURES, CONFIGS, FAMILIES, small_model, small_network


def test_every_row_of_the_adapter_table_has_a_small_model():
    assert {model_type for model_type, _ in CONFIGS.values()} == set(ADAPTERS)


PLACES = ("blocks", "attn_out", "ffn", "attention")  # where things are; the other columns say how they are


def columns(architecture: str) -> dict[str, bool]:
    """What sets an architecture's row apart from others, but for the names of its parts."""
    row = small_model(architecture).adapter
    said = {column.name: bool(getattr(row, column.name)) for column in fields(row) if column.name not in PLACES}
    return said | {"trees": takes_trees(small_model(architecture))}  # what the config says may stand against them


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_the_columns_of_one_on_which_everything_is_tried(architecture):
    assert columns(architecture) in [columns(family) for family in FAMILIES]


def test_an_unknown_architecture_says_how_to_add_a_row():
    with pytest.raises(ModelError, match=r"No adapter for architecture 'rwkv'. Known: apertus, bloom, .*one row in"):
        adapter_for("rwkv")


def test_a_row_that_does_not_fit_names_the_path_that_is_missing():
    with pytest.raises(ModelError, match=r"'attn.nowhere', which OPTDecoderLayer does not have.*adapters.py"):
        part(small_model("opt").blocks[0], "attn.nowhere")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_return_what_their_row_says(architecture):
    model, ids = small_network(architecture), small_model(architecture).encode("the cat")
    adapter = adapter_for(model.config.model_type)
    outputs = []
    part(model, adapter.blocks)[0].register_forward_hook(lambda module, args, output: outputs.append(output))
    model(small_model(architecture).model.dummy_inputs["input_ids"][:1, :len(ids)])
    assert isinstance(outputs[0], tuple) == adapter.returns_tuple


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads_lie_side_by_side_in_the_input_of_the_output_projection(architecture):
    model = small_model(architecture)
    assert model.n_layers == len(model.blocks)
    for projection in model.attn_outs.values():
        widths = set(projection.weight.shape)
        assert widths <= {model.n_heads * model.d_head, model.d_model}
        assert model.n_heads * model.d_head in widths
