#!/usr/bin/env python3
"""Firebox on a GPU: what there is, rates of prefill and decode, many clients, the start, and PyTorch on the same GPU.

Needs FIREBOX (the binary) and MODEL (make_model.py's bf16 folder). DEVICE is the device of firebox, by default vulkan;
PyTorch is measured where `import torch` finds CUDA. Everything is asked of a server, which ran the model before it was
ready, so that kernels are compiled; what that takes is a figure of its own.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("DEVICE", "vulkan")
os.environ.setdefault("REPEATS", "3")
os.environ.setdefault("THREADS", str(os.cpu_count()))

from measure import REPEATS, ROOT, first_byte, heading, spread, table  # noqa: E402
from measure_serve import prompts, throughput  # noqa: E402
from servers import DEVICE, Firebox, config  # noqa: E402

FIREBOX, MODEL = os.environ["FIREBOX"], os.environ["MODEL"]
# Tokens of prompt and of answer.
SIZES = [(64, 128), (512, 128), (2048, 128)]


def devices():
    heading(f"gpu: {DEVICE}")
    print(subprocess.run([FIREBOX, "devices", "--test"], capture_output=True, text=True, check=True).stdout)


def rates(server):
    """Prefill and decode by the engine's own clock; the client's wait is in `benches/run serve`."""
    rows, asked = [], 1_000
    for length, tokens in SIZES:
        done = []
        for prompt in prompts(asked, REPEATS + 1, length):
            prompt = (prompt * (length // len(prompt) + 1))[:length]
            done.append(server.stream(server.connect(), prompt, tokens))
        asked += REPEATS + 1
        own = [(one["prompt_tokens"], one["own"]) for one in done[1:]]
        rows.append([f"firebox, {DEVICE}", f"{length} + {tokens}",
                     spread([count / times["first_token"] * 1e3 for count, times in own], 0),
                     spread([(tokens - 1) / times["decode"] * 1e3 for _, times in own])])
    return rows


def pytorch(length, tokens):
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    if subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode:
        return []
    prompt = (prompts(0, 1, length)[0] * (length // 64 + 1))[:length]
    command = [sys.executable, ROOT / "peers/pytorch.py", MODEL, prompt, str(tokens)]
    done = subprocess.run(command, env={**os.environ, "PYTORCH_DEVICE": "cuda"}, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"PyTorch failed: {done.stderr[-400:]}", file=sys.stderr)
        return []
    report = json.loads(done.stdout)
    second = report["second"]
    return [[f"PyTorch, {report['dtype']}", f"{length} + {tokens}", f"{second['prefill_tokens_per_second']:.0f}",
             f"{second['decode_tokens_per_second']:.1f}"]]


def text(device, model):
    command = [FIREBOX, "run", "--raw", "--device", device, "--no-tools", "--temperature", "0", "--max-tokens", "64"]
    done = subprocess.run([*command, *(["--model", model] if model else []), "make \"so it goes\" upper case"],
                          capture_output=True, text=True, check=True)
    return done.stdout


def starts():
    rows = []
    for what, model in (("built-in model", []), ("0.6B bf16", ["--model", MODEL])):
        with tempfile.TemporaryDirectory() as cache:
            arguments = ["--device", DEVICE, "--no-tools", *model]
            first_byte(arguments, cache)
            rows.append([what, spread([first_byte(arguments, cache) for _ in range(REPEATS)], 0)])
    return rows


def main():
    devices()
    for name, model in (("ember", None), ("0.6B bf16", MODEL)):
        same = text(DEVICE, model) == text("cpu", model)
        print(f"{name}: 64 tokens of greedy decoding {'are the same as' if same else 'DIFFER from'} the CPU's")
    began = time.perf_counter()
    with Firebox(config(MODEL)) as server:
        print(f"the server was ready after {time.perf_counter() - began:.1f} s\n", flush=True)
        head = ["program", "tokens", "prefill tok/s", "decode tok/s"]
        table(head, rates(server))
        table(["clients", "program", "tokens/s of answers", "first token, ms, p50 / p99"], throughput([server]))
    table(["start to first byte", "ms"], starts())
    rows = pytorch(*SIZES[1])
    if rows:
        table(head, rows)


if __name__ == "__main__":
    main()
