#!/usr/bin/env python3
"""Runs firebox and its peers in turn and prints medians (lowest to highest). `benches/run` sets the environment."""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent
REPEATS = int(os.environ["REPEATS"])
DECODE = 32
# 256 characters, so 256 tokens of make_model.py's vocabulary.
PROMPT = ("Measured twice and cut once, the plank fits; " * 6)[:256]
MIB = 1 << 20


def main():
    what = sys.argv[1]
    heading(what)
    {"generate": generate, "memory": memory, "start": start}[what]()


def heading(what):
    """The load beside every figure: on a busy machine they are worth less."""
    now, load = time.strftime("%Y-%m-%d %H:%M"), os.getloadavg()[0]
    print(f"\n## {what} ({now}, load {load:.1f}, {os.environ['THREADS']} threads)\n", flush=True)


def output(command, **environment):
    done = subprocess.run([str(part) for part in command], env={**os.environ, **environment}, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return done


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def spread(values, digits=1):
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def firebox(model):
    command = [os.environ["FIREBOX"], "run", "--raw", "--json", "--model", model, "--device", "cpu", "--no-tools",
               "--temperature", "0", "--max-tokens", DECODE + 1, PROMPT]
    report = json.loads(output(command).stdout)
    if report["usage"] != {"prompt_tokens": len(PROMPT), "completion_tokens": DECODE + 1}:
        sys.exit(f"firebox read or wrote other than the peers: {report['usage']}")
    return {"first": report["timing"], "memory_peak_bytes": report["memory_peak_bytes"], "version": "firebox",
            "text": report["text"]}


def peer(*command):
    return lambda model: json.loads(output([*command, model, PROMPT, DECODE]).stdout)


def peers():
    return {
        "firebox": firebox,
        "candle": peer(os.environ["CANDLE"]),
        "PyTorch": peer(sys.executable, ROOT / "peers/pytorch.py"),
        "llama.cpp": lambda model: peer(sys.executable, ROOT / "peers/llama_cpp.py", "generate")(f"{model}.gguf"),
    }


def token_ids(run):
    """The tokens of an answer; the text of make_model.py's vocabulary says which they are."""
    return run.get("tokens") or [int(word[2:]) if word[1:] else ord(word)
                                 for word in re.findall(r" w\d+|[\s\S]", run["text"])]


def agreement(run, other):
    """How many tokens two answers have in common before the first that differs."""
    pairs = list(zip(token_ids(run), token_ids(other)))
    return next((at for at, (one, two) in enumerate(pairs) if one != two), len(pairs))


def collect(repeats):
    """Reports by weights and program; the programs take turns, so that a busy minute hits all of them."""
    reports = {(dtype, name): [] for dtype in ("bf16", "f32") for name in peers()}
    for _ in range(repeats):
        for (dtype, name), runs in reports.items():
            runs.append(peers()[name](f"{os.environ['MODELS']}/{dtype}"))
            print(f"{dtype} {name}: {runs[-1]}", file=sys.stderr, flush=True)
    return reports


def generate():
    reports = collect(REPEATS)
    rows = []
    for (dtype, name), runs in reports.items():
        rates = [[run.get(which, {}).get(f"{kind}_tokens_per_second") for run in runs]
                 for which in ("first", "second") for kind in ("prefill", "decode")]
        same = min(agreement(run, reports["f32", "PyTorch"][0]) for run in runs)
        rows.append([dtype, name, *map(spread, rates), str(same)])
    table(["weights", "program", "prefill tok/s", "decode tok/s", "prefill, 2nd pass", "decode, 2nd pass",
           f"first of {DECODE + 1} tokens as PyTorch in f32"], rows)
    print("; ".join(dict.fromkeys(runs[0]["version"] for runs in reports.values())) + "\n")
    memory_table(reports)


def memory():
    memory_table(collect(1))


def memory_table(reports):
    rows = []
    for (dtype, name), runs in reports.items():
        size = os.path.getsize(f"{os.environ['MODELS']}/{dtype}/model.safetensors")
        peak = statistics.median(run["memory_peak_bytes"] for run in runs)
        rows.append([dtype, f"{size / MIB:.0f}", name, f"{peak / MIB:.0f}", f"{peak / size:.2f}"])
    table(["weights", "file MiB", "program", "peak MiB", "peak / file"], rows)


def first_byte(arguments, cache):
    """Milliseconds from the start of the process to its first byte of answer."""
    began = time.perf_counter()
    command = [os.environ["FIREBOX"], "run", "--raw", *map(str, arguments), "--max-tokens", "8", "Hello"]
    with subprocess.Popen(command, env={**os.environ, "FIREBOX_CACHE": cache}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        byte = process.stdout.read(1)
        took = time.perf_counter() - began
        process.stdout.read()
    return took * 1e3 if byte and process.returncode == 0 else sys.exit(f"{command} gave no answer")


def start():
    rows = []
    with tempfile.TemporaryDirectory() as warm:
        def row(what, arguments, repeats, cold=False):
            first_byte(arguments, warm)  # files into the page cache, components into the warm cache
            times = []
            for _ in range(repeats):
                with tempfile.TemporaryDirectory() as empty:
                    times.append(first_byte(arguments, empty if cold else warm))
            rows.append([what, " ".join(map(str, arguments)).replace(os.environ["MODELS"], "MODELS"), spread(times, 0)])

        row("built-in model", ["--device", "cpu"], 4 * REPEATS)
        row("the same, nothing compiled yet", ["--device", "cpu"], REPEATS, cold=True)
        row("the same, no plugins", ["--device", "cpu", "--no-tools"], 4 * REPEATS)
        row("the same, device chosen by itself", ["--no-tools"], REPEATS)
        for dtype in ("bf16", "f32"):
            row(f"0.6B {dtype}", ["--device", "cpu", "--model", f"{os.environ['MODELS']}/{dtype}"], REPEATS)
    table(["what", "options", "first byte after ms"], rows)


if __name__ == "__main__":
    main()
