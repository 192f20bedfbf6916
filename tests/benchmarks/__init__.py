"""How fast is the engine, beside plain ways of doing the same work and beside the machine's own limit?"""
