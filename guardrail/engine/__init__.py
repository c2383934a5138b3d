"""The engine: text in, risk scores a token out.

``scorer`` is the interface the rest of the package knows, ``loading`` gives one for a pack. Two families
implement it on what ``family`` shares. Of both: ``pack`` and ``manifest`` (what is on disk), ``tokenizer``
(text to token ids and spans), ``batcher`` (which work goes into a step), ``session`` (ONNX Runtime), ``job``
and ``runner`` (the one thread that owns it), ``calibration`` (logits to scores).

``causal``, a network that goes on from what it remembers: ``manifest_causal``, ``anchoring`` (what to feed
when), ``cache`` (key/value state of a lane), ``causal_session``, ``causal_step``.

``window``, a sequence classifier as it was exported: ``manifest_window``, ``windows`` (which windows a text
is judged by), ``framing`` (special tokens around them), ``labels`` (its labels to our categories),
``window_session``, ``window_step``.

Nothing is imported here, so that knowing the interface does not load a runtime.
"""
