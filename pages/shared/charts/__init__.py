"""Tables as Altair charts; no Streamlit calls.

Every chart takes the table that it draws (`backend.tables`), so that what can be downloaded is what is seen. Heads run
across, layers up, layer 0 at the bottom; what can be picked holds one selection, named `CLICK`. What can be switched is
drawn by `pages.map`.
"""

from pages.shared.charts.accuracies import bars, beside, comparison, lines
from pages.shared.charts.depth import depth_curves
from pages.shared.charts.growth import growth
from pages.shared.charts.heatmaps import layers_by_heads
from pages.shared.charts.induction import capacity, framed, knock_out, scatter, three_sets
from pages.shared.charts.layers import layer_bars, layer_effects
from pages.shared.charts.masks import masks
from pages.shared.charts.matrices import matrix, picked, pictured, span
from pages.shared.charts.overlap import counts_bars, overlap_curve
from pages.shared.charts.prompt import (
    FAINT,
    OPEN,
    attention_map,
    next_token_chart,
    options_chart,
    thumbnails,
    token_text,
)
from pages.shared.charts.pruning import picked_mask, pruning_curves
from pages.shared.charts.style import BLUE, CLICK, layer_step

__all__ = [
    "BLUE", "CLICK", "FAINT", "OPEN", "attention_map", "bars", "beside", "capacity", "comparison", "counts_bars",
    "depth_curves", "framed", "growth", "knock_out", "layer_bars", "layer_effects", "layer_step", "layers_by_heads",
    "lines", "masks", "matrix", "next_token_chart", "options_chart", "overlap_curve", "picked", "picked_mask",
    "pictured", "pruning_curves", "scatter", "span", "three_sets", "thumbnails", "token_text",
]
