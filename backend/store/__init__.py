"""Where results are kept and how they travel."""
