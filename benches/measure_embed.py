#!/usr/bin/env python3
"""Sentences to vectors by firebox and ONNX Runtime in turn; both are checked to give the same ones."""
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile

import numpy

from measure import REPEATS, ROOT, heading, output, spread, table

SENTENCES, BATCHES = 2000, (1, 32)


def firebox(sentences, batch, out):
    command = [os.environ["FIREBOX"], "embed", "--model", os.environ["MINILM"], "--input", sentences, "--output", out,
               "--batch", batch, "--normalize", "--device", "cpu", "--threads", os.environ["THREADS"]]
    return float(re.search(r"\(([\d.]+) texts/s", output(command).stderr).group(1))


def onnx_runtime(sentences, batch, out):
    command = [sys.executable, ROOT / "peers/onnx_embed.py", "run", os.environ["MINILM"], os.environ["MINILM_ONNX"],
               sentences, batch, out]
    return json.loads(output(command).stdout)


def lowest_cosine(lines, vectors):
    ours = numpy.array([json.loads(line)["embedding"] for line in open(lines, encoding="utf-8")])
    return (ours * numpy.load(vectors)).sum(1).min()


def main():
    heading("embed")
    rows, cosines = [], []
    with tempfile.TemporaryDirectory() as folder:
        sentences, lines, vectors = (f"{folder}/{name}" for name in ("sentences.txt", "out.jsonl", "vectors.npy"))
        pathlib.Path(sentences).write_text(output([sys.executable, ROOT / "make_sentences.py", SENTENCES]).stdout)
        for batch in BATCHES:
            ours, reports = [], []
            for _ in range(REPEATS):
                ours.append(firebox(sentences, batch, f"{folder}/out.parquet"))
                reports.append(onnx_runtime(sentences, batch, vectors))
            firebox(sentences, batch, lines)
            cosines.append(lowest_cosine(lines, vectors))
            theirs = [report["texts_per_second"] for report in reports]
            ratio = statistics.median(ours) / statistics.median(theirs)
            rows.append([str(batch), spread(ours), spread(theirs), f"{ratio:.2f}"])
    table(["batch", "firebox, sentences/s", "ONNX Runtime, sentences/s", "ratio"], rows)
    print(f"{reports[0]['version']}; {SENTENCES} sentences, the longest first; "
          f"lowest cosine of the two {min(cosines):.6f}\n")


if __name__ == "__main__":
    main()
