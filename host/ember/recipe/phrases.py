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
        "one more thing, ", "just curious, ", "alright, ", "help: ", "for my homework: ", "okay, ", "look, ", "listen, ", "so, ",
        "next: ", "next, ", "task: ", "ember, ", "buddy, ", "i need help: ", "be quick, ", "one question, ", "a quick one: ", "my question is: ",
        "oh and ", "hello ember, ", "here is one: ", "let me ask, ", "easy one: ", "for a form, ", "mate, ", "i forgot, ", "and now ",
        "", "", "", "", "my teacher asks: ", "for school: ", "for a poster: ", "small task: ", "my kid asks: ", "good evening, ", "sry, ", "thx in advance, ", "ok next one: ", "btw, ", "for my blog: ",
        "for work: ", "umm ", "hey can u help, ", "a customer asks: ", "my boss asks: ", "while you're at it, ", "could you help? ", "last one: ", "real quick, ", "oh, ", "dear ember, ", "sir, ", "hello sir, ", "not urgent, "]
TAIL = ["", "", "", "", "", "", "", "", "", " please", " pls", " thanks", " thank you", ", please", ", thanks", " plz",
        " for me", " now", " right now", ", thank you", " if you can", " quickly", " ty", " again", " asap", " then",
        ", do you know", ", can you tell me", " exactly", ", cheers", " my friend", ", thanks in advance",
        " real quick", ", i need it", ", will you", " would you", ", it's for work", ", ember", ", mate", ". thanks", ". thank you", "! thanks", " today",
        ", please and thank you", ", ok", " here", " precisely", ", if possible", ", be exact",
        "", "", "", "", ", it's for school", ", it's for a poster", ", thx", ", thanks a lot", ". i need this for work", ". my teacher asks", ", just the answer", ". no explanation", ", i'm in a hurry", ", i'm curious",
        ", my kid wants to know", ", sir", ", need it fast", ". it's for a form", ", kind regards", ". much appreciated", ", if you don't mind", ". be careful"]


# Words of a question that may be left out without a change of meaning, and words that may come in anywhere.
SPARE = {"the", "a", "an", "me", "is", "are", "do", "does", "please", "you", "there", "that", "this", "can", "could", "would", "i", "it", "my", "of"}
FILLER = ["please", "just", "actually", "quickly", "kindly", "exactly", "really", "maybe", "simply", "right", "then", "basically", "like", "now", "perhaps", "for me"]


def reworded(rng, text):
    """One word left out or one filler put in.

    Only words with another word of the phrasing on both sides are touched, so nothing comes next to a slot.
    """
    words = text.split(" ")
    inner = [i for i in range(1, len(words) - 1) if all(w.isalpha() for w in words[i - 1:i + 2])]
    if not inner:
        return text
    at = rng.choice(inner)
    if rng.random() < 0.6:
        spare = [i for i in inner if words[i].lower() in SPARE]
        if spare:
            del words[rng.choice(spare)]
    else:
        words.insert(at, rng.choice(FILLER))
    return " ".join(words)


SHORT = {"you": "u", "your": "ur", "please": "plz", "thanks": "thx", "because": "cuz", "people": "ppl", "tomorrow": "tmrw", "want to": "wanna", "going to": "gonna", "give me": "gimme",
         "let me": "lemme", "what is": "wats", "what's": "wats", "do you know": "dyk", "with": "w/", "number": "nr", "okay": "k", "about": "abt", "tell me": "tell"}
LONG = re.compile(r"\b(" + "|".join(sorted(SHORT, key=len, reverse=True)) + r")\b(?=\s)", re.I)


def chatted(text):
    """As typed on a phone."""
    return LONG.sub(lambda m: SHORT[m.group().lower()], text)


def closed(rng, text, bare, wrap):
    """The end of a prompt.  What follows unquoted text must not look like a part of it."""
    if text.endswith("}."):
        return text
    if bare == "verbatim" or bare and text.endswith(": {t}"):
        return text
    if bare == "phrase":
        return text + rng.choice(("", "", "", "?", "?", " please", ", please", ", thanks", " please?"))
    if wrap:
        tail = rng.choice(TAIL)
        if tail.startswith((".", "!")):
            return text + tail
        text += tail
    return text + rng.choice(("?", "?", "?", "", "", "", " ?", "??"))


def fill(rng, pattern, slots, wrap=True, bare=None):
    """Expand, add head and tail, add noise, then put the slots in.

    `bare` is "word", "phrase" or "verbatim" when the prompt ends in text without quotes; after the last nothing
    may follow, not even a question mark.
    """
    text = expand(rng, pattern)
    if wrap:
        text = rng.choice(HEAD) + text
    text = closed(rng, text, bare, wrap)
    pieces = SLOT.split(text)
    literals = pieces[0::2]
    if rng.random() < 0.22:
        at = rng.randrange(len(literals))
        literals[at] = reworded(rng, literals[at])
    if rng.random() < 0.05:
        literals = [chatted(p) for p in literals]
    style = rng.random()
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
