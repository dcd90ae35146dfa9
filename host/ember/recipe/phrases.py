"""A tiny phrase language and the noise that makes prompts look typed by people.

`[a|b|c]` picks one alternative (brackets nest, an alternative may be empty);
`{name}` is a slot.  Noise only ever touches the literal parts, never a slot,
because a slot holds the characters that the model has to copy.
"""

import re

SLOT = re.compile(r"\{(\w+)\}")


def expand(rng, pattern):
    """Resolve every bracket of `pattern`."""
    out, at = [], 0
    while at < len(pattern):
        if pattern[at] != "[":
            nxt = pattern.find("[", at)
            nxt = len(pattern) if nxt < 0 else nxt
            out.append(pattern[at:nxt])
            at = nxt
            continue
        options, depth, start, end = [], 0, at + 1, at
        while True:
            char = pattern[end]
            if char == "[":
                depth += 1
            elif char == "]":
                depth -= 1
            if depth == 0 or (char == "|" and depth == 1):
                options.append(pattern[start:end])
                start = end + 1
                if depth == 0:
                    break
            end += 1
        out.append(expand(rng, rng.choice(options)))
        at = end + 1
    return "".join(out)


def typo(rng, text):
    """One slip of the fingers: a letter dropped, doubled or swapped."""
    spots = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if len(spots) < 4:
        return text
    i = rng.choice(spots)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:i] + text[i + 1:]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    if kind == 2:
        return text[:i] + text[i + 1] + text[i] + text[i + 2:]
    return text[:i] + rng.choice("abcdefghijklmnopqrstuvwxyz") + text[i + 1:]


HEAD = ["", "", "", "", "", "", "", "", "", "", "please ", "pls ", "hey, ", "hi, ", "hello, ", "ok ", "ok so ", "so ",
        "quick question: ", "question: ", "hi! ", "hey ", "um ", "now ", "and ", "also, ", "yo ", "well, ",
        "excuse me, ", "good morning, ", "hello! ", "i have a question. ", "sorry, ", "hmm, ", "dear assistant, ",
        "one more thing, ", "just curious, ", "alright, ", "help: ", "for my homework: "]
TAIL = ["", "", "", "", "", "", "", "", "", " please", " pls", " thanks", " thank you", ", please", ", thanks", " plz",
        " for me", " now", " right now", ", thank you", " if you can", " quickly", " ty", " again", " asap", " then",
        ", do you know", ", can you tell me", " exactly", ", cheers", " my friend", ", thanks in advance"]


def closed(rng, text, bare, wrap):
    """The end of a prompt.  What follows unquoted text must not look like a part of it."""
    if bare and text.endswith(": {t}"):
        return text
    if bare == "phrase":
        return text + rng.choice(("", "", "?"))
    if wrap:
        text += rng.choice(TAIL)
    return text + rng.choice(("?", "?", "?", "", "", "", " ?", "??"))


def fill(rng, pattern, slots, wrap=True, bare=None):
    """Expand, add head and tail, add noise, then put the slots in.

    `bare` is "word" or "phrase" when the prompt ends in text without quotes.
    """
    text = expand(rng, pattern)
    if wrap:
        text = rng.choice(HEAD) + text
    text = closed(rng, text, bare, wrap)
    pieces = SLOT.split(text)
    style = rng.random()
    literals = pieces[0::2]
    if style < 0.35:
        literals = [p.lower() for p in literals]
    elif style < 0.38:
        literals = [p.upper() for p in literals]
    elif style < 0.75 and literals[0]:
        literals[0] = literals[0][:1].upper() + literals[0][1:]
    if style > 0.9:
        literals = [p.replace("'", "").replace(",", "") for p in literals]
    if rng.random() < 0.10:
        at = rng.randrange(len(literals))
        literals[at] = typo(rng, literals[at])
    out = []
    for i, piece in enumerate(pieces):
        out.append(literals[i // 2] if i % 2 == 0 else slots[piece])
    result = "".join(out)
    if rng.random() < 0.02:
        result = rng.choice((" ", "  ", "\n")) + result
    return result if rng.random() > 0.02 else result + rng.choice((" ", "\n"))
