"""An n-gram of words and its lexicon, from training text, for `parp eval --lm --lexicon`.

    python examples/word_ngram.py data/10min/train.ltr more.txt --order 3 --out lm

writes lm.arpa and lm.lexicon. A file that ends in .ltr holds labels (letters, `|` after a word),
any other a sentence a line, in the case of the labels. Probabilities are interpolated (I. Witten
and T. Bell, 1991); for much text use KenLM's own lmplz, whose smoothing is better.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
Gram = tuple[str, ...]


def sentences(file: Path) -> Iterable[list[str]]:
    """The words of each line."""
    for line in file.read_text(encoding="utf-8").splitlines():
        words = line.replace(" ", "").replace("|", " ") if file.suffix == ".ltr" else line
        if words.split():
            yield words.split()


def arpa(text: Iterable[list[str]], order: int) -> list[str]:
    """The lines of an ARPA file of n-grams up to `order`."""
    counts: dict[Gram, Counter[str]] = defaultdict(Counter)  # history → what follows it
    for words in text:
        words = [BEGIN, *words, END]
        for end in range(1, len(words)):
            for start in range(max(0, end - order + 1), end + 1):
                counts[tuple(words[start:end])][words[end]] += 1
    known = [*sorted(counts[()]), UNKNOWN]

    def backoff(history: Gram) -> float:
        """The share of unseen words after a history: as many as there are different seen ones."""
        return len(counts[history]) / (len(counts[history]) + sum(counts[history].values()))

    def probability(history: Gram, word: str) -> float:
        if history not in counts:
            return probability(history[1:], word)
        lower = probability(history[1:], word) if history else 1 / len(known)
        seen = counts[history][word] / sum(counts[history].values())
        return seen * (1 - backoff(history)) + backoff(history) * lower

    grams = {1: [(BEGIN,), *((word,) for word in known)]}
    for length in range(2, order + 1):
        found = [history for history in counts if len(history) == length - 1]
        grams[length] = sorted((*history, word) for history in found for word in counts[history])
    lines = ["\\data\\", *(f"ngram {length}={len(found)}" for length, found in grams.items())]
    for length, found in grams.items():
        lines += ["", f"\\{length}-grams:"]
        for gram in found:
            chance = -99 if gram == (BEGIN,) else math.log10(probability(gram[:-1], gram[-1]))
            row = f"{chance:.6f}\t{' '.join(gram)}"
            if length < order and gram in counts:
                row += f"\t{math.log10(backoff(gram)):.6f}"
            lines.append(row)
    return [*lines, "", "\\end\\"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="+", type=Path, help="label files (.ltr), or plain text")
    parser.add_argument("--order", type=int, default=3, choices=range(2, 7), help="default: 3")
    parser.add_argument("--out", type=Path, required=True, help="OUT.arpa and OUT.lexicon")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    options = parser.parse_args()
    try:
        read = [words for file in options.text for words in sentences(file)]
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"{error}; give text in UTF-8")
    for suffix in (".arpa", ".lexicon"):
        file = options.out.with_name(options.out.name + suffix)
        if file.exists() and not options.force:
            parser.error(f"{file} already exists; choose another --out or use --force")
    if not read:
        parser.error(f"{options.text[0]}: no words in it")
    lexicon = [f"{word}\t{' '.join(word)} |" for word in sorted({w for ws in read for w in ws})]
    for suffix, lines in ((".arpa", arpa(read, options.order)), (".lexicon", lexicon)):
        file = options.out.with_name(options.out.name + suffix)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(file)
