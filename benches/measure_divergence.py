#!/usr/bin/env python3
"""Compares the distributions of quantized files with those of the same model in f32, for firebox and llama.cpp.

`benches/run divergence` sets the environment. SmolLM2-135M (Q4_1) is made F32, and TYPES are made from that. llama-perplexity
writes the logits of the F32 file, and measures its own divergence on each file; benches/divergence.rs measures firebox's. One row has keys and values in q8_0.
The text is that of the project's pages.
"""
import json
import os
import pathlib
import re

from measure import heading, output, table
from measure_quantized import LLAMA, THREADS, commit, flags

FILES = pathlib.Path(os.environ["FILES"])
SMOLLM2 = pathlib.Path(os.environ["SMOLLM2"])
TYPES = os.environ.get("TYPES", "Q8_0 Q6_K Q5_K_M Q4_K_M Q4_1 Q4_0").split()
CHUNKS = os.environ.get("CHUNKS", "12")
CONTEXT = "512"


def main():
    FILES.mkdir(exist_ok=True)
    text = FILES / "text.txt"
    pages = sorted(pathlib.Path("specifications").rglob("*.md"))
    text.write_text("\n".join(page.read_text() for page in pages))
    base = FILES / "base.logits"
    perplexity(quantized("F32"), text, "--kl-divergence-base", base)
    heading("divergence")
    print(f"{commit()}; {flags()}; {CHUNKS} chunks of {CONTEXT} tokens\n", flush=True)
    rows = []
    for kind, cache in [("F32", "f16"), ("F32", "q8_0"), *((kind, "f16") for kind in TYPES)]:
        file = quantized(kind)
        ours = json.loads(output([os.environ["DIVERGENCE"], file, base, cache]).stdout)
        theirs = perplexity(file, text, "--kl-divergence-base", base, "--kl-divergence", "-ctk", cache, "-ctv", cache, "-fa", "on").stdout
        kind = kind if cache == "f16" else f"{kind}, KV cache {cache}"
        mean, same = figure(theirs, "Mean *KLD"), figure(theirs, "Same top p")
        rows.append([kind, f"{ours['mean']:.6f}", f"{mean:.6f}", f"{ours['mean'] / mean:.2f}" if mean > 1e-6 else "-",
                     f"{100 * ours['same_top']:.2f}", f"{same:.2f}"])
    table(["file", "firebox: mean KL, nats", "llama.cpp", "ratio", "firebox: same best token, %", "llama.cpp"], rows)
    base.unlink()


def quantized(kind):
    if kind == "Q4_1":
        return SMOLLM2
    file = FILES / f"{kind.lower()}.gguf"
    if not file.exists():
        source = SMOLLM2 if kind == "F32" else quantized("F32")
        partial = file.with_suffix(".partial")
        output([LLAMA / "llama-quantize", "--allow-requantize", source, partial, kind, THREADS])
        partial.rename(file)
    return file


def perplexity(file, text, *more):
    return output([LLAMA / "llama-perplexity", "-m", file, "-f", text, "-c", CONTEXT, "-b", CONTEXT, "-t", THREADS,
                   "--chunks", CHUNKS, *more])


def figure(text, name):
    found = re.search(rf"{name}\s*:\s*(-?[\d.]+)", text)
    return float(found[1]) if found else float("nan")


if __name__ == "__main__":
    main()
