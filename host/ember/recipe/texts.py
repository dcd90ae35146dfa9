"""Texts as people really have them: titles, sentences, file names, product names.

A frame is filled with drawn words, and its own words must pass the same hash
split as drawn ones, so that held-out words never come in through a frame.
`W` is a drawn word, `N` a number, `Y` a year, `D` one digit; a frame word
that belongs to the other side is replaced by a drawn word.
"""

import re

TITLES = """
How to W a W|N Tips for W W|Why W Is the New W|The W of W|The Best W in W|W and W: A Guide|My First W|W for Beginners|A Day in the W
What Is W?|W vs. W|N Ways to W Your W|The W's W|Top N W Ideas for Y|W W Y|W - Part D|Chapter N: The W|W, W and W|The Lost W
W & W|How I W my W in N Days|Is W Worth It?|W Report Y|About Us|Contact Us|Terms and Conditions|Getting Started with W|New W, New W!
The W That W|Lord of the W|Return of the W|W in the W|Once Upon a W|Meeting Notes D|Q3 W Review|W W (W Edition)|Our W Story
""".replace("\n", "|").strip("|").split("|")
SENTENCES = """
I love my W|the W is W|Where is my W?|See you at N!|It's W again|I can't W today|we need N more W|Please W the W|W me at D pm|don't W the W
She said W, not W|Happy birthday, W!|Congratulations W and W|No W allowed|keep the W W|W is W, W is W|Let's go to the W|my W has N W|Wet W!
do not enter|Sale ends W|All W must go!|Good morning W|Thank you for the W|the quick W W|to be or not to W|W makes me W|Call W at N|Do you like W?
Back in D minutes|Mind the W|Beware of the W|Open W to W|Free W inside|I will be W tomorrow.|Hi W, how are you?|Never W a W|Just W it|W W wins N to N
""".replace("\n", "|").strip("|").split("|")
FILES = """
W.txt|W_W.py|IMG_N.jpg|W-W.pdf|W W v2.docx|W (D).png|my_W.csv|W.W.js|Final W.pptx|README.md|W_N.xlsx|notes-Y.md|W W Y.pdf|W-v1.D.zip|index.html|W_final_FINAL.doc
""".strip().split("|")
PRODUCTS = """
W N|W Pro N|W X D|The W N00|W Mini|W W Plus|Super W D|W-N W|W Air D|W 2 Go|eW|iW N|WW Max|W & Co|W Studio D.D|U-W|W No. D|W LTD|W+|W 4K
""".strip().split("|")
IDENTIFIERS = "userW|getW|W_ID|W_count|isW|maxWW|W_W_W|total W|W W count|first W|W per W|W id|HTTP W|on W click|W list D|my W W".split("|")

TOKEN = re.compile(r"[A-Za-z]+|[^A-Za-z]")


def drawn(src, capital):
    word = src.plain()
    return word.capitalize() if capital else word


def fill_frame(src, frame, capital):
    """The frame with its placeholders drawn and its own words checked."""
    out = []
    for token in TOKEN.findall(frame):
        if token == "N":
            out.append(src.integer(2, 999))
        elif token == "Y":
            out.append(src.integer(1950, 2035))
        elif token == "D":
            out.append(str(src.rng.randint(1, 9)))
        elif token.isalpha() and token[-1] == "W" and token.strip("W") in ("", "user", "is", "e", "i", "max", "get"):
            prefix = token.rstrip("W")
            words = [drawn(src, capital or bool(prefix)) for _ in range(len(token) - len(prefix))]
            out.append(prefix + "".join(words))
        elif len(token) > 1 and token.isalpha() and not src.fits(token):
            out.append(drawn(src, token[:1].isupper()))
        else:
            out.append(token)
    return "".join(out)


def real(src):
    """A title, a sentence, a file name or a product."""
    rng = src.rng
    kind = rng.random()
    if kind < 0.42:
        text = fill_frame(src, rng.choice(TITLES), rng.random() < 0.85)
    elif kind < 0.74:
        text = fill_frame(src, rng.choice(SENTENCES), rng.random() < 0.12)
    elif kind < 0.86:
        text = fill_frame(src, rng.choice(FILES), rng.random() < 0.4)
    else:
        text = fill_frame(src, rng.choice(PRODUCTS), rng.random() < 0.8)
    r = rng.random()
    if r < 0.08:
        text = text.lower()
    elif r < 0.14:
        text = text.upper()
    return text


def identifier(src):
    """A name for a thing in a program, in one of the usual spellings."""
    text = fill_frame(src, src.rng.choice(IDENTIFIERS), src.rng.random() < 0.25)
    return text.upper() if src.rng.random() < 0.08 else text
