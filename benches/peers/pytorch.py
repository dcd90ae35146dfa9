#!/usr/bin/env python3
"""PyTorch's Qwen3 (transformers): one prompt, greedy decoding, twice in one process. Prints one JSON object.

Usage: pytorch.py MODEL PROMPT DECODE_TOKENS
PYTORCH_DEVICE says where (cpu). The prompt's bytes are its token ids, as make_model.py's tokenizer has it. The first pass is as cold as firebox's only
one; the second shows what a warm process does.
"""
import json
import os
import re
import sys
import time

import torch
import transformers

DEVICE = os.environ.get("PYTORCH_DEVICE", "cpu")


def peak_bytes():
    return int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read()).group(1)) * 1024


@torch.inference_mode()
def generate(model, prompt, steps):
    """Prefill and decode rates in tokens/s, and the tokens chosen."""
    began = time.perf_counter()
    out = model(input_ids=torch.tensor([prompt], device=DEVICE), use_cache=True, logits_to_keep=1)
    tokens = [int(out.logits[0, -1].argmax())]
    prefilled = time.perf_counter()
    for _ in range(steps):
        out = model(input_ids=torch.tensor([tokens[-1:]], device=DEVICE), past_key_values=out.past_key_values, use_cache=True)
        tokens.append(int(out.logits[0, -1].argmax()))
    ended = time.perf_counter()
    return {
        "prefill_tokens_per_second": len(prompt) / (prefilled - began),
        "decode_tokens_per_second": steps / (ended - prefilled),
    }, tokens


def main():
    folder, prompt, steps = sys.argv[1], list(sys.argv[2].encode()), int(sys.argv[3])
    threads = int(os.environ["THREADS"])
    torch.set_num_threads(threads)
    dtype = json.load(open(f"{folder}/config.json"))["torch_dtype"]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval().to(DEVICE)
    first, tokens = generate(model, prompt, steps)
    peak = peak_bytes()
    second, _ = generate(model, prompt, steps)
    version = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(json.dumps({"version": version, "dtype": dtype, "first": first, "second": second, "tokens": tokens,
                      "memory_peak_bytes": peak}))


if __name__ == "__main__":
    main()
