"""Pre-train the tiny wav2vec 2.0 that ships with the package, on synthetic speech, on one core.

The architecture and the file are wav2vec 2.0's. The objective is HuBERT's: predict, at masked
frames, the cluster of what was there; wav2vec 2.0's contrastive loss stays at chance for too long
at this size. Round 1 predicts clusters of MFCCs; each later round, clusters of what a middle layer
of the model so far makes of the unmasked audio.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parp_fairseq.demo.sentences import LANGUAGES, phrase, sentence
from parp_fairseq.demo.voices import SAMPLE_RATE, Speaker, draw_speakers, speak
from parp_fairseq.errors import UserError
from parp_fairseq.files import replacing, write_json
from tiny_model.clusters import assign, fit_clusters, frame_count, mfcc

logger = logging.getLogger(__name__)

PRETRAINING_WORDS_FILE = Path(__file__).with_name("pretraining_words.txt")

# wav2vec 2.0 base in small: 320 samples a frame, group norm at the front, post-norm layers.
ARCHITECTURE: dict[str, Any] = {
    "_name": "wav2vec2",
    "extractor_mode": "default",
    "conv_feature_layers": "[(48,20,10),(64,8,4),(64,4,4),(64,2,2)]",
    "conv_bias": False,
    "encoder_layers": 6,
    "encoder_embed_dim": 128,
    "encoder_ffn_embed_dim": 512,
    "encoder_attention_heads": 4,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "conv_pos": 16,
    "conv_pos_groups": 16,
    "final_dim": 8,
    "quantize_targets": False,
    "feature_grad_mult": 1.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "dropout_input": 0.0,
    "dropout_features": 0.0,
    "encoder_layerdrop": 0.0,
    "mask_prob": 0.65,
    "mask_length": 10,
}


@dataclass(frozen=True)
class Round:
    """One round of masked prediction of clusters of MFCCs, or of a `layer` (from 0) of the model.

    The learning rate rises for 200 updates to `peak_lr` and falls linearly to `final_lr`.
    """

    clusters: int
    layer: int | None
    updates: int
    peak_lr: float
    final_lr: float


@dataclass(frozen=True)
class Settings:
    """Everything the result depends on, besides the speech; no `languages`: English."""

    seed: int = 1
    languages: tuple[str, ...] = ()
    width: int = 128
    speakers: int = 480
    utterances: int = 20
    held_out: int = 6
    batch: int = 16
    crop_seconds: float = 2.5
    mask_share: float = 0.57
    mask_length: int = 10
    mask_dropout: float = 0.3
    unmasked_weight: float = 0.5
    weight_decay: float = 0.05
    rounds: tuple[Round, ...] = (
        Round(clusters=100, layer=None, updates=1000, peak_lr=1.5e-3, final_lr=1e-3),
        Round(clusters=150, layer=3, updates=3500, peak_lr=1.5e-3, final_lr=0.0),
    )


def architecture(settings: Settings) -> dict[str, Any]:
    """`ARCHITECTURE` in the width that the settings ask for."""
    wide = {"encoder_embed_dim": settings.width, "encoder_ffn_embed_dim": 4 * settings.width}
    return ARCHITECTURE | ({} if settings.width == Settings.width else wide)


def build_model(settings: Settings) -> torch.nn.Module:
    """fairseq's `Wav2Vec2Model` of `architecture`, freshly initialised from torch's generator."""
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    values = {key: value for key, value in architecture(settings).items() if key != "_name"}
    return Wav2Vec2Model(OmegaConf.merge(OmegaConf.structured(Wav2Vec2Config), values))


def save_checkpoint(model: torch.nn.Module, settings: Settings, path: Path, updates: int) -> None:
    """Write `model` as a wav2vec 2.0 checkpoint of fairseq's, tensors in half precision."""
    task = {"data": "", "sample_rate": SAMPLE_RATE, "normalize": False}
    history = {"criterion_name": "Wav2vecCriterion", "optimizer_name": "FairseqAdam"}
    state = {
        "args": None,
        "cfg": {
            "common": {"fp16": False},
            "model": architecture(settings),
            "task": {"_name": "audio_pretraining", **task},
            "criterion": {"_name": "wav2vec"},
            # Official 0.12.2 sets this key to None and must find it there.
            "lr_scheduler": None,
        },
        "model": {name: value.half().clone() for name, value in model.state_dict().items()},
        "optimizer_history": [
            {**history, "lr_scheduler_state": {"best": None}, "num_updates": updates}
        ],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "last_optimizer_state": None,
    }
    with replacing(path) as partial:
        torch.save(state, partial)


@dataclass(frozen=True)
class Speech:
    """Utterances end to end: utterance i is `samples[offsets[i]:offsets[i + 1]]` (int16)."""

    samples: np.ndarray
    offsets: np.ndarray

    @classmethod
    def joined(cls, pieces: list[np.ndarray]) -> Speech:
        """These utterances."""
        return cls(np.concatenate(pieces), np.cumsum([0, *map(len, pieces)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def utterance(self, index: int) -> np.ndarray:
        """float32 samples of one utterance, within [-1, 1]."""
        piece = self.samples[self.offsets[index] : self.offsets[index + 1]]
        return piece.astype(np.float32) / 32768.0


def make_speech(settings: Settings, work: Path) -> Speech:
    """Unlabelled speech for pre-training, kept in `work` (about 1 GB for 8 hours)."""
    path = work / "speech.npz"
    if not path.exists():
        pieces = []
        speakers = _speakers(settings, np.random.default_rng([settings.seed, 7]))
        for number, (speaker, texts) in enumerate(speakers, start=1):
            pieces += [np.round(32767 * samples).astype("<i2") for samples in speak(speaker, texts)]
            if number % 50 == 0:
                logger.info("spoke for %d of %d speakers", number, settings.speakers)
        speech = Speech.joined(pieces)
        with replacing(path) as partial:
            np.savez(partial, samples=speech.samples, offsets=speech.offsets)
    with np.load(path) as arrays:
        return Speech(arrays["samples"], arrays["offsets"])


def _speakers(settings: Settings, rng: np.random.Generator) -> Iterator[tuple[Speaker, list[str]]]:
    """Every speaker with what it says, a third of them with odd voices or accents, and noise."""
    if not settings.languages:
        clean, other = draw_speakers(
            rng, settings.speakers * 2 // 3, settings.speakers // 3, odd=True
        )
        drawn = [("", speaker) for speaker in clean + other]
    else:
        drawn = []
        for number, language in enumerate(settings.languages):
            # A number that does not divide evenly: the first languages have one speaker more.
            count = len(range(number, settings.speakers, len(settings.languages)))
            voice = (LANGUAGES[language],)
            clean, other = draw_speakers(
                rng, count - count // 3, count // 3, odd=True, near=voice, far=voice
            )
            drawn += [(language, speaker) for speaker in clean + other]
    for index in rng.permutation(len(drawn)):
        language, speaker = drawn[index]
        yield (
            speaker,
            [
                phrase(rng, language) if language else sentence(rng, PRETRAINING_WORDS_FILE)
                for _ in range(settings.utterances)
            ],
        )


def make_targets(
    settings: Settings, number: int, speech: Speech, model: torch.nn.Module, work: Path
) -> np.ndarray:
    """Cluster of every frame of every utterance, end to end (int16), for one round."""
    path = work / f"targets{number}.npy"
    if not path.exists():
        this = settings.rounds[number]
        rng = np.random.default_rng([settings.seed, 11, number])
        model.eval()

        def describe(samples: np.ndarray) -> np.ndarray:
            if this.layer is None:
                return mfcc(samples)
            source = torch.from_numpy(samples)[None]
            with torch.no_grad():
                out = model(source, mask=False, features_only=True, layer=this.layer)
            return out["x"][0].numpy()

        chosen = rng.choice(len(speech), size=min(1000, len(speech)), replace=False)
        frames = np.concatenate([describe(speech.utterance(i)) for i in chosen])
        frames = frames[rng.permutation(len(frames))[:60_000]]
        centres = fit_clusters(frames, this.clusters, seed=settings.seed + number)
        labels = [assign(describe(speech.utterance(i)), centres) for i in range(len(speech))]
        with replacing(path) as partial:
            np.save(partial, np.concatenate(labels).astype(np.int16))
    return np.load(path)


def draw_batch(
    settings: Settings,
    speech: Speech,
    targets: np.ndarray,
    starts: np.ndarray,
    seed: list[int],
    *,
    held_out: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops of one length, their targets and which frames to mask.

    Args:
        targets: clusters of all frames, end to end; `starts` is each utterance's offset there.
        held_out: crop the last `settings.held_out` speakers, otherwise all the others.

    Returns:
        float32 (batch, samples), int64 (batch, frames), bool (batch, frames).
    """
    rng = np.random.default_rng(seed)
    frames = frame_count(int(settings.crop_seconds * SAMPLE_RATE))
    split = len(speech) - settings.held_out * settings.utterances
    low, high = (split, len(speech)) if held_out else (0, split)
    sources, labels = [], []
    while len(sources) < settings.batch:
        index = int(rng.integers(low, high))
        length = int(starts[index + 1] - starts[index])
        if length < frames:
            continue
        first = int(rng.integers(length - frames + 1))
        samples = speech.utterance(index)[320 * first : 320 * (first + frames - 1) + 370]
        sources.append(samples * np.float32(rng.uniform(0.5, 1.5)))
        labels.append(targets[starts[index] + first : starts[index] + first + frames])
    mask = np.stack([_spans(rng, frames, settings) for _ in sources])
    return np.stack(sources), np.stack(labels).astype(np.int64), mask


def _spans(rng: np.random.Generator, frames: int, settings: Settings) -> np.ndarray:
    """Frames to mask: spans with holes, as many in every row (fairseq's model wants that)."""
    covered = round(settings.mask_share * frames)
    row = np.zeros(frames, dtype=bool)
    while row.sum() < covered:
        first = int(rng.integers(1 - settings.mask_length, frames))
        row[max(0, first) : first + settings.mask_length] = True
    masked = np.flatnonzero(row)
    keep = round((1 - settings.mask_dropout) * covered)
    row[rng.choice(masked, size=len(masked) - keep, replace=False)] = False
    return row


def pretrain(
    settings: Settings,
    work: Path,
    out: Path,
    *,
    speech: Speech | None = None,
    save_every: int = 500,
    stop: int | None = None,
) -> None:
    """Make the tiny model, from speech to file; rerun it to resume after a kill.

    Args:
        work: folder for speech, targets and the state of the run.
        out: checkpoint to write, at the end of every round and every `save_every` updates.
        speech: what to train on; None makes synthetic speech of the settings' speakers.
        stop: end after so many updates of all rounds, with the learning rate that a whole run has
            there; None: after the last.

    Raises:
        UserError: espeak-ng is not installed; `work` has other settings; or `stop` is no update
            of the run, or one that the state in `work` is past.
    """
    last = sum(this.updates for this in settings.rounds)
    stop = last if stop is None else stop
    if not 1 <= stop <= last:
        raise UserError(f"--updates is {stop}, expected 1 to {last}")
    _check_work(settings, work)
    path = work / "training.pt"
    state = torch.load(path, weights_only=True) if path.exists() else {"update": 0}
    at = state["update"]
    if at > stop:
        raise UserError(f"{work} is at update {at}, past --updates {stop}; give another --work")
    torch.manual_seed(settings.seed)
    model = build_model(settings)
    width = architecture(settings)["encoder_embed_dim"]
    heads = [torch.nn.Linear(width, this.clusters) for this in settings.rounds]
    if at:
        model.load_state_dict(state["model"])
    if at == stop:
        save_checkpoint(model, settings, out, at)
        return
    speech = speech or make_speech(settings, work)
    starts = np.cumsum([0, *(frame_count(int(n)) for n in np.diff(speech.offsets))])
    logger.info("%.1f hours of speech", speech.offsets[-1] / SAMPLE_RATE / 3600)
    end = 0
    for number, (this, head) in enumerate(zip(settings.rounds, heads)):
        begin, end = end, end + this.updates
        if not begin <= at < end or at == stop:
            continue
        targets = make_targets(settings, number, speech, model, work)
        logger.info("round %d: %d clusters", number + 1, this.clusters)
        optimizer = _optimizer(model, head, settings.weight_decay)
        if at > begin:
            head.load_state_dict(state["head"])
            optimizer.load_state_dict(state["optimizer"])

        def losses_of(seed: list[int], held_out: bool = False) -> tuple[torch.Tensor, float]:
            batch = draw_batch(settings, speech, targets, starts, seed, held_out=held_out)  # noqa: B023
            return _losses(model, head, *map(torch.from_numpy, batch), settings)  # noqa: B023

        model.train()
        recent: list[float] = []
        while at < min(end, stop):
            _set_lr(optimizer, this, at - begin)
            loss, accuracy = losses_of([settings.seed, number, at - begin])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*model.parameters(), *head.parameters()], 1.0)
            optimizer.step()
            at += 1
            recent.append(accuracy)
            if at in (end, stop) or (at - begin) % save_every == 0:
                seed = [settings.seed, number, this.updates]
                model.eval()
                with torch.no_grad():
                    others = [losses_of([*seed, i], held_out=True)[1] for i in range(4)]
                model.train()
                shares = np.mean(recent), np.mean(others)
                logger.info("update %d: masked accuracy %.3f, held-out speakers %.3f", at, *shares)
                recent.clear()
                states = {"head": head.state_dict(), "optimizer": optimizer.state_dict()}
                with replacing(path) as partial:
                    torch.save({"update": at, "model": model.state_dict(), **states}, partial)
                save_checkpoint(model, settings, out, at)


def _check_work(settings: Settings, work: Path) -> None:
    """Note the settings in the work folder; refuse a folder of other settings."""
    note = work / "settings.json"
    wanted = json.loads(json.dumps(asdict(settings)))
    if not note.is_file():
        write_json(note, wanted)
        return
    found = json.loads(note.read_text(encoding="utf-8"))
    for key, value in wanted.items():
        if found.get(key) != value:
            raise UserError(
                f"{work} was begun with {key} {found.get(key)}, not {value}; give another --work"
            )


def _optimizer(model: torch.nn.Module, head: torch.nn.Module, weight_decay: float) -> Any:
    decayed = [p for p in model.parameters() if p.dim() > 1] + [head.weight]
    plain = [p for p in model.parameters() if p.dim() <= 1] + [head.bias]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        eps=1e-6,
    )


def _set_lr(optimizer: Any, this: Round, update: int) -> None:
    warm = min(200, this.updates // 2)
    if update < warm:
        lr = this.peak_lr * (update + 1) / warm
    else:
        left = (this.updates - update) / (this.updates - warm)
        lr = this.final_lr + (this.peak_lr - this.final_lr) * left
    for group in optimizer.param_groups:
        group["lr"] = lr


def _losses(
    model: torch.nn.Module,
    head: torch.nn.Module,
    source: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor,
    settings: Settings,
) -> tuple[torch.Tensor, float]:
    """Cross-entropy (scalar, nats) and share of masked frames whose cluster was guessed."""
    from torch.nn.functional import cross_entropy

    hidden = model(source, mask=True, mask_indices=mask, features_only=True)["x"]
    logits = head(hidden)
    masked, wanted = logits[mask], labels[mask]
    loss = cross_entropy(masked, wanted)
    if settings.unmasked_weight > 0:
        loss = loss + settings.unmasked_weight * cross_entropy(logits[~mask], labels[~mask])
    return loss, (masked.argmax(-1) == wanted).float().mean().item()
