"""Small trainings with transformers, for the tests of its callback."""

from __future__ import annotations

from typing import Any

import torch
import transformers


def _tiny(name: str, seed: int, dropout: float = 0.0, **options: Any):
    cls = getattr(transformers, name)
    config = cls.config_class(**options)
    for key, value in list(vars(config).items()):
        if "drop" in key and isinstance(value, float):
            setattr(config, key, dropout)
    torch.manual_seed(seed)
    return cls(config)


def tiny_bert(seed: int = 1, layers: int = 2, dropout: float = 0.1):
    return _tiny(
        "BertForSequenceClassification",
        seed,
        dropout,
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
    )


def tiny_xlnet(seed: int = 1):
    sizes = {"vocab_size": 40, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24}
    return _tiny("XLNetForSequenceClassification", seed, **sizes)


_SPEECH = {
    "vocab_size": 12,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_prob": 0.0,
}


def tiny_wav2vec2(seed: int = 1):
    return _tiny("Wav2Vec2ForCTC", seed, **_SPEECH)


def tiny_wavlm(seed: int = 1):
    return _tiny("WavLMForCTC", seed, **_SPEECH)


def tiny_gpt2(seed: int = 1):
    sizes = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
    return _tiny("GPT2LMHeadModel", seed, **sizes)


def tiny_t5(seed: int = 1):
    sizes = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2}
    more = {"num_heads": 2, "decoder_start_token_id": 0}
    return _tiny("T5ForConditionalGeneration", seed, **sizes, **more)


def tiny_vit(seed: int = 1):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    more = {"intermediate_size": 24, "image_size": 8, "patch_size": 4}
    return _tiny("ViTForImageClassification", seed, **sizes, **more)


def sentences(count: int = 8, seed: int = 3):
    """Examples for language models, which predict their input."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(2, 40, (count, 8), generator=draw)
    return [{"input_ids": row, "labels": row.clone()} for row in rows]


def pictures(count: int = 8, seed: int = 3):
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, 3, 8, 8, generator=draw)
    return [{"pixel_values": row, "labels": n % 2} for n, row in enumerate(rows)]


def texts(count: int = 24, seed: int = 3, length: int = 6):
    """Examples whose label is whether the first token is an even one."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(5, 40, (count, length), generator=draw)
    return [{"input_ids": row, "labels": int(row[0] % 2)} for row in rows]


def sounds(count: int = 8, seed: int = 3):
    draw = torch.Generator().manual_seed(seed)
    return [
        {
            "input_values": torch.randn(400, generator=draw),
            "labels": torch.randint(1, 12, (3,), generator=draw),
        }
        for _ in range(count)
    ]


def arguments(folder, **options):
    plain = {
        "max_steps": 8,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 5,
    }
    return transformers.TrainingArguments(output_dir=str(folder), **{**plain, **options})


def trainer(folder, model, *callbacks, data=None, cls=transformers.Trainer, **options):
    data = data or texts()
    return cls(
        model=model,
        args=arguments(folder, **options),
        train_dataset=data,
        eval_dataset=data,
        callbacks=list(callbacks),
    )
