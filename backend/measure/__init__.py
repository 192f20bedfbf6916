"""What is measured: evaluation, importance, pruning, induction."""
