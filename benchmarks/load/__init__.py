"""What the benchmarks put around the sidecar: a cheap upstream, a cheap client, and what it is compared with.

Each is a process of its own, so that no event loop is shared with what is measured and so that the CPU
time of each can be told apart.
"""
