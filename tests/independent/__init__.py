"""The bundled model's published numbers, worked out anew by plain transformers and numpy.

`python -m tests.independent` does all of it, the tests beside it a sample. Nothing of the engine, the gates or the
statistics is used: prompts come as text from the tasks, and what is published is read from the model card and from the
shipped results.
"""
