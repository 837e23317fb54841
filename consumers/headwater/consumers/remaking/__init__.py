"""What `headwater reproduce` runs in a process of its own: the user's code, and as little of ours as can be.

Everything that executes code of a pipeline is here and nowhere else. This package needs no
more than `headwater.emitter` does, so it runs in the environment that a step was recorded in.
What is asked comes in as JSON on standard input, what happened goes out as JSON into a file
(`headwater.consumers.remaking.__main__` says which); nothing is recorded, because events go
into memory. No artifact is unpickled: see `loading`.
"""
