"""A made-up GLUE folder, and small models of transformers with tokenizers for it."""

from __future__ import annotations

import random
from pathlib import Path

GOOD = ("good", "fine", "great", "sweet")
BAD = ("bad", "poor", "awful", "sour")
THINGS = ("tea", "soup", "cake", "bread", "milk", "rice")
WORDS = (*GOOD, *BAD, *THINGS, "the", "is", "and")


def _sentence(rng: random.Random, words: tuple[str, ...]) -> str:
    extra = " and ".join(rng.sample(THINGS, rng.randint(1, 3)))
    return f"the {extra} is {rng.choice(words)}"


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def glue_folder(root: Path, train: int = 40, dev: int = 24) -> Path:
    """CoLA (one sentence), RTE (a pair) and STS-B (scores), which a small model can learn."""
    rng = random.Random(0)
    for split, rows in (("train", train), ("dev", dev)):
        labels = [row % 2 for row in range(rows)]
        _write(
            root / "CoLA" / f"{split}.tsv",
            [f"x\t{label}\t\t{_sentence(rng, (BAD, GOOD)[label])}" for label in labels],
        )
        pairs = [
            (_sentence(rng, GOOD), _sentence(rng, (BAD, GOOD)[label]), label) for label in labels
        ]
        names = ("not_entailment", "entailment")
        _write(
            root / "RTE" / f"{split}.tsv",
            ["index\tsentence1\tsentence2\tlabel"]
            + [f"{n}\t{a}\t{b}\t{names[label]}" for n, (a, b, label) in enumerate(pairs)],
        )
        _write(
            root / "STS-B" / f"{split}.tsv",
            ["index\tsentence1\tsentence2\tscore"]
            + [f"{n}\t{a}\t{b}\t{4.5 * label + 0.25}" for n, (a, b, label) in enumerate(pairs)],
        )
    return root


def _tokenizer(left: bool = False):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: n for n, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # XLNet has its class token last.
    form = "$A [SEP] [CLS]" if left else "[CLS] $A [SEP]"
    both = "$A [SEP] $B:1 [SEP]:1 [CLS]" if left else "[CLS] $A [SEP] $B:1 [SEP]:1"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=form, pair=both, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        padding_side="left" if left else "right",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def bert_folder(root: Path, width: int = 32, dropout: float = 0.1) -> Path:
    """Two layers of BERT with random weights."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS) + 4,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=128,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(root)
    _tokenizer().save_pretrained(root)
    return root


def xlnet_folder(root: Path) -> Path:
    """Two layers of XLNet with random weights."""
    import torch
    from transformers import XLNetConfig, XLNetModel

    torch.manual_seed(0)
    config = XLNetConfig(vocab_size=len(WORDS) + 4, d_model=32, n_layer=2, n_head=2, d_inner=64)
    XLNetModel(config).save_pretrained(root)
    _tokenizer(left=True).save_pretrained(root)
    return root
