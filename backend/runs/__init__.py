"""Long work: what a run consists of, and runs as processes of their own."""
