"""Prompts for the text tools.  `{t}` is text at the end of a prompt or in quotes."""

from phrases import expand, fill

QUOTES = [("'", "'"), ("'", "'"), ('"', '"'), ('"', '"'), ('"', '"'), ("“", "”"), ("`", "`"), ("‘", "’"), ("«", "»")]
POLITE = ("[||||please |can you |could you |would you |i want to |i need you to |i'd like you to |help me |let's |i want you to |"
          "kindly |can you please |could you please |you should |will you |just |would you mind to |i need to |go and |"
          "can i ask you to |try to |do me a favor and |may i ask you to ]")
THE = "[|the |this |my |that |these |the following |this here ]"
KIND = "[word|word|text|string|phrase|sentence|line|title|name|input|expression|message|term]"
WHAT = ("[what is|what's|whats|tell me|give me|find|i need|i want|show me|get me|let me have|what would be|what will be|"
        "can you [tell|give|show] me|could you [tell|give] me|i would like|id like|do you know|let me know|determine|say|"
        "output|print|return|i want to know|compute|the|just|please give me]")
WANT = ("[i need|i want|give me|get me|show me|let me have|can i get|could i have|can i have|i would like|id like|may i have|"
        "can you give me|could you give me|make me|create|generate|produce|write|build|make|what is|what's|whats|tell me|i'm looking for|return|output|print|type]")

LETTER = [
    "how many [times does|times do] {c} [appear|occur|show up|come up|come|turn up|exist|feature] in {t}",
    "how many [letters|letter|letter's|characters|] {c} [are|is|are there|is there|do you see|do you find|can you find|can you see|] in {t}",
    "how many {cs} [are|are there|do you see|do you count|can you find|does it have|do we have|] in {t}",
    "how many {cs} does {t} [have|contain|include|hold]",
    "how many {cs} [has|contains|got] {t}",
    "how many [of the|of] [letter|letters] {c} [are|] in {t}",
    "how many occurrences of {c} [are|are there|] in {t}",
    "how often [does|is] {c} [appear|occur|come|there|used|appearing|show] in {t}",
    "how often [is|does] the letter {c} [used|found|appear|written|occur|turn up] in {t}",
    f"{POLITE}count [the|all|all the|all of the|] {{cs}} in {THE}{{t}}",
    f"{POLITE}count [the|all|every|each|] [letter|occurrences of|appearances of|occurrence of|instances of] {{c}} in [{THE}{KIND}|] {{t}}",
    f"{POLITE}count how [many times|often] {{c}} [is|appears|occurs|shows up|comes] in {{t}}",
    f"{POLITE}count how many {{cs}} [are|there are|] in {{t}}",
    f"{POLITE}count {{c}} in {{t}}",
    "[the |]number of {cs} in {t}", "[the |]number of [letter|times|occurrences of] {c} [|appears|occurs] in {t}",
    f"{WHAT} the [number|count|total|amount|frequency|quantity] of [{{cs}}|letter {{c}}|occurrences of {{c}}|the letter {{c}}] in [{THE}{KIND}|] {{t}}",
    f"in {THE}{KIND} {{q}}, how many [times does {{c}} [appear|occur|come up|show up]|{{cs}} [are there|do you see|do you find|can you count]]",
    f"in {{q}}, how many {{cs}} [are there|do you see|can you find|exist|do you count]",
    f"{THE}{KIND} {{q}}: how many {{cs}} [does it have|are in it|in there|are there|inside]",
    f"{{q}} [has|contains|includes] how many {{cs}}", f"{{q}} - how many {{cs}}", "{q}, how many {cs}", "{q}: count the {cs}",
    "[look at|take|consider|given] {q} and [count|tell me] [the {cs}|how many {cs} there are|how often {c} appears]",
    "[letter|] {c} count [in|of|for] {t}", "letter count of {c} in {t}", "[letter |]frequency of {c} in {t}", "occurrences of {c} in {t}",
    "count of {cs} in {t}", "how many {cs} [will|would|can|do] i [find|see|count|get] in {t}", "how many {cs} [to|do you need to] [spell|write|type] {t}",
    "is there [any|a|more than one] {c} in {q}, how many", "the {cs} in {q} [need counting|must be counted], how many are there",
    "tell me how many {cs} [there are|you see|you can find|are] in {t}", "[i would like|i want|i need] to know how [many {cs} are|often {c} is] in {t}",
    "do you know how many {cs} [are|there are] in {t}", "does {q} contain {c}? how many times", "number of times {c} [is|appears|occurs|shows] in {t}",
    "[check|see|find out] how many {cs} [are|there are] in {t}", "when spelling {q} how many {cs} do i [write|need|use]",
    f"how many times is {{c}} [in|used in|found in|contained in|part of] [{THE}{KIND}|] {{t}}", "give me the {c} count [of|for|in] {t}",
]

WORDS = [
    f"how many words [are|are there|are there in total|do you see|do you count|can you find|] in {THE}[{KIND}|]: {{t}}",
    f"how many words [are|are there|do you count|] in [{THE}{KIND}|] {{q}}", f"how many words does [{THE}{KIND}|] {{q}} [have|contain|consist of|include]",
    f"{POLITE}count [the|all|all the|my|] words in [{THE}{KIND}|] {{q}}", f"{POLITE}count [the|all|all the|my|] words [in|of] {THE}{KIND}: {{t}}",
    f"{POLITE}count [the|all the|] words: {{t}}", "word count of {q}", "word count: {t}", "word count for [this|the following]: {t}", "[the |]number of words in {q}", "number of words: {t}",
    f"{WHAT} the [number of words|word count|total words|amount of words|count of words] [in|of|for] [{THE}{KIND}|] {{q}}",
    f"{WHAT} the [number of words|word count|amount of words|count of words] [in|of|for] {THE}{KIND}: {{t}}",
    "{q}: how many words [is that|are there|are these|]", "{q} [has|contains|consists of|is made of] how many words", "{q}, how many words is that",
    f"how many words [long|] is [{THE}{KIND}|] {{q}}", f"in {THE}{KIND} {{q}}, how many words [are there|do you see|do you count]",
    "[i wrote|i typed|i said|they wrote] {q}, how many words [is that|did i write|are that]", "tell me how many words [are|there are] in {q}",
    f"{POLITE}[tell me|find out|determine|check|see|say] how many words {THE}{KIND} {{q}} has", "words in {q}", f"how wordy is {{q}}, count [the|all] words",
    "how many separate words [are in|make up|form] {q}", "number of words used in {q}", "total words in {q}", f"{POLITE}[do|run|make] a word count [on|of|for] {{q}}",
    f"{POLITE}[do|run|make] a word count [on|of|for] {THE}{KIND}: {{t}}", "of how many words [is|does] {q} [made|consist]",
]

CHARS = [
    f"how many [characters|chars|symbols] [are|are there|are there in total|do you count|] in [{THE}{KIND}|] {{q}}",
    f"how many [characters|chars|symbols|letters and spaces] [are|are there|] in {THE}{KIND}: {{t}}",
    f"how many [characters|chars] does [{THE}{KIND}|] {{q}} [contain|use|include|consist of|take|need|have]",
    f"how many [characters|chars] [are|] in {{t}}", f"how many [characters|chars] long is [{THE}{KIND}|] {{q}}",
    f"{POLITE}count [the|all|all the|] [characters|chars] in {THE}{KIND} {{q}}", f"{POLITE}count [the|all|all the|] [characters|chars] [of|in] {THE}{KIND}: {{t}}",
    f"{POLITE}count [the|] [characters|chars]: {{t}}", "[character|char] count of {q}", "[character|char] count: {t}", "[the |]number of [characters|chars] in {q}", "[the |]number of [characters|chars] in {t}",
    f"{WHAT} the [length|number of characters|character count|total number of characters|char count|size in characters] of {THE}{KIND} {{q}}",
    f"{WHAT} the [length|number of characters|character count|char count] of {THE}{KIND}: {{t}}", "{q}: how many [characters|chars] [is that|are there|]",
    f"how long is {THE}{KIND} {{q}}", f"how long is {THE}{KIND}: {{t}}", f"length of [{THE}{KIND}|] {{q}}", "length of {t}", "length in [characters|chars] of {q}", "{q} [has|is] how many [characters|chars][| long]",
    f"{POLITE}[measure|check|find|determine|get] the length of [{THE}{KIND}|] {{q}}", "tell me how many [characters|chars] [are|there are] in {q}",
    "tell me how [long|many characters] {q} is", f"in {THE}{KIND} {{q}}, how many [characters|chars] [are there|do you count]", "string length of {q}", "text length of {q}", "characters in {q}", "how long is {q}",
    "[including|counting|with] spaces, how many [characters|chars] [are|] in {q}", f"{POLITE}[do|run|make] a character count [on|of|for] {{q}}",
    f"total [characters|chars] in {{q}}", "will {q} fit in a tweet, how many [characters|chars] is it", "how many keystrokes or characters is {q}",
]

REVERSE = [
    f"{POLITE}reverse [{THE}{KIND}|] {{q}}", f"{POLITE}reverse {THE}{KIND}: {{t}}", f"{POLITE}reverse [the letters|the characters|the order of letters|all letters] [of|in] {{q}}",
    "reverse: {t}", f"{POLITE}[write|spell|type|say|print|put|show|read] [{THE}{KIND}|] {{q}} [backwards|backward|in reverse|reversed|in reverse order|from the end|from back to front|from right to left|the other way around|the wrong way round]",
    f"{POLITE}[write|spell|type|say|print|put] {THE}[{KIND}|] [backwards|backward|in reverse|reversed]: {{t}}",
    "{q} [backwards|in reverse|backward|reversed|in reverse order]", "[backwards|reversed|backward|in reverse|reverse order]: {t}",
    f"what is [{THE}{KIND}|] {{q}} [backwards|in reverse|reversed|backward|written backwards|from right to left|read from the end]",
    "what does {q} [look like|read|say|become|spell] [backwards|reversed|in reverse|when reversed|from right to left|when read backwards|when you reverse it]",
    f"{WHAT} the [reverse|reversed version|reversal|reversed form|backwards form|backward spelling|reverse order] of [{THE}{KIND}|] {{q}}",
    f"how do you [spell|write|say] [{THE}{KIND}|] {{q}} [backwards|in reverse|reversed]", f"{POLITE}[turn|flip] [{THE}{KIND}|] {{q}} [backwards|back to front|end to start|in reverse|from end to start]",
    f"{POLITE}[flip|invert|turn around] the [order of the letters|letter order|characters|letters] [in|of] {{q}}", "how [is|would] {q} [be spelled|be written|spelled|written|read|look] [backwards|in reverse|from the end]",
    "{q} but [backwards|reversed|in reverse]", "{q}: [write|spell|show] it [backwards|reversed|in reverse]", f"{POLITE}make {{q}} [read|go|run] [backwards|in reverse]",
    "[spelling|writing|reading] {q} backwards gives what", "reverse of {q}", "reverse spelling of {q}", "reversed text of {q}", "if i [read|write|spell] {q} backwards, what [do i get|does it say|is it]",
    f"{POLITE}[flip|mirror|invert] [{THE}{KIND}|] {{q}}", f"{POLITE}[flip|invert|mirror] {THE}{KIND}: {{t}}", "last letter first: {t}", "[start|begin] from the last letter [and write|and spell] {q}",
    f"{WHAT} {{q}} [backwards|in reverse|reversed|spelled backwards]", f"{WANT} a [reversed|backwards|mirrored] [version|copy] of {{q}}",
]

TO = {
    "upper": "[upper case|uppercase|upper-case|capital letters|capitals|all caps|all uppercase|upper case letters|caps|all capital letters|block letters|big letters|block capitals|UPPERCASE|ALL CAPS]",
    "lower": "[lower case|lowercase|lower-case|small letters|all lowercase|lower case letters|all lower case|all small letters|little letters|non-capital letters|lowercase letters]",
    "title": "[title case|titlecase|title-case|Title Case|headline case|title capitalization|the style of a title|title style|a title case format]",
    "snake": "[snake case|snake_case|snakecase|snake-case|snake case style|snake format|a snake_case name|underscore case|python variable style]",
    "kebab": "[kebab case|kebab-case|kebabcase|kebab|dash case|kebab style|a kebab-case name|dash-case|hyphen case|css class style]",
    "camel": "[camel case|camelcase|camelCase|camel-case|camel case style|a camelCase name|camel format|javascript variable style|lower camel case]",
}
ING = {
    "upper": ["{q} in {to}", f"{POLITE}[capitalize|uppercase|upper-case] [all letters [of|in]|every letter of|the whole of|{THE}{KIND}|all of|] {{q}}", f"{POLITE}uppercase {THE}[{KIND}|]: {{t}}",
              f"{POLITE}[shout|scream|yell] {THE}{KIND}: {{t}}", f"{POLITE}make all [the |]letters [of|in] {{q}} [big|capital|upper case|uppercase]", "[uppercase|upper|caps|all caps]: {t}", "uppercase {q}", "upper {q}",
              f"{POLITE}capitalize everything in {{q}}", f"{POLITE}[capitalize|uppercase] {{q}} [completely|entirely|fully]"],
    "lower": ["{q} in {to}", f"{POLITE}lowercase [all letters [of|in]|every letter of|{THE}{KIND}|all of|] {{q}}", f"{POLITE}lowercase {THE}[{KIND}|]: {{t}}",
              f"{POLITE}[remove|drop|get rid of|take away] [the|all] [capitals|capital letters|caps|uppercase] [in|from|of] {{q}}", f"{POLITE}make all [the |]letters [of|in] {{q}} [small|lowercase|lower case]",
              "[lowercase|lower]: {t}", "lowercase {q}", "lower {q}", f"{POLITE}stop shouting: {{t}}", f"{POLITE}[decapitalize|uncapitalize|downcase] {{q}}", "no caps version of {q}"],
    "title": [f"{POLITE}capitalize [the first letter of each word|each word|every word|all words|the first letter of every word|the initial of each word] [in|of] {{q}}", f"{POLITE}capitalize each word[:|] {{t}}",
              f"{POLITE}[title case|titlecase|title-case] [{THE}{KIND}|] {{q}}", f"{POLITE}make {{q}} look like a title", "title case: {t}", "{q} as a title", f"{POLITE}[format|write|style] {{q}} [as|like] a [title|headline|book title]",
              f"{POLITE}start every word [of|in] {{q}} with a capital[| letter]"],
    "snake": [f"{POLITE}[snake case|snakecase|snake_case] [{THE}{KIND}|] {{q}}", "snake_case: {t}", "snake case: {t}", f"{POLITE}[join|connect|separate] the words [of|in] {{q}} with underscores",
              f"{POLITE}replace spaces with underscores in {{q}}", "snake_case {q}", f"{WANT} a [python|] [variable|function] name [in snake case |]for {{q}}", "{q} with underscores"],
    "kebab": [f"{POLITE}[kebab case|kebabcase|kebab-case] [{THE}{KIND}|] {{q}}", "kebab-case: {t}", "kebab case: {t}", f"{POLITE}[join|connect] the words [of|in] {{q}} with [hyphens|dashes]", "kebab-case {q}",
              "{q} with [dashes|hyphens] between the words", f"{WANT} a css class [name |]for {{q}}"],
    "camel": [f"{POLITE}[camel case|camelcase|camel-case] [{THE}{KIND}|] {{q}}", "camelCase: {t}", "camel case: {t}", f"{WANT} a [javascript|java|js] [variable|function] name [in camel case |]for {{q}}", "camelCase {q}",
              "{q} as a camelCase [identifier|variable|name]"],
}
CASE = [
    f"{POLITE}[convert|change|turn|put|transform|make|rewrite|translate|switch|set|format|bring|render|reformat] [{THE}{KIND}|] {{q}} [to|into|in|to be in|as] {{to}}",
    f"{POLITE}[convert|change|turn|put|transform|rewrite|switch|set|format|make] {THE}[{KIND}|] [to|into|in|as|] {{to}}: {{t}}", "{to}: {t}", "{q} [to|into|in|as] {to}", "to {to}: {t}", "in {to}: {t}",
    f"{POLITE}[write|type|print|spell|show|display|output|give me|say|rewrite|repeat] [{THE}{KIND}|] {{q}} [in|using|with|as] {{to}}", f"{POLITE}[write|type|print|give me|show] [this|the following] in {{to}}: {{t}}",
    f"{WHAT} [the |]{{to}} [version|form|of|variant|spelling|for|equivalent] of {{q}}", f"{WANT} {{q}} [in|as|written in|converted to|turned into] {{to}}", "how do i write {q} in {to}", "how [does|would] {q} look in {to}",
    "what [is|would be|does] {q} [in|as|be in|look like in] {to}", f"{POLITE}apply {{to}} to [{THE}{KIND}|] {{q}}", "{q}: {to}[| please]", f"{WANT} the {{to}} [version|form|variant] of {{q}}", f"{POLITE}use {{to}} for [{THE}{KIND}|] {{q}}",
    f"{{q}} [should be|must be|needs to be|has to be] in {{to}}", "{q}, but in {to}", f"{THE}{KIND} {{q}} [goes|belongs] in {{to}}", "change the case of {q} to {to}", f"{WANT} this in {{to}}: {{t}}",
    f"{POLITE}change [the |]case to {{to}}: {{t}}",
]

SLUG = [
    f"{POLITE}slugify [{THE}{KIND}|] {{q}}", f"{POLITE}slugify {THE}{KIND}: {{t}}", "slugify: {t}", f"{POLITE}[make|create|generate|build|produce|write|derive|compute|get] [a|the|an|] [url |web |blog |seo |page |clean |]slug [for|from|of|based on|with] [{THE}{KIND}|] {{q}}",
    f"{POLITE}[make|create|generate|build|produce] [a|the|] [url |web |blog |seo |page |]slug [for|from|of] {THE}[{KIND}|]: {{t}}", f"{POLITE}[turn|convert|change|transform|make] [{THE}{KIND}|] {{q}} [into|to|in] [a|an] [url |web |blog |seo |page |url friendly |]slug",
    f"{POLITE}[turn|convert|change|transform] {THE}{KIND} [into|to] [a|an] [url |web |blog |seo |page |url friendly |]slug: {{t}}", f"{WHAT} [the|a] [url |web |page |]slug [of|for|from] [{THE}{KIND}|] {{q}}", "slug: {t}", "slug for {q}", "slug of {q}", "{q} as [a|an] [url |]slug", "url slug: {t}",
    "what [would|is|should] [a|the] [url |web |page |] slug [for|of|from] {q} be", f"{POLITE}[make|turn|write] {{q}} [url friendly|url-friendly|url safe|safe for a url|into a url part|fit for a link]", f"{WANT} [a|the] slug for [my|this|a|the] [post|page|article|blog post] [called|titled|named|with the title] {{q}}", "my [post|page|article] is [called|titled|named] {q}, [what is its slug|what's the slug|give me a slug|make a slug]",
    "slug from {q}", "{q} slug", "how [does|would|do i write] {q} [look |]as a [url |]slug", f"{POLITE}[make|create] {{q}} a slug", f"{WANT} [a|the|an] [url |web |seo |page |]slug [from|out of|for] {{q}}",
]


def quoted(rng, text, share=0.72):
    """The text in quotes it does not contain, or bare when that is unambiguous."""
    pairs = [p for p in QUOTES if p[0] not in text and p[1] not in text]
    if not pairs or (" " not in text and rng.random() > share):
        return text
    left, right = rng.choice(pairs)
    return left + text + right


def ended(rng, pattern, text):
    """(slots, pattern, bare): decides whether text at the end stands without quotes."""
    if pattern.endswith("{q}") and " " in text and rng.random() < 0.2:
        pattern = pattern[:-3] + "{t}"
    bare = None
    if pattern.endswith("{t}") and rng.random() < 0.6 and (pattern.endswith(": {t}") or text[-1:] not in ".!?"):
        bare = "phrase" if " " in text else "word"
    slots = {"q": quoted(rng, text), "t": text if bare else quoted(rng, text, 0.6)}
    return slots, pattern, bare


def sprinkle(rng, text):
    """Now and then a character that JSON must escape."""
    r = rng.random()
    if r < 0.012 and " " in text:
        word = rng.choice(text.split())
        return text.replace(word, f'"{word}"', 1)
    if r < 0.018:
        return text.replace(" ", "\\", 1) if " " in text else text + "\\"
    if r < 0.022 and " " in text:
        return text.replace(" ", "\n", 1)
    return text + "'s" if r < 0.03 and " " not in text else text


def letter(src):
    rng = src.rng
    text = src.word() if rng.random() < 0.7 else src.phrase(2, 4)
    r = rng.random()
    letters = [c for c in text if c.isalpha()] or ["a"]
    c = rng.choice(letters) if r < 0.75 else rng.choice("abcdefghijklmnopqrstuvwxyz")
    if r > 0.97:
        c = rng.choice("0123456789-.")
    if rng.random() < 0.75:
        c = c.lower()
    pattern = rng.choice(LETTER)
    one = rng.choice((c, c, f"'{c}'", f'"{c}"', f"letter {c}", f"the letter {c}", f"the letter '{c}'", f'the letter "{c}"'))
    if "letter" in pattern.split("{c}")[0][-12:]:
        one = rng.choice((c, c, f"'{c}'", f'"{c}"'))
    several = rng.choice((c + "'s", c + "'s", c + "s", c, f"'{c}'s", f"letter {c}", f"letters {c}", f"'{c}'", f'"{c}"', f'"{c}"s', f"letter {c}'s", c.upper() + "s", c.upper() + "'s"))
    if c.upper() != c and (c.upper() + "s" == several or c.upper() + "'s" == several):
        c = c.upper()
    slots, pattern, bare = ended(rng, pattern, text)
    slots.update(c=one, cs=several)
    return fill(rng, pattern, slots, rng.random() < 0.5, bare), "count_letter", {"text": text, "letter": c}


def simple(tool, patterns, single=0.5):
    def make_one(src):
        rng = src.rng
        pattern = rng.choice(patterns)
        text = src.word() if rng.random() < single else src.phrase()
        text = sprinkle(rng, text)
        slots, pattern, bare = ended(rng, pattern, text)
        prompt = fill(rng, pattern, slots, rng.random() < 0.5, bare)
        return prompt, tool, {"text": text}
    return make_one


def identifier(src):
    """Names as programmers write them, so that case changes have something to do."""
    rng = src.rng
    words = [src.plain() for _ in range(rng.randint(2, 4))]
    style = rng.randrange(5)
    if style == 0:
        return words[0] + "".join(w.capitalize() for w in words[1:])
    if style == 1:
        return "".join(w.capitalize() for w in words)
    return ("_", "-", " ")[style - 2].join(words)


def case(src):
    rng = src.rng
    to = rng.choice(("upper", "lower", "title", "snake", "kebab", "camel"))
    pattern = rng.choice(ING[to] if rng.random() < 0.35 else CASE).replace("{to}", TO[to])
    r = rng.random()
    text = identifier(src) if r < 0.25 or (r < 0.5 and to in ("snake", "kebab", "camel")) else src.text()
    if to == "lower" and rng.random() < 0.5:
        text = text.upper()
    text = sprinkle(rng, text)
    slots, pattern, bare = ended(rng, expand(rng, pattern), text)
    prompt = fill(rng, pattern, slots, rng.random() < 0.5, bare)
    return prompt, "change_case", {"text": text, "to": to}


count_words = simple("count_words", WORDS, 0.08)
count_characters = simple("count_characters", CHARS, 0.5)
reverse = simple("reverse_text", REVERSE, 0.65)
slug = simple("slugify", SLUG, 0.12)
