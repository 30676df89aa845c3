"""A CTC model as one ONNX graph: waveforms and their lengths in, log probabilities out."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parp_fairseq.inference.network import Wav2Vec2Ctc

INPUTS, OUTPUT = ("input_values", "input_lengths"), "logprobs"
OPSET = 18

_EPS = 1e-5
# Log probability of what is no blank after the end of an utterance.
_NEVER = -1e4
_TINY = 20.0


class Graph(nn.Module):
    """The network with what fairseq does before and after it."""

    def __init__(self, network: Wav2Vec2Ctc, normalize: bool, blank: int) -> None:
        """Wrap a network in evaluation mode; `blank` is the row of the CTC blank.

        Where `normalize`, each waveform is brought to mean 0 and variance 1, as task.normalize
        does.
        """
        super().__init__()
        self.network = network
        self.normalize = normalize
        after = torch.full((network.architecture.symbols,), _NEVER)
        after[blank] = 0.0
        self.register_buffer("after", after)

    def forward(self, input_values: Tensor, input_lengths: Tensor) -> Tensor:
        """Log probabilities (batch, frames, symbols); after an utterance's end, of the blank.

        `input_values` (batch, samples) are at 16 kHz, as recorded; `input_lengths` (batch), int64,
        say where a waveform ends: what comes after it does not count.
        """
        real = torch.arange(input_values.shape[1])[None, :] < input_lengths[:, None]
        x = torch.where(real, input_values, 0.0)
        if self.normalize:
            count = input_lengths[:, None].to(x.dtype)
            x = torch.where(real, x - x.sum(1, keepdim=True) / count, 0.0)
            x = x / torch.sqrt((x * x).sum(1, keepdim=True) / count + _EPS)
        logprobs = torch.log_softmax(self.network(x, ~real), -1)
        frames = self.network.architecture.frames(input_lengths)
        seen = torch.arange(logprobs.shape[1])[None, :] < frames[:, None]
        return torch.where(seen[..., None], logprobs, self.after)


def write_graph(graph: Graph, path: Path) -> None:
    """Trace a graph into a file; batch and lengths stay free."""
    # Torch's older exporter: it needs no onnxscript, takes a hundredth of the time, and its graph
    # is as small. Before torch 2.5 there was no other.
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            sample(graph),
            str(path),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={
                INPUTS[0]: {0: "batch", 1: "samples"},
                INPUTS[1]: {0: "batch"},
                OUTPUT: {0: "batch", 1: "frames"},
            },
            opset_version=OPSET,
            **options,
        )


def difference(graph: Graph, path: Path) -> float:
    """The largest difference of log probabilities between torch and onnxruntime.

    Of noise, in two batches of other lengths than the graph was traced with. Below -20 (e^-20 is
    never chosen) differences count in parts of a twentieth of the value: fp32 has no finer ones.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for seconds in ((0.7,), (0.9, 0.4)):
        waves, lengths = sample(graph, seconds)
        (theirs,) = session.run([OUTPUT], {INPUTS[0]: waves.numpy(), INPUTS[1]: lengths.numpy()})
        with torch.no_grad():
            ours = graph(waves, lengths)
        if tuple(theirs.shape) != tuple(ours.shape):
            return float("inf")
        scale = (ours.abs() / _TINY).clamp(min=1.0)
        gap = float(((ours - torch.from_numpy(theirs)).abs() / scale).max())
        # A comparison with NaN is never true.
        largest = gap if not gap <= largest else largest
    return largest


def sample(graph: Graph, seconds: tuple[float, ...] = (1.0, 0.6)) -> tuple[Tensor, Tensor]:
    """A batch of quiet noise, the longest first, and its lengths in samples."""
    least = graph.network.architecture.receptive_field
    lengths = [max(least, int(16_000 * length)) for length in seconds]
    generator = torch.Generator().manual_seed(1)
    waves = 0.1 * torch.randn(len(lengths), max(lengths), generator=generator)
    return waves, torch.tensor(lengths)
