#!/usr/bin/env python3
"""Sentences to vectors by firebox and ONNX Runtime in turn; both are checked to give the same ones."""
import json
import os
import pathlib
import re
import sys
import tempfile

import numpy

from measure import REPEATS, ROOT, heading, output, spread, table

SENTENCES, BATCH = 2000, 32


def firebox(sentences, out):
    command = [os.environ["FIREBOX"], "embed", "--model", os.environ["MINILM"], "--input", sentences, "--output", out,
               "--batch", BATCH, "--normalize", "--device", "cpu"]
    return float(re.search(r"\(([\d.]+) texts/s", output(command).stderr).group(1))


def onnx_runtime(sentences, out):
    command = [sys.executable, ROOT / "peers/onnx_embed.py", "run", os.environ["MINILM"], os.environ["MINILM_ONNX"],
               sentences, BATCH, out]
    return json.loads(output(command).stdout)


def lowest_cosine(lines, vectors):
    ours = numpy.array([json.loads(line)["embedding"] for line in open(lines, encoding="utf-8")])
    return (ours * numpy.load(vectors)).sum(1).min()


def main():
    heading("embed")
    with tempfile.TemporaryDirectory() as folder:
        sentences, lines, vectors = (f"{folder}/{name}" for name in ("sentences.txt", "out.jsonl", "vectors.npy"))
        pathlib.Path(sentences).write_text(output([sys.executable, ROOT / "make_sentences.py", SENTENCES]).stdout)
        ours, theirs = [], []
        for _ in range(REPEATS):
            ours.append(firebox(sentences, f"{folder}/out.parquet"))
            theirs.append(onnx_runtime(sentences, vectors))
        firebox(sentences, lines)
        cosine = lowest_cosine(lines, vectors)
    version, rates = theirs[0]["version"], [report["texts_per_second"] for report in theirs]
    table(["program", "sentences/s"], [["firebox", spread(ours)], ["ONNX Runtime", spread(rates)]])
    print(f"{version}; {SENTENCES} sentences, batch {BATCH}, by length; lowest cosine of the two {cosine:.6f}\n")


if __name__ == "__main__":
    main()
