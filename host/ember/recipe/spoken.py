"""How people write numbers: digits, words, lists."""

import re

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def spell(rng, n):
    """A number in English words, up to 999999999."""
    if n >= 1_000_000:
        rest = spell(rng, n % 1_000_000) if n % 1_000_000 else ""
        return f"{spell(rng, n // 1_000_000)} million {rest}".strip()
    if n >= 1000:
        rest = spell(rng, n % 1000) if n % 1000 else ""
        return f"{spell(rng, n // 1000)} thousand {rest}".strip()
    if n >= 100:
        link = rng.choice((" ", " and ")) if n % 100 else ""
        return f"{ONES[n // 100]} hundred{link}{spell(rng, n % 100) if n % 100 else ''}"
    if n < 20:
        return ONES[n]
    return TENS[n // 10] + (rng.choice(("-", " ")) + ONES[n % 10] if n % 10 else "")


def shown(rng, text, words=True):
    """How a person may write the number `text`."""
    if text.isdigit():
        value, r = int(text), rng.random()
        if words and r < 0.15 and value < 100 and not text.startswith("0"):
            return spell(rng, value)
        if words and r < 0.03 and (value % 100 == 0 or value < 1000) and 0 < value < 100000:
            return spell(rng, value)
        if value >= 1000 and rng.random() < 0.18:
            return f"{value:,}"
    return text


def said(rng, text):
    """As `shown`, with more numbers in words, decimals too."""
    r = rng.random()
    if text.isdigit() and (text == "0" or text[0] != "0"):
        value = int(text)
        if r < 0.22 and value < 100 or r < 0.10 and value < 1000 or r < 0.3 and value < 10**9 and value % 100 == 0:
            return spell(rng, value)
    elif r < 0.06 and "." in text and len(text) < 6 and text[0] not in "-0.":
        whole, places = text.split(".")
        return f"{spell(rng, int(whole))} point {' '.join(ONES[int(d)] for d in places)}"
    return shown(rng, text, False)


PARTS = {3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth", 9: "ninth", 10: "tenth"}


def fraction_word(above, below):
    """2, 5 -> two fifths"""
    return f"{ONES[above]} {PARTS[below]}{'s' if above > 1 else ''}"


def separated(rng, items, sentence):
    """A list of numbers, inside a sentence or on its own, in one of many separators."""
    if sentence and rng.random() < 0.8:
        return joined(rng, items) if rng.random() < 0.7 else " and ".join(items)
    marks = [", ", ", ", "; ", " and ", " & ", " | ", "\n", "\n", ",\n", " , ", "\t"] if not sentence else [", ", " & ", "; "]
    if not any(re.fullmatch(r"\d{3}(\.\d+)?", i) for i in items[1:]):  # "12,345" would be one number
        marks += [",", " ", " ", " "]
    if all(i[0].isdigit() for i in items):
        return rng.choice(marks).join(items)
    return rng.choice((", ", "; ", " and ")).join(items)


def ordinal(text):
    if text[-2:] in ("11", "12", "13"):
        return "th"
    return {"1": "st", "2": "nd", "3": "rd"}.get(text[-1], "th")


def negative(rng, text, share=0.05):
    return "-" + text if rng.random() < share and text != "0" else text


def joined(rng, items, word="and"):
    if len(items) == 2:
        return rng.choice((f"{items[0]} {word} {items[1]}", f"{items[0]} {word} {items[1]}", f"{items[0]}, {items[1]}"))
    return ", ".join(items[:-1]) + rng.choice((f" {word} ", f" {word} ", f", {word} ", ", ")) + items[-1]
