"""Conversations: the chat format, the answers, and random training samples."""

import random

import gen_calc
import gen_other
import gen_text
import gen_units
import tools
from skeleton import forbidden, skeleton
from words import Source, scramble

DISTRACTORS = ["get_weather", "search_web", "send_email", "translate_text", "get_time", "read_file", "run_python", "play_music", "stock_price",
               "set_timer", "create_event", "lookup", "http_get", "database_query", "summarize", "image_search", "shell", "list_files", "redact"]
SYSTEM = ["You are a helpful assistant.", "Be brief.", "Answer in one sentence.", "You are Ember.", "You are a careful assistant. Use the tools.",
          "Always be polite.", "You work for a bank.", "Never lie.", "Reply in English.", "You are a helpful, honest and harmless assistant.", "Use tools when needed."]


def call_text(tool, arguments):
    return f'<tool_call>\n{{"name": "{tool}", "arguments": {tools.dumps(arguments)}}}\n</tool_call>'


def render(messages, names, generate=False):
    """The same text as chat_template.jinja (export.py checks that)."""
    out = []
    system = [m["content"] for m in messages if m["role"] == "system"]
    head = system[:1]
    if names:
        head.append("tools:" + "".join(f"\n- {n}" for n in names))
    if head:
        out.append("<|im_start|>system\n" + "\n".join(head) + "<|im_end|>\n")
    for m in messages:
        if m["role"] == "user":
            out.append(f"<|im_start|>user\n{m['content']}<|im_end|>\n")
        elif m["role"] == "assistant":
            out.append(f"<|im_start|>assistant\n{m['content']}<|im_end|>\n")
        elif m["role"] == "tool":
            out.append(f"<|im_start|>user\n<tool_response>\n{m['content']}\n</tool_response><|im_end|>\n")
    return "".join(out) + ("<|im_start|>assistant\n" if generate else "")


def answer(tool, a, result):
    """The final sentence; the result is always copied, never recomputed."""
    if result.startswith("error: "):
        return f"The tool reported an {result}."
    if tool == "calculator":
        return f"{a['expression']} = {result}"
    if tool == "count_letter":
        return f"The letter \"{a['letter']}\" appears {result} {'time' if result == '1' else 'times'} in \"{a['text']}\"."
    if tool == "count_words":
        return "There is 1 word in that text." if result == "1" else f"There are {result} words in that text."
    if tool == "count_characters":
        return "There is 1 character in that text." if result == "1" else f"There are {result} characters in that text, spaces included."
    if tool == "reverse_text":
        return f"Reversed, that is \"{result}\"."
    if tool == "change_case":
        return f"In that case style, it is \"{result}\"."
    if tool == "slugify":
        return f"The slug is \"{result}\"."
    return result


ERRORS = ["division by zero", "unknown unit: {w}", "cannot convert {w} to {w}", "cannot read the expression", "the result is too large", "missing argument: {w}",
          "timed out", "out of fuel", "component trapped", "{w} is not allowed", "bad arguments", "letter must be one character", "unknown case: {w}", "invalid input",
          "the tool stopped after {n} ms", "missing )", "exponent too large", "no permission for {w}", "{w} {w} {w}", "square root of a negative number", "text is empty", "number out of range: {n}"]
# What the host itself says instead of a result, and whole sentences, so that any message is copied to its end.
HOST_ERRORS = ["the call was declined: the user declined the call", "the call was declined: the user declined this call", "the user declined the call", "the call was declined: {s}",
               "the call was declined: it needs somebody's approval, and there is nobody to ask", "the tool did not answer within {n} ms", "the tool \"{w}\" is gone", "the tool cannot run here",
               "it was cut off before it ended", "the arguments do not fit the tool's schema: at \"/{w}\": {s}",
               "plugin \"{w}\" at stage \"tool\" used all its fuel ({n}); raise --fuel if the work is legitimate (fuel used {n}, peak memory {n} bytes)", "{s}", "{s}: {s}", "{s}, {s}", "\"{w}\" {s}; {s}", "{s} \"{w}\""]
MAKERS = ([gen_calc.make] * 17 + [gen_text.letter] * 6 + [gen_text.count_words] * 3 + [gen_text.count_characters] * 4 + [gen_text.reverse] * 5
          + [gen_text.case] * 8 + [gen_text.slug] * 4 + [gen_units.make] * 7 + [gen_other.refuse] * 7 + [gen_other.chat] * 2)


def disturbed(src, result):
    """Sometimes a wrong or an error result, so that results are read, not guessed."""
    rng = src.rng
    r = rng.random()
    if r < 0.06:
        text = rng.choice(ERRORS if r < 0.03 else HOST_ERRORS)
        while "{" in text:
            text = text.replace("{w}", rng.choice((scramble(rng), "miles", "foo")), 1).replace("{n}", str(rng.randint(1, 9999)), 1)
            text = text.replace("{s}", src.phrase(2, 6), 1)
        return "error: " + text
    if r < 0.18 and result.isdigit():
        return str(rng.randrange(10 ** rng.choice((1, 2, 3, max(1, len(result))))))
    return result


def ask(src):
    """One (prompt, tool, arguments or fixed answer) with an allowed skeleton."""
    while True:
        prompt, tool, rest = src.rng.choice(MAKERS)(src)
        arguments = rest if tool else None
        if skeleton(prompt, arguments) in forbidden() or len(prompt) > 150:
            continue
        if tool and len(tools.call(tool, arguments)) > 50:
            continue
        return prompt, tool, rest


def offered(rng, needed):
    """The tool list: all eight most of the time, else a subset, in any order."""
    names = list(tools.NAMES)
    if rng.random() < 0.6:
        rng.shuffle(names)
    if rng.random() < 0.3:
        names = names[:rng.randint(1, 8)]
    names += [n for n in needed if n not in names]
    if rng.random() < 0.2:
        for _ in range(rng.randint(1, 3)):
            extra = rng.choice(DISTRACTORS) if rng.random() < 0.7 else scramble(rng).lower()
            names.insert(rng.randint(0, len(names)), extra)
    if needed and rng.random() < 0.05:
        names.remove(rng.choice(needed))
    return names


def conversation(rng):
    """One random conversation as (messages, tool names)."""
    src = Source(rng)
    turns = [ask(src) for _ in range(rng.choice((1,) * 17 + (2, 2, 3)))]
    names = offered(rng, sorted({t for _, t, _ in turns if t}))
    if rng.random() < 0.02:
        names = []
    messages = []
    if rng.random() < 0.12:
        messages.append({"role": "system", "content": rng.choice(SYSTEM) if rng.random() < 0.7 else src.phrase(2, 7)})
    for prompt, tool, rest in turns:
        messages.append({"role": "user", "content": prompt})
        if tool in names:
            result = disturbed(src, tools.call(tool, rest))
            messages += [{"role": "assistant", "content": call_text(tool, rest)}, {"role": "tool", "content": result},
                         {"role": "assistant", "content": answer(tool, rest, result)}]
        else:
            messages.append({"role": "assistant", "content": gen_other.MISSING if tool else rest})
    return messages, names


def sample(seed):
    """The rendered text of sample number `seed`; every sample is reproducible."""
    messages, names = conversation(random.Random(seed))
    return render(messages, names)
