"""The engine: prompts into token trees, token trees through the model, with no work that the result does not need."""
