"""Tasks: what is asked, how a question reads, and where its rows come from."""
