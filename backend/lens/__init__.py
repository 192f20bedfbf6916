"""One prompt looked at: attention, next tokens, contributions; nothing is stored."""
