#!/usr/bin/env python3
"""llama.cpp on the CPU, out of the Python package xllamacpp, which holds llama.cpp's own server (that of llama-server).

Usage: llama_cpp.py serve FILE.gguf SEQUENCES TOKENS_EACH    prints one JSON object when it listens; ends with its input
       llama_cpp.py generate FILE.gguf PROMPT DECODE_TOKENS  one prompt, greedy, twice; prints one JSON object
Settings are llama-server's own, but that nothing is kept of a prompt: none comes twice.
"""
import json
import os
import re
import sys

import xllamacpp


def version():
    """The package's number ends with llama.cpp's build; the library itself was built without it."""
    built = dict(re.findall(r"(\w+) = (\d)", xllamacpp.get_system_info()))
    with_ = " ".join(name for name, on in built.items() if on == "1")
    return f"llama.cpp b{xllamacpp.__version__.rsplit('.', 1)[1]} (xllamacpp {xllamacpp.__version__}: {with_})"


def server(file, sequences, tokens_each, warmup):
    threads = int(os.environ["THREADS"])
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_parallel, params.n_ctx = sequences, sequences * tokens_each
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cont_batching, params.warmup = True, warmup
    params.cache_ram_mib, params.cache_prompt, params.cache_idle_slots = 0, False, False
    params.port = 0
    params.verbosity = 1
    return xllamacpp.Server(params)


def serve(file, sequences, tokens_each):
    ours = server(file, int(sequences), int(tokens_each), warmup=True)
    print(json.dumps({"address": ours.listening_address, "version": version()}), flush=True)
    sys.stdin.read()


def generate(file, prompt, steps):
    ours = server(file, 1, 1024, warmup=False)
    ask = {"prompt": prompt, "temperature": 0, "max_tokens": int(steps) + 1, "ignore_eos": True, "cache_prompt": False}
    report = {"version": version()}
    for which in ("first", "second"):
        answer = ours.handle_completions(ask)
        times = answer["timings"]
        if (times["prompt_n"], times["predicted_n"]) != (len(prompt), int(steps) + 1):
            sys.exit(f"llama.cpp read or wrote other than the peers: {times}")
        # The first token is the prefill's; llama.cpp begins its decoding time with it.
        report[which] = {"prefill_tokens_per_second": times["prompt_n"] / times["prompt_ms"] * 1e3,
                         "decode_tokens_per_second": int(steps) / times["predicted_ms"] * 1e3}
        if which == "first":
            status = open("/proc/self/status").read()
            report["memory_peak_bytes"] = int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024
            report["text"] = answer["choices"][0]["text"]
    print(json.dumps(report))


if __name__ == "__main__":
    {"serve": serve, "generate": generate}[sys.argv[1]](*sys.argv[2:])
