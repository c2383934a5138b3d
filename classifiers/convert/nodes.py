"""An ONNX graph as it is written node by node: plain operators of opset 20.

``int8`` stores the matrices as int8 in blocks that share a scale and computes in float, so that a token's score
does not depend on its neighbours (docs/adr/0004): a session turns them back into floats once, when it loads.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10
BLOCK = 64
"""Weights that share one scale, at most."""
ONE_FILE_BYTES = 1_900_000_000
"""A protobuf message, and so a network in one file, may have 2 GiB; beyond this the weights get a file of their own."""

WEIGHTS = "weights.bin"

Array = NDArray[Any]
Precision = Literal["float", "int8"]


class Nodes:
    """Collects the nodes and weights of a graph; every method returns the name of what it adds.

    Args:
        precision: how matrices are stored.
    """

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def const(self, value: Array) -> str:
        """A weight or constant."""
        name = f"const_{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        """A one-dimensional int64 constant."""
        return self.const(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """A float32 constant without dimensions."""
        return self.const(np.array(value, np.float32))

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node with one output."""
        name = name or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def split(self, x: str, axis: int, *sizes: int) -> list[str]:
        """``x`` in parts of these sizes along ``axis``."""
        names = [f"split_{len(self._nodes)}_{part}" for part in range(len(sizes))]
        self._nodes.append(helper.make_node("Split", [x, self.ints(*sizes)], names, axis=axis))
        return names

    def linear(self, x: str, weight: Array, bias: Array | None = None, *, exact: bool = False) -> str:
        """``x`` [.., K] by ``weight`` [N, K] transposed, and ``bias`` [N] added; ``exact``: whatever the precision."""
        product = self.node("MatMul", x, self.const(weight.T) if exact else self._matrix(weight))
        return product if bias is None else self.node("Add", product, self.const(bias))

    def _matrix(self, weight: Array) -> str:
        if self._precision == "float":
            return self.const(weight.T)
        size, depth = weight.shape
        block = math.gcd(depth, BLOCK)
        blocks = weight.reshape(size, depth // block, block)
        rounded, scales = _rounded(blocks)
        # Laid out as [K, N], so that what the session folds is what the product reads.
        stored = self.node("Cast", self.const(rounded.transpose(1, 2, 0)), to=TensorProto.FLOAT)
        whole = self.node("Mul", stored, self.const(scales.transpose(1, 2, 0)))
        return self.node("Reshape", whole, self.ints(depth, size))

    def rows(self, table: Array, ids: str) -> str:
        """The rows of ``table`` [rows, K] that ``ids`` names."""
        if self._precision == "float":
            return self.node("Gather", self.const(table), ids)
        rounded, scales = _rounded(table)
        found = self.node("Cast", self.node("Gather", self.const(rounded), ids), to=TensorProto.FLOAT)
        return self.node("Mul", found, self.node("Gather", self.const(scales), ids))

    def rms_norm(self, x: str, weight: Array, epsilon: float) -> str:
        """``x`` over the root of the mean of its squares along the last axis, times ``weight``."""
        square = self.node("ReduceMean", self.node("Mul", x, x), self.ints(-1), keepdims=1)
        root = self.node("Sqrt", self.node("Add", square, self.number(epsilon)))
        return self.node("Mul", self.node("Div", x, root), self.const(weight))

    def layer_norm(self, x: str, weight: Array, bias: Array, epsilon: float) -> str:
        """Layer normalisation along the last axis."""
        return self.node(
            "LayerNormalization", x, self.const(weight), self.const(bias), axis=-1, epsilon=epsilon
        )

    def arange(self, x: str, axis: int) -> str:
        """0 up to the size of an axis of ``x``, [size]."""
        size = self.node("Squeeze", self.node("Shape", x, start=axis, end=axis + 1))
        return self.node("Range", self.const(np.array(0, np.int64)), size, self.const(np.array(1, np.int64)))

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """The whole graph."""
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _rounded(blocks: Array) -> tuple[Array, Array]:
    """int8 along the last axis, and the scale [.., 1] that turns it back."""
    scales = np.maximum(np.abs(blocks).max(axis=-1, keepdims=True), 1e-12) / 127
    return np.clip(np.rint(blocks / scales), -127, 127).astype(np.int8), scales.astype(np.float32)


def save(model: onnx.ModelProto, path: Path) -> Path | None:
    """Write ``model``, checked; its weights to a file of their own, which is returned, if it is too large."""
    # Not ``model.ByteSize()``, which is an error beyond 2 GiB.
    if sum(len(each.raw_data) for each in model.graph.initializer) <= ONE_FILE_BYTES:
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))
        return None
    data = path.with_name(WEIGHTS)
    data.unlink(missing_ok=True)  # it would be appended to
    onnx.save(model, str(path), save_as_external_data=True, location=data.name)
    data.chmod(path.stat().st_mode)  # onnx keeps it to its owner
    onnx.checker.check_model(str(path))
    return data
