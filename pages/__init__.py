"""One question per file; `app.py` draws the frame around them."""
