"""Records as tables: what pages, notebooks and reports show. pandas in, pandas out; no charts, no Streamlit, no torch.

One file per question. A row of a table is one thing that was measured (a head, a task, a point of a curve), its columns
are named as they are shown, and every accuracy stands beside its interval, n and chance.
"""

from .accuracy import (
    accuracy_row,
    bets_table,
    comparison_table,
    flips_table,
    group_table,
    groups_table,
    margin,
    mean_row,
    mean_rows,
    means_table,
    options_table,
    pairs_table,
    tried_row,
    turned,
)
from .calibration import (
    COST,
    MEASURES,
    PLACES,
    SCORES,
    TOPS,
    calibration_table,
    costs,
    missed_table,
    tells_table,
)
from .card import (
    ACCURACY_LOST,
    LOSS_ADDED,
    direct_table,
    head_effects_table,
    head_flips_table,
    head_importance_table,
    head_off_table,
    head_table,
    heads_table,
    need_maps,
)
from .effects import (
    all_effects_table,
    attention_effects_table,
    beside_table,
    effects_table,
    leaning_table,
    mean_effects_table,
    need_table,
    runner_up,
)
from .function_vectors import (
    IMPORTANT,
    INDUCTION,
    KNOCKED,
    OTHERS,
    SCORE,
    SETS,
    VECTOR,
    heads_of,
    knock_out_pairs,
    knock_out_table,
    regions_table,
    set_heads_table,
    sets_table,
    top_sets,
    vectors_table,
)
from .growth import LOOKS_BACK, Grown, formed, growth_points, growth_table, learns
from .importance import FFN, grid_table, layer_shares, leading_heads_table, maps_table
from .induction import capacity_table, correlation_table, induction_table, leaders_table, scores_table
from .labels import (
    LABELS,
    LEARNING,
    MADE_UP_LABELS,
    NO_LABELS,
    PARTS,
    RECOGNITION,
    SHUFFLED_LABELS,
    TRUE_LABELS,
    Behind,
    influence_table,
    labels_table,
    parts_heads_table,
    parts_table,
    place_name,
    prompt_influence_table,
)
from .masks import DIFFERENCE, MASKS, Outcomes, masks_means, masks_points, masks_table
from .models import UNITS, depth_table, in_unit, models_table
from .orders import (
    FITTED,
    GATES,
    GREEDY,
    ITERATIVE,
    areas_table,
    equal_heads_table,
    gates_table,
)
from .overlap import (
    agreement_table,
    counts_table,
    kinds_table,
    matrix_table,
    overlap_table,
    shots_correlations,
)
from .plan import plan_table
from .prompt import (
    NEWLINE,
    attention_table,
    contribution_table,
    largest,
    next_table,
    option_table,
    thumbnail_table,
    visible,
)
from .pruning import (
    AGGREGATE,
    OWN,
    RANDOM,
    REVERSED,
    band_table,
    curve_table,
    curves_table,
    furthest,
    limits_table,
    map_table,
    transfer_table,
)
from .shots import WITH, WITHOUT, shots_table

__all__ = [
    "ACCURACY_LOST", "AGGREGATE", "COST", "DIFFERENCE", "FFN", "FITTED", "GATES", "GREEDY", "IMPORTANT", "INDUCTION",
    "ITERATIVE", "KNOCKED", "LABELS", "LEARNING", "LOOKS_BACK", "LOSS_ADDED", "MADE_UP_LABELS", "MASKS", "MEASURES",
    "NEWLINE", "NO_LABELS", "OTHERS", "OWN", "PARTS", "PLACES", "RANDOM", "RECOGNITION", "REVERSED", "SCORE", "SCORES",
    "SETS", "SHUFFLED_LABELS", "TOPS", "TRUE_LABELS", "UNITS", "VECTOR", "WITH", "WITHOUT", "Behind", "Grown",
    "Outcomes", "accuracy_row", "agreement_table", "all_effects_table", "areas_table", "attention_effects_table",
    "attention_table", "band_table", "beside_table", "bets_table", "calibration_table", "capacity_table",
    "comparison_table", "contribution_table", "correlation_table", "costs", "counts_table", "curve_table",
    "curves_table", "depth_table", "direct_table", "effects_table", "equal_heads_table", "flips_table", "formed",
    "furthest", "gates_table", "grid_table", "group_table", "groups_table", "growth_points", "growth_table",
    "head_effects_table", "head_flips_table", "head_importance_table", "head_off_table", "head_table", "heads_of",
    "heads_table", "in_unit", "induction_table", "influence_table", "kinds_table", "knock_out_pairs",
    "knock_out_table", "labels_table", "largest", "layer_shares", "leaders_table", "leading_heads_table",
    "leaning_table", "learns", "limits_table", "map_table", "maps_table", "margin", "masks_means", "masks_points",
    "masks_table", "matrix_table", "mean_effects_table", "mean_row", "mean_rows", "means_table", "missed_table",
    "models_table", "need_maps", "need_table", "next_table", "option_table", "options_table", "overlap_table",
    "pairs_table", "parts_heads_table", "parts_table", "place_name", "plan_table", "prompt_influence_table",
    "regions_table", "runner_up", "scores_table", "set_heads_table", "sets_table", "shots_correlations", "shots_table",
    "tells_table", "thumbnail_table", "top_sets", "transfer_table", "tried_row", "turned", "vectors_table", "visible",
]
