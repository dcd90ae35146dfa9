#!/usr/bin/env python3
"""Measures `firebox bench` and llama-bench in turns on the same GGUF files. `benches/run quantized` sets the environment.

Each of REPEATS rounds runs both programs once for each file, so that a busy minute hits both. The tables have the medians,
the lowest and the highest, and the ratio of the medians.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from measure import REPEATS, heading, output, spread, table

LLAMA = pathlib.Path(os.environ["LLAMA"])
THREADS = os.environ["THREADS"]
# Types of llama-quantize, and the types that are the model's own.
TYPES = os.environ.get("TYPES", "Q8_0 Q4_0 Q4_K_M Q5_K_M Q6_K F16 BF16 F32").split()
PROMPT, WRITTEN = os.environ.get("PROMPT", "512"), os.environ.get("WRITTEN", "128")
DEPTH = os.environ.get("DEPTH", "0")
BATCH = os.environ.get("BATCH", "8")


def main():
    own = os.environ.get("GGUF", "").split()
    files = {pathlib.Path(file).stem: pathlib.Path(file) for file in own} or {kind: quantized(kind) for kind in TYPES}
    heading("quantized")
    print(f"{commit()}; {flags()}; llama.cpp: {llama_version(next(iter(files.values())))}\n", flush=True)
    rates = measure(files)
    rows = []
    for kind, file in files.items():
        for test in tests():
            ours, theirs = rates[kind, "firebox", test], rates[kind, "llama.cpp", test]
            rows.append([kind, f"{os.path.getsize(file) / (1 << 20):.0f}", test, spread(ours), spread(theirs),
                         ratio(ours, theirs)])
    table(["file", "MiB", "test", "firebox, tokens/s", "llama.cpp, tokens/s", "ratio"], rows)
    if BATCH != "0":
        batched(files)
    loads(files)


def tests():
    deep = [f"pp{PROMPT} @ d{DEPTH}", f"tg{WRITTEN} @ d{DEPTH}"] if DEPTH != "0" else []
    return [f"pp{PROMPT}", f"tg{WRITTEN}", *deep]


def quantized(kind):
    """The model in a type, made once: from the F32 or BF16 file of make_gguf.py."""
    models = pathlib.Path(os.environ["MODELS"])
    if kind in ("BF16", "F32"):
        return models / f"{kind.lower()}.gguf"
    file = models / f"{kind.lower()}.gguf"
    if not file.exists():
        partial = file.with_suffix(".partial")
        output([LLAMA / "llama-quantize", models / "f32.gguf", partial, kind, THREADS])
        partial.rename(file)
    return file


def measure(files):
    """Tokens per second of every round, by type, program and test."""
    depths = "0" if DEPTH == "0" else f"0,{DEPTH}"
    # A round is one measurement of each program: it repeats by itself only in turns.
    common = ["-p", PROMPT, "-n", WRITTEN, "-d", depths, "-t", THREADS, "-r", "1", "-o", "json"]
    rates = {}
    for turn in range(REPEATS):
        for kind, file in files.items():
            for name in ("firebox", "llama.cpp") if turn % 2 == 0 else ("llama.cpp", "firebox"):
                command = {"firebox": [os.environ["FIREBOX"], "bench", "--device", "cpu", "-m", file],
                           "llama.cpp": [LLAMA / "llama-bench", "-m", file]}[name]
                for result in json.loads(output([*command, *common]).stdout):
                    rates.setdefault((kind, name, label(result)), []).append(result["avg_ts"])
                print(f"{kind} {name}: {shown(rates, kind, name)}", file=sys.stderr, flush=True)
    return rates


def label(result):
    tokens = f"pp{result['n_prompt']}" if result["n_prompt"] else f"tg{result['n_gen']}"
    return f"{tokens} @ d{result['n_depth']}" if result["n_depth"] else tokens


def shown(rates, kind, name):
    return ", ".join(f"{test} {values[-1]:.1f}" for (one, other, test), values in rates.items() if (one, other) == (kind, name))


def batched(files):
    """Decode of several sequences at once: the tokens of all of them per second."""
    rates = {}
    for turn in range(REPEATS):
        for kind, file in files.items():
            rates.setdefault((kind, "firebox"), []).append(firebox_batch(file))
            rates.setdefault((kind, "llama.cpp"), []).append(llama_batch(file))
    rows = [[kind, spread(rates[kind, "firebox"]), spread(rates[kind, "llama.cpp"]),
             ratio(rates[kind, "firebox"], rates[kind, "llama.cpp"])] for kind in files]
    table(["file", f"firebox, {BATCH} sequences, tokens/s", "llama.cpp (batched-bench)", "ratio"], rows)


def firebox_batch(file):
    command = [os.environ["FIREBOX"], "bench", "--device", "cpu", "-m", file, "-p", "0", "-n", WRITTEN, "-d", "128",
               "-b", BATCH, "-t", THREADS, "-r", "1", "-o", "json"]
    return json.loads(output(command).stdout)[0]["avg_ts"]


def llama_batch(file):
    context = str(int(BATCH) * (int(WRITTEN) + 256))
    command = [LLAMA / "llama-batched-bench", "-m", file, "-c", context, "-npp", "128", "-ntg", WRITTEN, "-npl", BATCH,
               "-t", THREADS, "--output-format", "jsonl"]
    lines = [line for line in output(command).stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1])["speed_tg"]


def loads(files):
    """From the start of the process to its end after one token, with the file in the page cache, and the peak memory."""
    rows = []
    for kind, file in files.items():
        programs = {
            "firebox": [os.environ["FIREBOX"], "run", "--raw", "--device", "cpu", "--no-tools", "--model", file,
                        "--threads", THREADS, "--context", "4096", "--max-tokens", "1", "Hello"],
            "llama.cpp": [LLAMA / "llama-completion", "-m", file, "-t", THREADS, "-c", "4096", "-n", "1", "-p", "Hello",
                          "-no-cnv", "--no-warmup"],
        }
        taken = {name: [] for name in programs}
        peaks = {name: [] for name in programs}
        for _ in range(REPEATS):
            for name, command in programs.items():
                seconds, peak = once(command)
                taken[name].append(seconds * 1000)
                peaks[name].append(peak / (1 << 20))
        rows.append([kind, spread(taken["firebox"], 0), spread(taken["llama.cpp"], 0),
                     ratio(taken["firebox"], taken["llama.cpp"]), f"{os.path.getsize(file) / (1 << 20):.0f}",
                     spread(peaks["firebox"], 0), spread(peaks["llama.cpp"], 0)])
    table(["file", "firebox, start to end of one token, ms", "llama.cpp", "ratio", "file, MiB", "firebox, peak memory, MiB",
           "llama.cpp"], rows)


def once(command):
    """Seconds that a program runs, and its peak memory in bytes."""
    start = time.monotonic()
    program = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode != 0:
        sys.exit(f"{command} ended with {program.returncode}")
    return time.monotonic() - start, usage.ru_maxrss * 1024


def ratio(ours, theirs):
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}"


def commit():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], text=True, capture_output=True, check=True)
    return f"commit {done.stdout.strip()}"


def flags():
    """The CPU's instruction sets that kernels of either program use."""
    wanted = ("avx2", "fma", "f16c", "avx_vnni", "avx512", "amx", "asimddp", "i8mm", "sve")
    info = pathlib.Path("/proc/cpuinfo").read_text()
    line = next((line for line in info.splitlines() if line.startswith(("flags", "Features"))), "")
    return " ".join(flag for flag in line.split()[1:] if flag.startswith(wanted))


def llama_version(file):
    first = json.loads(output([LLAMA / "llama-bench", "-m", file, "-p", "1", "-n", "0", "-r", "1", "-o", "json"]).stdout)[0]
    return f"{first['build_commit']}, built for this CPU"


if __name__ == "__main__":
    main()
