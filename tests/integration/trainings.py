"""Small trainings with transformers, for the tests of its callback."""

from __future__ import annotations

import torch
import transformers


def tiny_bert(seed: int = 1, layers: int = 2, dropout: float = 0.1):
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(seed)
    return transformers.BertForSequenceClassification(config)


def tiny_xlnet(seed: int = 1):
    config = transformers.XLNetConfig(vocab_size=40, d_model=16, n_layer=2, n_head=2, d_inner=24)
    torch.manual_seed(seed)
    return transformers.XLNetForSequenceClassification(config)


def tiny_wav2vec2(seed: int = 1):
    config = transformers.Wav2Vec2Config(
        vocab_size=12,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0,
    )
    torch.manual_seed(seed)
    return transformers.Wav2Vec2ForCTC(config)


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


def trainer(folder, model, *callbacks, data=None, **options):
    data = data or texts()
    return transformers.Trainer(
        model=model,
        args=arguments(folder, **options),
        train_dataset=data,
        eval_dataset=data,
        callbacks=list(callbacks),
    )
