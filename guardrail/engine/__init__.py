"""The engine: text in, risk scores a token out.

``scorer`` is the interface the rest of the package knows; ``causal`` implements it for packs of family
``causal``. Inside: ``pack`` (what is on disk), ``tokenizer`` (text to token ids and spans),
``anchoring`` (what to feed when), ``cache`` (key/value state of a lane), ``batcher`` (which work goes
into a step), ``session`` (the network), ``runner`` (the one thread that owns it), ``calibration``
(logits to scores).

Nothing is imported here, so that knowing the interface does not load a runtime.
"""
