"""A public test kit: play streams against the core, a scripted scorer, chunkings and scripted upstreams.

Operators and integrators use it to test their policies and clients without a model or a network.
"""
