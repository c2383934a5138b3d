"""Measures any pack on any labelled rows, as a stream would have seen them: `python -m classifiers.evaluate`."""
