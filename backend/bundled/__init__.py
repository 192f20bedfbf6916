"""The bundled model: its weights and tokenizer, the text it read, and how it was trained."""
