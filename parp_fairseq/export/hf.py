"""A folder for `transformers`: Wav2Vec2ForCTC, its processor and its vocabulary.

Written without transformers. Both libraries then compute the same from the same input: fairseq
hands its padding mask to every wav2vec 2.0, so the feature extractor here asks for an attention
mask, for models with group norm too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import LETTER, MARKS, PIECE
from parp_fairseq.checkpoints.finetuned import FineTuned, open_finetuned
from parp_fairseq.checkpoints.hf_folder import (
    AUDIO_FILE,
    CONFIG_FILE,
    SAMPLE_RATE,
    SPECIAL_FILE,
    TOKENS_FILE,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
)
from parp_fairseq.checkpoints.vocabulary import TRAINING_KEYS, Architecture, to_transformers
from parp_fairseq.errors import UserError
from parp_fairseq.export.export_folder import check_folder, summary, writing_folder
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

FORM = "hf"
FILES = (CONFIG_FILE, WEIGHTS_FILE, AUDIO_FILE, SPECIAL_FILE, TOKENS_FILE, VOCABULARY_FILE)

# fairseq's CTC blank is <s>, at 0; transformers calls the blank <pad>.
_SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def export_hf(
    checkpoint: PathLike, out: PathLike, *, force: bool = False, sparsity: float | None = None
) -> dict[str, Any]:
    """Write a fine-tuned wav2vec 2.0 as a folder `out` that `transformers` opens.

    It is pruned to `sparsity` first, if given; `check_folder` says what `force` replaces. Returns
    {"format", "out", "files", "bytes"}. UserError where it cannot be exported (another kind of
    model, a layer that Wav2Vec2ForCTC lacks), or the folder cannot be written.
    """
    out = check_folder(out, FILES, FORM, inputs=[checkpoint], force=force)
    source = open_finetuned(checkpoint, sparsity=sparsity)

    from safetensors.torch import save

    settings = source.complete_settings()
    if source.info.kind != "wav2vec2":
        raise UserError(
            f"{source.path} is a {source.info.kind}; only wav2vec 2.0 (and XLSR) is exported to "
            "Wav2Vec2ForCTC"
        )
    architecture = Architecture.from_fairseq(settings["model"], source.weights, source.path)
    depth, weight = architecture.position_depth, architecture.blank_weight
    if depth != 1 or weight:
        has = f"pos_conv_depth={depth}" if depth != 1 else f"model.blank_weight={weight:g}"
        raise UserError(f"{source.path}: its network has {has}, which Wav2Vec2ForCTC lacks")
    texts = {
        CONFIG_FILE: _config(architecture, settings),
        AUDIO_FILE: {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "processor_class": "Wav2Vec2Processor",
            "feature_size": 1,
            "sampling_rate": SAMPLE_RATE,
            "padding_side": "right",
            "padding_value": 0.0,
            "do_normalize": bool(source.info.normalize),
            "return_attention_mask": True,
        },
        **_tokenizer(source),
    }
    tensors = _tensors(source, architecture.width)
    with writing_folder(out, WEIGHTS_FILE, texts, FORM) as stage:
        # Its own save_file makes files that only their owner can read.
        (stage / WEIGHTS_FILE).write_bytes(save(tensors, metadata={"format": "pt"}))
    return summary(out, FORM, FILES)


def _config(architecture: Architecture, settings: Mapping[str, Any]) -> dict[str, Any]:
    tuned = settings["model"]
    return {
        "architectures": ["Wav2Vec2ForCTC"],
        "model_type": "wav2vec2",
        "dtype": "float32",
        "torch_dtype": "float32",  # The same, for transformers 4.
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **architecture.to_transformers(),
        **{theirs: tuned.get(ours, default) for ours, theirs, default in TRAINING_KEYS},
        "ctc_loss_reduction": "sum",
        "ctc_zero_infinity": bool((settings.get("criterion") or {}).get("zero_infinity", False)),
    }


def _tokenizer(source: FineTuned) -> dict[str, dict[str, Any]]:
    symbols = [*_SPECIAL.values(), *source.symbols]
    about: dict[str, Any] = {**_SPECIAL, "processor_class": "Wav2Vec2Processor"}
    if source.joining == PIECE:
        # Joined, the pieces give the words: transformers knows no word mark inside of a token.
        symbols = [symbol.replace(MARKS[PIECE], " ") for symbol in symbols]
        about |= {"tokenizer_class": "Wav2Vec2CTCTokenizer", "word_delimiter_token": " "}
    elif source.labels == "ltr" or source.joining == LETTER:
        about |= {"tokenizer_class": "Wav2Vec2CTCTokenizer", "word_delimiter_token": "|"}
    else:
        about |= {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "do_phonemize": False}
    return {
        VOCABULARY_FILE: {symbol: number for number, symbol in enumerate(symbols)},
        TOKENS_FILE: about,
        SPECIAL_FILE: _SPECIAL,
    }


def _tensors(source: FineTuned, width: int) -> dict[str, Tensor]:
    import torch

    tensors: dict[str, Tensor] = {}
    for name, tensor in source.weights.items():
        renamed = to_transformers(name)
        if renamed is None:
            raise UserError(f"{source.path} holds {name}, which Wav2Vec2ForCTC lacks")
        # Half-precision runs save half-precision weights; fairseq decodes in fp32 by default.
        tensors[renamed] = tensor.detach().float().contiguous()
    projection = "wav2vec2.feature_projection.projection."
    if f"{projection}weight" not in tensors:
        # fairseq leaves the projection out where the sizes agree; transformers always has one.
        tensors[f"{projection}weight"] = torch.eye(width)
        tensors[f"{projection}bias"] = torch.zeros(width)
    return tensors
