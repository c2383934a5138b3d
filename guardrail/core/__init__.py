"""The sans-io heart: what has arrived on a lane, what may be released, when to step in.

Standard library only. No clock, no task, no thread, no random number, no model: a lane is told what
happened (``events``) and answers with what must be done (``commands``). The files, from the inside out:

* ``spans`` - half-open intervals of code points.
* ``segments`` - where a word and a sentence end.
* ``verdicts`` - what scorers say and what judges conclude; the ``Judge`` protocol.
* ``holdback`` - text that has arrived and is not yet released, and its watermarks.
* ``splice`` - how inserted text is joined to what the client has already read.
* ``json_view`` - where words of ours may stand in a JSON text.
* ``events`` / ``commands`` - the vocabulary between the core and its driver.
* ``scoring``, ``pending``, ``holdpoint``, ``redirects``, ``inserts``, ``masks``, ``downstream`` - what a lane
  remembers, each with the rules for its part; none acts by itself.
* ``stream`` - ``GuardedStream``, the state machine of one lane.
"""
