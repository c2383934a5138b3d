"""Small ONNX graphs without the ``onnx`` package: the few messages of its format that a test needs.

The messages are declared here by field number, as in onnx.proto, and written by protobuf itself, which the
package needs anyway. ``classifier`` builds a sequence classifier whose logits depend on every token, its
place, its segment and the mask, and on a table of words that count.
"""

from __future__ import annotations

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FLOAT, INT64 = 1, 7
_MANY, _ONE = 3, 1
_INT, _STRING, _BYTES, _MESSAGE = 3, 9, 12, 11
_FIELDS = {
    "OperatorSet": [("domain", 1, _STRING, _ONE), ("version", 2, _INT, _ONE)],
    "Dim": [("size", 1, _INT, _ONE), ("name", 2, _STRING, _ONE)],
    "Shape": [("dim", 1, "Dim", _MANY)],
    "TensorType": [("elem_type", 1, _INT, _ONE), ("shape", 2, "Shape", _ONE)],
    "Type": [("tensor", 1, "TensorType", _ONE)],
    "Value": [("name", 1, _STRING, _ONE), ("type", 2, "Type", _ONE)],
    "Tensor": [
        ("dims", 1, _INT, _MANY), ("data_type", 2, _INT, _ONE), ("name", 8, _STRING, _ONE), ("raw", 9, _BYTES, _ONE),
    ],
    "Attribute": [("name", 1, _STRING, _ONE), ("i", 3, _INT, _ONE), ("type", 20, _INT, _ONE)],
    "Node": [
        ("input", 1, _STRING, _MANY), ("output", 2, _STRING, _MANY), ("op_type", 4, _STRING, _ONE),
        ("attribute", 5, "Attribute", _MANY),
    ],
    "Graph": [
        ("node", 1, "Node", _MANY), ("name", 2, _STRING, _ONE), ("initializer", 5, "Tensor", _MANY),
        ("input", 11, "Value", _MANY), ("output", 12, "Value", _MANY),
    ],
    "Model": [("ir_version", 1, _INT, _ONE), ("graph", 7, "Graph", _ONE), ("opset", 8, "OperatorSet", _MANY)],
}  # fmt: skip


def _messages():
    file = descriptor_pb2.FileDescriptorProto(name="onnx_graphs.proto", package="onnx_graphs")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            entry = message.field.add(name=field, number=number, label=label)
            entry.type = kind if isinstance(kind, int) else _MESSAGE
            if isinstance(kind, str):
                entry.type_name = f".onnx_graphs.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"onnx_graphs.{name}"))
        for name in _FIELDS
    }


_M = _messages()


class Graph:
    """Collects nodes and constants; every method returns the name of what it adds."""

    def __init__(self):
        self._graph = _M["Graph"](name="test")

    def input(self, name, *dims, kind=INT64):
        self._graph.input.append(_value(name, kind, dims))
        return name

    def constant(self, array):
        array = np.ascontiguousarray(array)
        name = f"constant_{len(self._graph.initializer)}"
        kind = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}[array.dtype]
        self._graph.initializer.append(
            _M["Tensor"](dims=array.shape, data_type=kind, name=name, raw=array.tobytes())
        )
        return name

    def node(self, op_type, *inputs, output="", **attributes):
        name = output or f"{op_type}_{len(self._graph.node)}"
        found = [_M["Attribute"](name=key, i=value, type=2) for key, value in attributes.items()]
        self._graph.node.append(_M["Node"](input=inputs, output=[name], op_type=op_type, attribute=found))
        return name

    def model(self, output, *dims) -> bytes:
        """The whole model, giving ``output`` as floats."""
        self._graph.output.append(_value(output, FLOAT, dims))
        opset = _M["OperatorSet"](domain="", version=18)
        return _M["Model"](ir_version=8, graph=self._graph, opset=[opset]).SerializeToString()


def _value(name, kind, dims):
    shape = _M["Shape"](dim=[_M["Dim"](**{"size" if isinstance(d, int) else "name": d}) for d in dims])
    return _M["Value"](name=name, type=_M["Type"](tensor=_M["TensorType"](elem_type=kind, shape=shape)))


def classifier(
    words, *, vocabulary, types=True, output="logits", kind=INT64, neighbourly=False, places=0
) -> bytes:
    """A sequence classifier with as many labels as an entry of ``words`` has numbers.

    The logits of a window are the highest any of its words has, -4 if none is listed, and a part (up to 0.5)
    that changes with any token, its place, its segment, and the length.

    Args:
        words: token id to a logit a label.
        vocabulary: how many ids there are.
        types: whether it takes ``token_type_ids``.
        output: what its output is called.
        kind: element type of the inputs.
        places: how many tokens a window may have, as a table of positions bounds it; 0: any number.
        neighbourly: let the rows of a batch change each other, as dynamic quantisation does.
    """
    labels = len(next(iter(words.values())))
    table = np.full((vocabulary, labels), -4, np.float32)
    for token, logits in words.items():
        table[token] = logits
    lots = np.random.default_rng(7)
    graph = Graph()
    ids, mask = (graph.input(name, "B", "T", kind=kind) for name in ("input_ids", "attention_mask"))
    present = graph.node("Cast", mask, to=FLOAT)
    column = graph.node("Unsqueeze", present, graph.constant(np.array([2], np.int64)))
    place = graph.node("CumSum", column, graph.constant(np.array(1, np.int64)))
    own = graph.node(
        "Gather", graph.constant(lots.uniform(1, 9, (vocabulary, labels)).astype(np.float32)), ids
    )
    if types:
        segment = graph.input("token_type_ids", "B", "T", kind=kind)
        rows = graph.constant(lots.uniform(10, 19, (2, labels)).astype(np.float32))
        own = graph.node("Add", own, graph.node("Gather", rows, segment))
    if places:
        table_of_places = graph.constant(np.zeros(places + 1, np.float32))
        at = graph.node("Gather", table_of_places, graph.node("Cast", place, to=INT64))
        own = graph.node("Add", own, at)
    waves = graph.node("Mul", graph.node("Sin", graph.node("Mul", own, place)), column)
    first = graph.constant(np.array([1], np.int64))
    mixed = graph.node("Sin", graph.node("ReduceSum", waves, first, keepdims=0))
    if neighbourly:
        mixed = graph.node("Mul", mixed, graph.node("ReduceMax", mixed))
    absent = graph.node("Sub", column, graph.constant(np.float32([1])))
    table = graph.node("Gather", graph.constant(table), ids)
    present = graph.node("Add", table, graph.node("Mul", absent, graph.constant(np.float32([99]))))
    highest = graph.node("ReduceMax", present, first, keepdims=0)
    half = graph.constant(np.float32([0.5]))
    graph.node("Add", highest, graph.node("Mul", mixed, half), output=output)
    return graph.model(output, "B", labels)
