"""What strangers and models can write, thrown at every parser: one target each, for the fuzzer and for the tests alike.

`make fuzz` has atheris look for new inputs; the tests replay what is kept in `corpus/` and have Hypothesis mutate it.
"""
