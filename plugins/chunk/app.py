"""Divides long texts before they are embedded, and joins the vectors of their parts.

An encoder sees only the beginning of a text that is longer than its context. Here each text becomes parts that overlap. The
vector of the text is the mean of their vectors, each counted by its part's length, scaled to the length of a vector.

Configuration, with all keys optional and these defaults: {"characters": 1000, "overlap": 100}.
"""

import json
import math

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.embedding import (
    Vectors,
    VectorsVerdict_Replace,
    VectorsVerdict_Unchanged,
    Verdict_Refuse,
    Verdict_Replace,
    Verdict_Unchanged,
)
from wit_world.exports.lifecycle import Info

# Texts of a request at most, parts included.
TEXTS_MAX = 2048
# Where a text is divided, the best place first.
ENDS = ["\n\n", "\n", ". ", "! ", "? ", "。", "; ", ", ", " "]

characters, overlap = 1000, 100
# The lengths of the parts of each text of the request.
parts_of_texts: list[list[int]] = []


def number(config: dict[str, object], key: str, default: int, least: int) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise Err(f'configuration key "{key}" must be a whole number from {least} on')
    return value


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Info(name="chunk", version="0.1.0", description="Divides long texts, and joins the vectors of their parts.")

    def init(self, config_json):
        global characters, overlap
        config = json.loads(config_json)
        for key in config:
            if key not in ("characters", "overlap"):
                raise Err(f'unknown configuration key "{key}", use one of: characters, overlap')
        characters = number(config, "characters", 1000, 20)
        overlap = number(config, "overlap", min(100, characters // 4), 0)
        if overlap > characters // 2:
            raise Err('configuration key "overlap" must be at most half of "characters"')


def end_of_part(text: str, start: int) -> int:
    """The end of the part that begins at `start`: the last good place in its second half."""
    end = start + characters
    if end >= len(text):
        return len(text)
    for mark in ENDS:
        found = text.rfind(mark, start + characters // 2, end)
        if found >= 0:
            return found + len(mark)
    return end


def divided(text: str) -> list[str]:
    parts = []
    start = 0
    while True:
        end = end_of_part(text, start)
        part = text[start:end].strip()
        if part:
            parts.append(part)
        if end == len(text):
            return parts or [text]
        # The next part begins at a word.
        begin = max(end - overlap, start + 1)
        blank = text.find(" ", begin, end)
        start = blank + 1 if blank >= 0 else begin


class Embedding(exports.Embedding):
    def before(self, request):
        global parts_of_texts
        texts = [divided(text) if len(text) > characters else [text] for text in request.texts]
        parts_of_texts = [[len(part) for part in parts] for parts in texts]
        count = sum(map(len, texts))
        if count == len(texts):
            return Verdict_Unchanged()
        if count > TEXTS_MAX:
            return Verdict_Refuse(f"the texts have {count} parts; at most {TEXTS_MAX}; send fewer or shorter texts")
        return Verdict_Replace([part for parts in texts for part in parts])

    def after(self, vectors):
        width = vectors.dimensions
        count = sum(map(len, parts_of_texts))
        if count == len(parts_of_texts) or count * width != len(vectors.values):
            return VectorsVerdict_Unchanged()
        joined: list[float] = []
        at = 0
        for lengths in parts_of_texts:
            rows = [vectors.values[(at + index) * width : (at + index + 1) * width] for index in range(len(lengths))]
            at += len(lengths)
            joined.extend(rows[0] if len(rows) == 1 else mean(rows, lengths))
        return VectorsVerdict_Replace(Vectors(width, joined))


def mean(rows: list[list[float]], lengths: list[int]) -> list[float]:
    total = sum(lengths)
    sums = [sum(value * length for value, length in zip(column, lengths)) / total for column in zip(*rows)]
    size = math.sqrt(sum(value * value for value in sums))
    # The encoder's vectors have one length, which is 1 for most models.
    wanted = sum(math.sqrt(sum(value * value for value in row)) for row in rows) / len(rows)
    return [value * wanted / size for value in sums] if size > 0 else sums
