"""Results on the Hugging Face hub: a bundle and its dataset card, to and from a dataset repository."""
