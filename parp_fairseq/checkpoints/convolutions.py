"""A feature extractor's convolutions, from the text that a checkpoint holds."""

from __future__ import annotations

import ast
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike


def convolutions(text: str, path: PathLike) -> list[tuple[int, int, int]]:
    """Convolutions as (width, kernel, stride), from lists of tuples, added and multiplied.

    >>> convolutions("[(512,10,5)] + [(512,3,2)] * 2", "model.pt")
    [(512, 10, 5), (512, 3, 2), (512, 3, 2)]

    Args:
        text: `conv_feature_layers`; nothing in it is executed.
        path: the checkpoint, for the error.

    Raises:
        UserError: the text is something else.
    """

    def value(node: ast.AST) -> Any:
        if isinstance(node, ast.BinOp):
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.Add) and isinstance(left, list):
                return left + right
            if (
                isinstance(node.op, ast.Mult)
                and isinstance(left, list)
                and len(left) * right < 1000
            ):
                return left * right
            raise ValueError(text)
        return ast.literal_eval(node)

    try:
        layers = value(ast.parse(text.strip(), mode="eval").body)
        return [(int(width), int(kernel), int(stride)) for width, kernel, stride in layers]
    except (SyntaxError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: its conv_feature_layers are {text[:60]!r}, which are no (width, kernel, "
            "stride)"
        ) from error
