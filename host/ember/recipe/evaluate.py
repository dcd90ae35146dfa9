"""Score the exported folder with transformers and the reference tools.

A prompt is EXACT when
  call    the first turn is exactly one call of the expected tool, the tool's
          result has the same key as the expected one, and the final answer
          contains that key as a whole (no letter, digit or decimal point
          that would extend it on either side).  The key is the result itself;
          for `convert_units` it is the number after "= "; for a result with
          " (exactly " or " (rounded" it is the text before that.
  refuse  no call, the answer has no digit and contains "can't" or "cannot".
  chat    no call, the answer is not empty and has no digit.
All eight tools are offered, in the order of `tools.NAMES`, unless
`--order shuffled` asks for a seeded random order per prompt.
"""

import argparse
import collections
import json
import pathlib
import random
import re

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tools

HERE = pathlib.Path(__file__).resolve().parent
CALL = re.compile(r"<tool_call>\n(\{.*\})\n</tool_call>", re.S)


def key(tool, result):
    """The part of a result that the answer has to contain."""
    if tool == "convert_units" and " = " in result:
        return result.rsplit(" = ", 1)[1].split(" ")[0]
    return result.split(" (exactly ")[0].split(" (rounded")[0]


def contains(answer, wanted):
    """`wanted` occurs in `answer` and is not a part of a longer number or word."""
    start = answer.find(wanted)
    while start >= 0:
        before, after = answer[:start], answer[start + len(wanted):]
        cut_left = wanted[:1].isalnum() and re.search(r"(\w|\d[.,])$", before)
        cut_right = wanted[-1:].isalnum() and re.match(r"\w|[.,]\d", after)
        if not cut_left and not cut_right:
            return bool(wanted)
        start = answer.find(wanted, start + 1)
    return False


def parse(text):
    """The single tool call in `text`: (name, arguments with numbers kept as typed)."""
    match = CALL.fullmatch(text.strip())
    if not match:
        return None
    try:
        call = json.loads(match.group(1), parse_int=tools.Raw, parse_float=tools.Raw)
        return call["name"], call["arguments"]
    except (ValueError, KeyError, TypeError):
        return None


class Host:
    """Greedy decoding in batches, left-padded."""

    def __init__(self, folder):
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()

    def generate(self, conversations, orders, batch=25):
        texts = []
        for messages, order in zip(conversations, orders):
            specs = [{"type": "function", "function": {"name": n, "description": "", "parameters": {}}} for n in order]
            texts.append(self.tokenizer.apply_chat_template(messages, tools=specs, tokenize=False, add_generation_prompt=True))
        out = [""] * len(texts)
        ranking = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for at in range(0, len(ranking), batch):
            chosen = ranking[at:at + batch]
            inputs = self.tokenizer([texts[i] for i in chosen], return_tensors="pt", padding=True, add_special_tokens=False, return_token_type_ids=False)
            with torch.inference_mode():
                ids = self.model.generate(**inputs, max_new_tokens=220)
            for i, row in zip(chosen, ids[:, inputs.input_ids.shape[1]:]):
                out[i] = self.tokenizer.decode(row, skip_special_tokens=True)
        return out


def evaluate(host, rows, shuffled):
    """Returns (row, first text, tool result or None, final answer, exact) per row."""
    orders = [list(tools.NAMES) for _ in rows]
    if shuffled:
        for i, order in enumerate(orders):
            random.Random(i).shuffle(order)
    conversations = [[{"role": "user", "content": r["prompt"]}] for r in rows]
    first = host.generate(conversations, orders)
    calls = [parse(t) for t in first]
    results, again = [None] * len(rows), []
    for i, call in enumerate(calls):
        if call:
            name, arguments = call
            results[i] = tools.call(name, arguments)
            conversations[i] += [{"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {
                "name": name, "arguments": tools.dumps(arguments)}}]}, {"role": "tool", "content": results[i]}]
            again.append(i)
    finals = list(first)
    for i, text in zip(again, host.generate([conversations[i] for i in again], [orders[i] for i in again])):
        finals[i] = text
    return [(r, f, res, final, exact(r, c, f, res, final)) for r, c, f, res, final in zip(rows, calls, first, results, finals)]


def exact(row, call, first, result, final):
    if row["kind"] == "call":
        wanted = key(row["tool"], row["result"])
        return bool(call) and call[0] == row["tool"] and key(call[0], result) == wanted and contains(final, wanted)
    if call or "<tool_call>" in first or not final.strip() or any(c.isdigit() for c in final):
        return False
    return row["kind"] == "chat" or "can't" in final or "cannot" in final


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=HERE.parent / "model")
    parser.add_argument("--order", choices=("canonical", "shuffled"), default="canonical")
    parser.add_argument("--failures", action="store_true", help="print every prompt that is not exact")
    parser.add_argument("sets", nargs="*", type=pathlib.Path, default=[HERE.parent / "eval" / n for n in ("held_out.jsonl", "held_out_wide.jsonl", "handwritten.jsonl", "blind.jsonl")])
    args = parser.parse_args()
    host = Host(args.model)
    for path in args.sets:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        outcome = evaluate(host, rows, args.order == "shuffled")
        groups = collections.defaultdict(list)
        for row, first, result, final, ok in outcome:
            groups[row["tool"] or row["kind"]].append(ok)
            if args.failures and not ok:
                print(f"  {row['id']} {row['prompt']!r}\n      want {row['tool']} {row['arguments']} {row['result']!r}\n      got {first!r} -> {result!r} -> {final!r}")
        print(f"{path.name}: {sum(o[4] for o in outcome)} of {len(outcome)} exact; " + ", ".join(f"{k} {sum(v)}/{len(v)}" for k, v in groups.items()), flush=True)


if __name__ == "__main__":
    main()
