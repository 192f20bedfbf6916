"""Models: where their heads and FFNs live, how they are loaded, and the one doorway to them."""
