"""Phrasing of a prompt with its numbers, texts and units blanked out.

Two prompts with the same skeleton share a template.  Training prompts whose
skeleton is that of a hand-written evaluation prompt are thrown away.
"""

import re
from functools import lru_cache

import gen_calc
import units

_NUMBER = re.compile(r"-?\d[\d,.]*")
_WORDS = sorted(set(gen_calc.ONES + gen_calc.TENS + ["hundred", "thousand"]), key=len, reverse=True)
_SPOKEN = re.compile(r"\b(?:" + "|".join(_WORDS) + r")\b(?:[ -](?:and )?(?:" + "|".join(_WORDS) + r")\b)*")
_UNIT = re.compile(r"(?<![a-z])(?:" + "|".join(re.escape(u) for u in sorted(units.INDEX, key=len, reverse=True)) + r")(?![a-z])")
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|`[^`]*`|«[^»]*»|(?<!\w)['‘].*?['’](?!\w)")


def skeleton(prompt, arguments):
    text = prompt.lower()
    value = (arguments or {}).get("text")
    if value:
        text = text.replace(value.lower(), "\x01")
    text = _QUOTED.sub("\x01", text)
    if (arguments or {}).get("letter"):
        letter = re.escape(arguments["letter"].lower())
        text = re.sub(rf"(?<![a-z])['\"]?{letter}['\"]?(?:'?s)?(?![a-z])", "\x02", text)
    if (arguments or {}).get("from"):
        text = _NUMBER.sub("\x03", text)
        text = _UNIT.sub("\x04", text)
    text = _NUMBER.sub("\x03", text)
    text = _SPOKEN.sub("\x03", text)
    return "".join(c for c in text if c.isalpha() or c in "\x01\x02\x03\x04+-*/%^!()")


@lru_cache(1)
def forbidden():
    import handwritten
    table = {skeleton(p, a) for _, p, a in handwritten.rows()}
    return table | {skeleton(p, None) for p in handwritten.REFUSE + handwritten.CHAT}
