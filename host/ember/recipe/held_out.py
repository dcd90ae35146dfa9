"""Write `eval/held_out_wide.jsonl`: 500 prompts whose operands training never sees.

The phrasings are the generator's own; the numbers above 20, the words and the
random strings come from the reserved side of the hash split in `words.py`.
"""

import pathlib
import random

import gen_calc
import gen_other
import gen_text
import gen_units
import tools
from words import Source

PLAN = [(gen_calc.make, 170), (gen_text.letter, 50), (gen_text.count_words, 30), (gen_text.count_characters, 30), (gen_text.reverse, 40),
        (gen_text.case, 50), (gen_text.slug, 25), (gen_units.make, 55), (gen_other.refuse, 42), (gen_other.chat, 8)]


def usable(tool, arguments):
    """A call whose result is a proper, readable answer."""
    result = tools.call(tool, arguments)
    return 0 < len(result) <= 50 and not result.startswith("error: ")


def main():
    src = Source(random.Random("ember held out"), held_out=True)
    lines, seen = [], set()
    for make, count in PLAN:
        while count:
            prompt, tool, rest = make(src)
            if prompt in seen or len(prompt) > 150 or (tool and not usable(tool, rest)):
                continue
            seen.add(prompt)
            count -= 1
            kind = "call" if tool else ("refuse" if make is gen_other.refuse else "chat")
            lines.append({"id": f"held-{len(lines) + 1:03d}", "prompt": prompt, "tool": tool, "arguments": rest if tool else None,
                          "result": tools.call(tool, rest) if tool else None, "kind": kind})
    path = pathlib.Path(__file__).resolve().parent.parent / "eval" / "held_out_wide.jsonl"
    path.write_text("".join(tools.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(len(lines), "prompts ->", path.name)


if __name__ == "__main__":
    main()
