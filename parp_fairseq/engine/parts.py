"""Parts of a model that another library, or torch in lower precision, runs faster than torch.

Everything that is not sparse: convolutions, norms, attention and dense linears. OpenVINO compiles
the largest modules that it can, sparse layers included, which stay ours as its custom operation.
Without it, torch runs linears by oneDNN and, where the user allows it, convolutions in bf16.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import logging
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from parp_fairseq.engine.groups import is_watched
from parp_fairseq.engine.sparse_modules import (
    EngineError,
    Replaced,
    refuse_backward,
    refuse_tracing,
    traced,
)

PRECISIONS = ("exact", "bf16", "int8")
"""exact: fp32, differences by rounding; bf16; int8: convolutions, the rest as in bf16."""

SAMPLES = ((1, 16_000), (2, 24_000), (3, 5_000))
"""Waveforms that find the parts of a speech model: an odd and an even number of frames, batches."""

# Largest error a part may have, as a share of its output's norm: more is another function.
_TOLERANCE = {"exact": 1e-4, "bf16": 0.1, "int8": 0.5}
_REPEATS = 3


@dataclass(frozen=True)
class Part:
    """A module that was measured.

    Attributes:
        name: its dotted name; "" is the model.
        runs: what it runs on: "openvino", "onednn" or "torch bf16".
        torch_ms: time in ms in torch.
        ms: the same, replaced.
    """

    name: str
    runs: str
    torch_ms: float
    ms: float


def check_precision(precision: str) -> None:
    """Refuse a precision that is unknown or whose libraries are missing.

    Raises:
        EngineError: it is.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"precision is {precision!r}; use {', '.join(PRECISIONS)}")
    missing = [name for name in ("openvino", "nncf") if not _has(name)]
    if precision == "int8" and missing:
        raise EngineError(
            f"precision int8 needs {' and '.join(missing)}; pip install 'parp-fairseq[int8]'"
        )


def _has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@dataclass
class _Call:
    """One call of a module: its arguments and outputs as leaves of a tree."""

    given: list[Any]
    structure: Any
    result: list[Any] = field(default_factory=list)
    result_structure: Any = None

    def tensors(self) -> list[Tensor]:
        return [leaf for leaf in self.given if isinstance(leaf, Tensor)]

    def fits(self, given: list[Any], structure: Any) -> bool:
        """Whether a call differs only in sizes and values of tensors."""
        return structure == self.structure and all(map(_alike, given, self.given))


def _alike(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.dtype == two.dtype and one.dim() == two.dim() and one.device == two.device
    return type(one) is type(two) and not isinstance(one, Tensor) and bool(one == two)


class _Flat(nn.Module):
    """A module as a function from tensors to tensors, for the tracer."""

    def __init__(self, module: nn.Module, call: _Call) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        left = iter(tensors)
        leaves = [next(left) if isinstance(leaf, Tensor) else leaf for leaf in self.call.given]
        args, kwargs = tree_unflatten(leaves, self.call.structure)
        result, _ = tree_flatten(self.module(*args, **kwargs))
        return tuple(leaf for leaf in result if isinstance(leaf, Tensor))


class Graph:
    """A module compiled by OpenVINO for one way of calling it, for any sizes."""

    def __init__(self, module: nn.Module, calls: Sequence[_Call], precision: str) -> None:
        self.call = calls[0]
        with traced() as layers:
            model = _converted(module, self.call, layers)
        if precision == "int8":
            model = _quantised(model, [_arrays(call.tensors()) for call in calls])
        self.model = model
        settings = {
            "INFERENCE_PRECISION_HINT": "f32" if precision == "exact" else "bf16",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = _core().compile_model(model, "CPU", settings)
        self._threads = threading.local()

    def run(self, tensors: Sequence[Tensor]) -> Any:
        """Return what the module returns."""
        # A request runs one call at a time.
        request = getattr(self._threads, "request", None)
        if request is None:
            request = self._threads.request = self._compiled.create_infer_request()
        found = request.infer(_arrays(tensors), share_inputs=True)
        made = iter([torch.from_numpy(found[number]) for number in range(len(found))])
        leaves = [next(made) if isinstance(leaf, Tensor) else leaf for leaf in self.call.result]
        return tree_unflatten(leaves, self.call.result_structure)


@functools.cache
def _core() -> Any:
    """OpenVINO, for as long as the process lives.

    When the last one goes, the memory that it made the thread's stack for signals is unmapped but
    stays that stack: the next signal that Python handles ends the process.
    """
    import openvino

    return openvino.Core()


def _converted(module: nn.Module, call: _Call, layers: list[Replaced]) -> Any:
    """A module as OpenVINO's model, with any size of any dimension of its inputs."""
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # It would print whole graphs where a program logs everything, as fairseq's do.
    logging.getLogger("openvino").setLevel(logging.WARNING)
    inputs = tuple(call.tensors())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        flat = _Flat(module, call)
        trace = torch.jit.trace(flat, inputs, check_trace=False, strict=False)
    # Not by openvino.convert_model, which starts processes that report to its makers.
    frontend = FrontEndManager().load_by_framework("pytorch")
    frontend.add_extension(_extension(layers))
    decoder = TorchScriptPythonDecoder(trace, example_input=inputs)
    model = frontend.convert(frontend.load(decoder))
    for parameter, tensor in zip(model.get_parameters(), inputs):
        parameter.set_element_type(openvino.Type(tensor.numpy().dtype))
        parameter.set_partial_shape(openvino.PartialShape([-1] * tensor.dim()))
    model.validate_nodes_and_infer_types()
    return model


def _arrays(tensors: Sequence[Tensor]) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _extension(layers: list[Replaced]) -> Any:
    """How OpenVINO converts and runs our sparse layers."""
    import openvino
    from openvino.frontend.pytorch import ConversionExtension

    class Sparse(openvino.Op):
        def __init__(self, number: int, inputs: Any = None) -> None:
            super().__init__(self)
            self.number = number
            if inputs is not None:
                self.set_arguments(inputs)
                self.constructor_validate_and_infer_types()

        def validate_and_infer_types(self) -> None:
            *before, _ = self.get_input_partial_shape(0)
            shape = openvino.PartialShape(
                [*before, openvino.Dimension(layers[self.number].outputs)]
            )
            self.set_output_type(0, openvino.Type.f32, shape)

        def clone_with_new_inputs(self, inputs: Any) -> Any:
            return Sparse(self.number, list(inputs))

        def visit_attributes(self, visitor: Any) -> bool:
            # Layers on the same input are otherwise taken for the same.
            visitor.on_attributes({"number": self.number})
            return True

        def has_evaluate(self) -> bool:
            return True

        def evaluate(self, outputs: Any, inputs: Any) -> bool:
            layer = layers[self.number]
            outputs[0].shape = [*inputs[0].shape[:-1], layer.outputs]
            x, y = (torch.from_numpy(one.data) for one in (inputs[0], outputs[0]))
            with torch.inference_mode():
                layer.computed(x, out=y)
            return True

    def convert(node: Any) -> list[Any]:
        number = int(node.get_values_from_const_input(1))
        return [Sparse(number, [node.get_input(0)]).output(0)]

    return ConversionExtension("parp_engine::sparse", convert)


def _quantised(model: Any, samples: list[Any]) -> Any:
    # Without it, nncf reports to its makers.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=_of_waveforms(model), validate=False),
        )


def _of_waveforms(model: Any) -> list[str]:
    """Convolutions of one channel: eight bits of a waveform's range are too few for its values."""
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Convolution" and node.input(1).get_partial_shape()[1] == 1
    ]


class _InPlace:
    """In place of a module's forward; copies and pickles of the module get its class's."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def install(self) -> None:
        """Put it there."""
        self.module.forward = self  # type: ignore[assignment]
        for part in self.module.modules():
            part._register_load_state_dict_pre_hook(_refuse_loading)

    def __reduce__(self) -> Any:
        return getattr, (self.module, "forward")

    def own(self, *args: Any, **kwargs: Any) -> Any:
        """What torch computes."""
        return type(self.module).forward(self.module, *args, **kwargs)


def _refuse_loading(state: Any, prefix: str, metadata: Any, strict: bool, *lists: Any) -> None:
    lists[-1].append(f"{prefix[:-1]} was replaced by accelerate(); load the weights before it")


class _Compiled(_InPlace):
    """Calls that a graph was compiled for run there, all others in torch."""

    def __init__(self, module: nn.Module, graphs: list[Graph]) -> None:
        super().__init__(module)
        self.graphs = graphs
        self.trained = any(weight.requires_grad for weight in module.parameters())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given, structure = tree_flatten((args, kwargs))
        graph = next((one for one in self.graphs if one.call.fits(given, structure)), None)
        if graph is None or self.module.training:
            return self.own(*args, **kwargs)
        refuse_tracing()
        tensors = [leaf for leaf in given if isinstance(leaf, Tensor)]
        trained = self.trained or any(tensor.requires_grad for tensor in tensors)
        return tree_map_only(Tensor, lambda y: refuse_backward(y, trained), graph.run(tensors))


class _Leaf(_InPlace):
    """A linear or a convolution by oneDNN, in fp32 or bf16, from fp32 to fp32."""

    def __init__(self, module: nn.Linear | nn.Conv1d, dtype: torch.dtype) -> None:
        super().__init__(module)
        self.weight = module.weight.detach().to(dtype)
        self.bias = None if module.bias is None else module.bias.detach().to(dtype)
        self.trained = module.weight.requires_grad

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32 or self.module.training:
            return self.own(x)
        refuse_tracing()
        low = x.detach().to(self.weight.dtype)
        if isinstance(self.module, nn.Conv1d):
            y = self.module._conv_forward(low, self.weight, self.bias)
        else:
            y = torch.ops.mkldnn._linear_pointwise(low, self.weight, self.bias, "none", [], "")
        return refuse_backward(y.float(), self.trained or x.requires_grad)


def dense_rivals(
    linears: Sequence[nn.Linear], activation: str | None, precision: str
) -> list[Callable[[Tensor], Tensor]]:
    """How else dense linears, with an activation between, can be run on (frames, in)."""
    if not _has("openvino"):
        leaves = [_Leaf(linear, _dtype(precision)) for linear in linears]
        if activation is None:
            return [leaves[0]]
        function = getattr(nn.functional, activation)
        return [lambda x: leaves[1](function(leaves[0](x)))]
    between = {"relu": nn.ReLU, "gelu": nn.GELU}.get(activation or "", nn.Identity)
    module = nn.Sequential(linears[0], between(), *linears[1:])
    calls = [recorded_call(module, torch.randn(64, linears[0].in_features)) for _ in range(2)]
    graph = Graph(module, calls, precision)
    return [lambda x: graph.run([x])]


def _dtype(precision: str) -> torch.dtype:
    return torch.float32 if precision == "exact" else torch.bfloat16


def recorded_call(module: nn.Module, x: Tensor) -> _Call:
    """A call with one tensor, for a `Graph`."""
    with torch.no_grad():
        return _Call(*tree_flatten(((x,), {})), *tree_flatten(module(x)))


def replace_parts(
    model: nn.Module, ways: Sequence[Sequence[Any]], precision: str, margin: float
) -> list[Part]:
    """Replace, in place, the largest modules that run faster elsewhere.

    Args:
        model: its sparse layers replaced already.
        ways: in how many ways the model is called, and inputs of each (`noise`): a tensor, a tuple
            of positional or a dict of named arguments; at least two of different lengths.
        precision: one of PRECISIONS.
        margin: a part must take less than this share of the time in torch.
    """
    parts: list[Part] = []
    level = {"": model} if ways else {}
    while level:
        recorded = _recorded(model, level, ways)
        deeper = {}
        for name, module in level.items():
            part = _replaced(name, module, recorded[name], precision, margin)
            if part is not None:
                parts.append(part)
            else:
                for child, below in module.named_children():
                    if not isinstance(below, Replaced) and any(
                        isinstance(one, Replaced) or one._parameters for one in below.modules()
                    ):
                        deeper[f"{name}.{child}" if name else child] = below
        level = deeper
    return parts


def noise(model: nn.Module) -> list[list[Any]]:
    """The ways in which a model of waveforms can be called, each with several lengths."""
    if not any(isinstance(one, nn.Conv1d) and one.in_channels == 1 for one in model.modules()):
        return []
    draw = torch.Generator().manual_seed(0)
    waves = [torch.randn(size, generator=draw) for size in SAMPLES]
    masks = [torch.arange(wave.shape[1]) >= wave.shape[1] - 4_000 for wave in waves]
    ways: list[list[Any]] = [
        [(wave,) for wave in waves],
        [{"source": wave, "padding_mask": None} for wave in waves],
        [
            {"source": wave, "padding_mask": mask.expand_as(wave)}
            for wave, mask in zip(waves, masks)
        ],
    ]
    return [way for way in ways if _runs(model, way[0])]


def _runs(model: nn.Module, call: Any) -> bool:
    try:
        _call(model, call)
    except Exception:
        return False
    return True


def _call(model: nn.Module, call: Any) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        if isinstance(call, dict):
            return model(**call)
        return model(*call) if isinstance(call, tuple) else model(call)


def _recorded(
    model: nn.Module, modules: dict[str, nn.Module], ways: Sequence[Sequence[Any]]
) -> dict[str, list[list[_Call]]]:
    """Name → for each way, the calls of a module while the model ran."""
    found: dict[str, list[list[_Call]]] = {name: [[] for _ in ways] for name in modules}
    hooks = []
    at = 0

    def copied(tree: Any) -> Any:
        return tree_flatten(tree_map_only(Tensor, lambda one: one.detach().clone(), tree))

    for name, module in modules.items():

        def before(_: Any, args: Any, kwargs: Any, name: str = name) -> None:
            found[name][at].append(_Call(*copied((args, kwargs))))

        def after(_: Any, args: Any, kwargs: Any, result: Any, name: str = name) -> None:
            call = found[name][at][-1]
            call.result, call.result_structure = copied(result)

        hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
        hooks.append(module.register_forward_hook(after, with_kwargs=True))
    try:
        for at, way in enumerate(ways):  # noqa: B007
            for call in way:
                _call(model, call)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _replaced(
    name: str, module: nn.Module, ways: list[list[_Call]], precision: str, margin: float
) -> Part | None:
    """Replace a module if that is faster and computes the same."""
    if any(is_watched(part) or "forward" in vars(part) for part in module.modules()):
        return None
    calls = [calls for calls in ways if calls]
    runs = "openvino"
    replacement: _Compiled | _Leaf | None = None
    if _has("openvino"):
        replacement = _compiled(module, calls, precision)
    elif type(module) is nn.Linear or (type(module) is nn.Conv1d and precision != "exact"):
        runs = "onednn" if precision == "exact" else "torch bf16"
        replacement = _Leaf(module, _dtype(precision))
    if replacement is None or not calls:
        return None
    best = [math.inf, math.inf]
    longest = max(calls[0], key=lambda call: sum(one.numel() for one in call.tensors()))
    with torch.inference_mode():
        for _ in range(_REPEATS):
            for number, run in enumerate((module.__call__, replacement)):
                args, kwargs = tree_unflatten(longest.given, longest.structure)
                start = time.perf_counter()
                run(*args, **kwargs)
                best[number] = min(best[number], 1e3 * (time.perf_counter() - start))
    if best[1] >= margin * best[0]:
        return None
    replacement.install()
    return Part(name, runs, *best)


def _compiled(module: nn.Module, ways: list[list[_Call]], precision: str) -> _Compiled | None:
    """Compile a module, if the result is right for calls of other sizes than it was traced with."""
    graphs: list[Graph] = []
    try:
        for calls in ways:
            if any(graph.call.fits(calls[0].given, calls[0].structure) for graph in graphs):
                continue
            graph = Graph(module, calls, precision)
            for call in calls:
                result, structure = tree_flatten(graph.run(call.tensors()))
                if (
                    not graph.call.fits(call.given, call.structure)
                    or structure != call.result_structure
                    or not all(map(_close(precision), result, call.result))
                ):
                    return None
            graphs.append(graph)
    except Exception:
        # What cannot be converted, or only for one size, stays as it is.
        return None
    return _Compiled(module, graphs) if graphs else None


def _close(precision: str) -> Callable[[Any, Any], bool]:
    def close(one: Any, two: Any) -> bool:
        if not isinstance(two, Tensor):
            return _alike(one, two)
        if one.shape != two.shape or one.dtype != two.dtype:
            return False
        error = (one.double() - two.double()).norm()
        return bool(error <= _TOLERANCE[precision] * two.double().norm())

    return close
