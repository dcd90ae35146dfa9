#!/usr/bin/env python3
"""ONNX Runtime with all-MiniLM-L6-v2 on the CPU: sentences to unit vectors, the longest first. Prints one JSON object.

Usage: onnx_embed.py export MODEL OUT.onnx       (needs torch and transformers)
       onnx_embed.py run MODEL FILE.onnx SENTENCES BATCH [VECTORS.npy]
The timed part is what `firebox embed` times: tokenizer, forward passes, mean pooling and scaling; not the loading.
"""
import json
import os
import re
import sys
import time


def export(model, out):
    import torch
    import transformers

    encoder = transformers.AutoModel.from_pretrained(model, attn_implementation="eager").eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    shape = {0: "batch", 1: "length"}

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder

        def forward(self, ids, mask, types):
            return self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    ones = torch.ones(2, 8, dtype=torch.long)
    example = (ones, ones, torch.zeros_like(ones))
    torch.onnx.export(Hidden(), example, out, input_names=names, output_names=["hidden"],
                      dynamic_axes={name: shape for name in [*names, "hidden"]}, opset_version=17, dynamo=False)


def embed(session, tokenizer, sentences, batch):
    """One row for each sentence, in their order."""
    import numpy as np

    encodings = tokenizer.encode_batch(sentences)
    # As `firebox embed` sorts them, so that both programs have the same batches.
    order = sorted(range(len(sentences)), key=lambda index: -len(encodings[index].ids))
    rows = np.empty((len(sentences), 384), dtype=np.float32)
    for first in range(0, len(order), batch):
        picked = order[first:first + batch]
        longest = len(encodings[picked[0]].ids)
        ids, mask = (np.zeros((len(picked), longest), dtype=np.int64) for _ in range(2))
        for row, index in enumerate(picked):
            length = len(encodings[index].ids)
            ids[row, :length], mask[row, :length] = encodings[index].ids, 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = session.run(None, inputs)[0]
        means = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        rows[picked] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return rows


def run(model, file, sentences, batch, vectors=None):
    import numpy as np
    import onnxruntime
    import tokenizers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["THREADS"])
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    tokenizer = tokenizers.Tokenizer.from_file(f"{model}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    lines = open(sentences, encoding="utf-8").read().splitlines()
    began = time.perf_counter()
    rows = embed(session, tokenizer, lines, int(batch))
    took = time.perf_counter() - began
    if vectors:
        np.save(vectors, rows)
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read()).group(1)) * 1024
    print(json.dumps({"version": f"onnxruntime {onnxruntime.__version__}", "texts_per_second": len(lines) / took,
                      "memory_peak_bytes": peak}))


if __name__ == "__main__":
    {"export": export, "run": run}[sys.argv[1]](*sys.argv[2:])
