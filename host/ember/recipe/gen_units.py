"""Prompts for `convert_units`: value and unit names copied as the user wrote them."""

import units
import units_more
from phrases import fill
from spoken import ONES, said, shown
from tools import Raw

DO = ("[||||please |can you |could you |would you |help me |i want to |i need to |i need you to |how do i |let's |can you please |"
      "just |i'd like to |will you |try to |you should ]")
WANT = ("[what is|what's|whats|how much is|tell me|give me|show me|i need|i want|find|calculate|compute|work out|do you know|can you tell me|"
        "how big is|what are|let me know|could you give me|what would be|how long is|how much would be|figure out|the value of|get me|what does]")
PATTERNS = [
    "{v} {f} [to|into|as|->|=> |= ?] {t}", "{v} {f} [expressed in|converted to|given in|measured in|turned into|in terms of|written in] {t}", "[convert|change|turn|switch] {v} {f} [to|into|in] {t}",
    f"{DO}[convert|change|turn|transform|express|switch|translate|put|write|calculate|compute|give|show|rewrite|restate|swap] {{v}} {{f}} [to|into|in|as] {{t}}", f"{DO}convert {{v}} {{f}} to {{t}}", f"{DO}convert from {{v}} {{f}} to {{t}}",
    f"{WANT} {{v}} {{f}} [in|as|to|into|when converted to|converted to|expressed in|in terms of] {{t}}", f"{WANT} {{v}} {{f}} in {{t}}",
    "how many {t} [are|are there|is|make|make up|do i get from|do i have with|equal|fit in|are equal to|go into|does it take to make] in {v} {f}", "how many {t} [are|are there|is|do you get|does it make|] in {v} {f}", "how many {t} is {v} {f}", "how many {t} are {v} {f}",
    "how many {t} [make|equal|make up|are equal to|correspond to|would be|go into|do i need for] {v} {f}", "how much [is|are|would be] {v} {f} in {t}", "how much {t} [is|are|in|are in|is in] {v} {f}", "how long is {v} {f} in {t}", "how far is {v} {f} in {t}",
    "{v} {f} [is|equals|makes|are|corresponds to|is equal to|comes to|amounts to] how [many|much] {t}", "{v} {f} [is|are|equals|makes] what in {t}", "{v} {f}: how [many|much] {t} [is that|]", "{v} {f}, how [many|much] {t} [is that|are that|does that make]", "what's {v} {f} [if you use|if i use|using|measured with] {t}",
    "[the |this |my |our ][road|room|bag|tank|recipe|file|trip|box|package|oven|race|house|table|dog|phone|garden|film|book|track|cable|boat|forecast|thermometer] [is|says|has|needs|takes|weighs|shows|holds|measures|reads|uses|contains] {v} {f}, [how [many|much] {t} is [that|it|this]|what is [that|it|this] in {t}|[convert|put|change] [that|it|this] [to|into] {t}|i need it in {t}|and in {t}|how [many|much] in {t}]",
    "[i have|i need|i ran|i walked|i drank|i bought|i measured|i waited|i used|we drove|they sold|she ate|he lifted|they say|i got|we have] {v} {f}, [how [many|much] {t} is [that|it|this]|what is [that|it] in {t}|what would that be in {t}|can you convert [that|it] to {t}|tell me that in {t}|that in {t}]",
    "[a recipe|a sign|the manual|the label|the map|my doctor|my coach|the website|the report] [says|asks for|mentions|lists|gives|shows] {v} {f}. [what is that in {t}|how [many|much] {t} is that|how [many|much] is it in {t}|convert [it|that] to {t}]",
    "[from|going from] {f} to {t}: {v}", "{f} to {t}: {v}", "{f} to {t}, value {v}", "{f} to {t} for {v}", "in {t}, how much is {v} {f}", "in {t}, what is {v} {f}", "[what's|what is|how much is] the {t} [equivalent|value|amount] of {v} {f}", "the {t} equivalent of {v} {f}", "[unit |]conversion: {v} {f} to {t}",
    "express {v} {f} in {t}", "convert the value {v} from {f} to {t}", "convert {v} from {f} to {t}", "[give|tell|show] me {v} {f} in {t}", "how would i [write|say|express] {v} {f} in {t}", "i [need|want] {v} {f} in {t}", "[number|amount] of {t} in {v} {f}", "[what number|what amount] of {t} [is|equals|are] {v} {f}", "i'd like {v} {f} [in|as] {t}", "{v} {f} [convert|converted|change] to {t}", "make {v} {f} into {t}",
    "{t} in {v} {f}", "{t} per {v} {f}", "is {v} {f} a lot, how [many|much] {t} is it", "how [hot|cold|heavy|big|large|fast|tall|high|wide|deep] is {v} {f} in {t}", "{v} {f} in {t} [is|are] how [much|many]", "what do {v} {f} [come to|make|amount to|equal] in {t}", "{v} {f} but in {t}", "if [something|it|a thing] [is|weighs|measures|lasts|takes] {v} {f}, [what is that|how much is it|how much is that] in {t}", "{v} {f} in {t}[| exactly| roughly| approximately| please]",
]
# Spellings that also read as prose ("in", "a") are only used where they are clear.
AWKWARD = {"in", "b", "t", "d", "pt", "st", "turn", "wk", "yr", "cal"}
FAMILIES = list(units.FAMILIES) + ["temperature"]
TEMPERATURE = {"c": ["c", "C", "celsius", "celsius", "Celsius", "degrees celsius", "°C", "degrees C", "centigrade", "degrees Celsius"],
               "f": ["f", "F", "fahrenheit", "fahrenheit", "Fahrenheit", "degrees fahrenheit", "°F", "degrees F", "degrees Fahrenheit"],
               "k": ["k", "K", "kelvin", "Kelvin", "kelvins"]}
NICE = {"l": "L", "ml": "mL", "mb": "MB", "gb": "GB", "kb": "KB", "tb": "TB", "kwh": "kWh", "wh": "Wh", "j": "J", "kj": "kJ", "pa": "Pa", "kpa": "kPa",
        "mmhg": "mmHg", "btu": "BTU", "gib": "GiB", "mib": "MiB", "kib": "KiB", "m3": "m³", "m2": "m²", "mph": "MPH", "kg": "Kg", "km": "KM"}


def spelling(rng, family, unit):
    """How the user writes a unit, and what goes into the arguments."""
    if family == "temperature":
        seen = rng.choice(TEMPERATURE[unit])
        # "degrees" and the sign are words around the unit, not part of its name.
        return seen, seen.replace("degrees ", "").replace("°", "")
    names = units._split(units.FAMILIES[family][unit][1])
    long = [n for n in names if len(n) > 3 and n not in AWKWARD]
    pool = long if long and rng.random() < 0.62 else [n for n in names if n not in AWKWARD] or names
    name = rng.choice(pool)
    r = rng.random()
    if r < 0.15 and name in NICE and NICE[name].isascii():
        name = NICE[name]
    elif r < 0.06:
        name = name.capitalize() if len(name) > 2 else name
    return name, name


def indirect(rng, family):
    """A fact and a wish, in either order, or a plain request."""
    r = rng.random()
    if r < 0.5:
        return rng.choice(units_more.PLAIN)
    fact = rng.choice(units_more.FACTS[family]) if rng.random() < 0.8 else "{v} {f}"
    if r < 0.9:
        wish = rng.choice(units_more.WISHES)
        joint = rng.choice((", ", ", ", ". ", ". ", " - ", "; ", "\n", "... "))
        return fact + (" " if wish.startswith(("but ", "and ", "to ")) and rng.random() < 0.5 else joint) + wish
    return rng.choice(units_more.FIRST) + rng.choice((": ", ": ", ", ", ". ", "\n")) + fact


def single(src, family):
    """One of something, half of it, or some and a half, with no digits in the prompt."""
    rng = src.rng
    table = units.FAMILIES[family]
    a, b = rng.sample(list(table), 2)
    names = [n for n in units._split(table[a][1]) if len(n) > 3 and not n.endswith("s") and n not in AWKWARD and n != "feet"]
    if not names:
        return None
    name = rng.choice(names)
    seen_b, name_b = spelling(rng, family, b)
    article = "an" if name[0] in "aeio" or name == "hour" else "a"
    r, whole = rng.random(), rng.randint(1, 9)
    if r < 0.6:
        value, seen = "1", f"{rng.choice((article, article, 'one'))} {name}"
    elif r < 0.8:
        value, seen = "0.5", rng.choice((f"half {article} {name}", f"half {article} {name}", f"a half {name}"))
    else:
        value, name = f"{whole}.5", next((p for p in (name + "s", name + "es", name.replace("foot", "feet")) if p in units.INDEX), name)
        seen = f"{ONES[whole]} and a half {name}"
    prompt = fill(rng, rng.choice(units_more.SINGLE), {"x": seen, "u": seen_b}, wrap=rng.random() < 0.45)
    return prompt, "convert_units", {"value": Raw(value), "from": name, "to": name_b}


def make(src):
    rng = src.rng
    if rng.random() < 0.05:
        made = single(src, rng.choice(("length", "mass", "volume", "time", "area", "data")))
        if made:
            return made
    more = rng.random() < 0.5
    family = rng.choice(FAMILIES + ["length", "mass", "volume", "temperature", "time", "length", "mass", "temperature"])
    table = TEMPERATURE if family == "temperature" else units.FAMILIES[family]
    a, b = rng.sample(list(table), 2)
    (seen_a, name_a), (seen_b, name_b) = spelling(rng, family, a), spelling(rng, family, b)
    r = rng.random()
    value = src.decimal() if r < 0.3 else src.integer(1, 999) if r < 0.75 else src.integer()
    if value.startswith("0") and "." not in value:
        value = src.integer(1, 999)
    if family == "temperature" and rng.random() < 0.12:
        value = "-" + value
    slots = {"v": said(rng, value) if more else shown(rng, value), "f": seen_a, "t": seen_b}
    pattern = indirect(rng, family) if more else rng.choice(PATTERNS)
    if slots["v"] == value and rng.random() < 0.10:
        pattern = pattern.replace("{v} {f}", "{v}{f}")
        slots["f"] = name_a if "degrees" in seen_a else seen_a
    # The slot is called {t} in text prompts, where it may be bare text; here
    # it is one of a closed set of units, so a tail after it is no problem.
    pattern = pattern.replace("{t}", "{u}")
    slots["u"] = slots.pop("t")
    prompt = fill(rng, pattern, slots, wrap=rng.random() < 0.45)
    return prompt, "convert_units", {"value": Raw(value), "from": name_a, "to": name_b}
