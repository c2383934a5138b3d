"""Pure judgement: from scores and a conversation to a decision.

Standard library only, like the core. ``taxonomy`` names the risks, ``rules`` is the shape of a policy
file, ``hysteresis`` remembers how risk moved, ``judge`` puts them together as the core's ``Judge``.
"""
