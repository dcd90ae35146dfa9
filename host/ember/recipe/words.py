"""Words, numbers and random strings, split into training and held-out halves.

The split is by hash, so it is a property of the word or number itself: a
reserved one can never be drawn for training, whoever asks for it.  Integers up
to 20 are shared by both sides (exponents, percentages and counts need them).
"""

import hashlib
import string

from everyday import EVERYDAY

COMMON = """
apple banana cherry orange lemon grape melon peach plum pear mango papaya carrot potato tomato onion
garlic pepper ginger basil butter cheese bread honey sugar coffee water juice sandwich breakfast dinner
kitchen window garden mountain river ocean island desert forest valley bridge castle village harbor
station airport library museum theater hospital school college university teacher student doctor lawyer
engineer painter writer singer dancer farmer sailor soldier captain driver winter summer spring autumn
monday tuesday thursday friday saturday january february march october november december morning evening
midnight tomorrow yesterday holiday birthday weekend rabbit tiger elephant giraffe monkey dolphin penguin
butterfly crocodile hippopotamus rhinoceros kangaroo squirrel hedgehog dragon unicorn yellow purple
orange silver golden crimson turquoise lavender happy clever gentle brave curious careful beautiful
wonderful terrible horrible excellent mysterious dangerous enormous invisible impossible incredible
running jumping swimming dancing reading writing thinking cooking building painting travelling sleeping
computer keyboard monitor printer network database software hardware algorithm function variable
compiler terminal browser server client protocol password username account document folder picture
message letter envelope package delivery address telephone umbrella scissors hammer bicycle airplane
helicopter submarine rocket satellite planet galaxy universe gravity energy electricity temperature
chemistry physics biology mathematics geometry algebra history geography philosophy psychology language
grammar sentence paragraph chapter vocabulary dictionary encyclopedia newspaper magazine television
camera mirror candle lantern blanket pillow mattress furniture cupboard drawer refrigerator dishwasher
committee accommodation occurrence embarrass millennium necessary rhythm queue zucchini pizza spaghetti
lasagna burrito avocado broccoli cinnamon vanilla chocolate strawberries raspberry blueberry pineapple
coconut hello world good great small large tiny huge quick slow early late open closed first second
third last next never always often sometimes maybe together alone inside outside above below between
the a an and or but not with without from into over under after before this that these those my your
our their some many few every each any is was are be been have has had do does will would could should
can may must go come see look find give take make know think want need use try ask tell say call work
play run walk move live love hate like help start stop turn keep leave feel seem show hear learn change
follow create speak read spend grow offer remember consider appear buy wait serve send expect stay fall
cut reach kill remain time year people way day man thing woman life child hand part place case week
company system program question government number night point home room mother area money story fact
month lot right study book eye job word business issue side kind head house service friend father power
hour game line end member law car city community name president team minute idea kid body information
back parent face others level office door health person art war result party reason research girl guy
moment air force education foot boy age policy process music market sense nation plan interest death
zigzag buzz jazz quiz fox lazy brown dog red blue green black white pink grey cat mouse bird fish lion
project status update meeting budget report draft final version notes review invoice order customer
release launch product feature design backend frontend error value index total count item list table
user profile settings page title header footer button image upload download search filter sort save
there here who what why how when where which while because if then than else just very quite too also again
now still already almost only even both either neither such another other others same different new old young
best worst better worse more most less least than about against during through across behind beside near far
he she it we they you me him her us them his its mine yours everyone someone nobody nothing everything anything
got gets went gone came made said told saw seen took taken gave given left kept held let put set ran sat stood
am being were having doing going coming getting making taking saying seeing knowing looking working playing
rain snow wind storm cloud sky star sun moon earth fire stone tree leaf flower grass river lake sea beach
ready busy tired hungry angry quiet loud soft hard heavy light dark bright warm cold hot cool dry wet clean dirty
guide review recipe travel health money simple easy complete ultimate modern ancient secret lost hidden final
max min avg num size width height length start end current default remote local global internal external
request response handler manager service factory builder parser reader writer buffer cache queue stack thread
timeout limit offset cursor token session cookie header payload schema field record row column key hash node
""".split()
COMMON = sorted(set(COMMON + EVERYDAY))

ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl l m n p ph pl pr qu r s sc sh sl sm sn sp st str t th tr v w wh y z".split()
VOWELS = "a e i o u a e i o u ai ea ee ie oa oo ou y".split()
CODAS = ["", "", "", "n", "r", "s", "t", "l", "ck", "ll", "nd", "ng", "nt", "rd", "rk", "ss", "st", "tt", "m", "p", "x", "zz"]
UNICODE = ("éèêëàâäãåáíîïóôöõøúùûüçñßæœÉÈÀÄÖÜÇÑ", "абвгдежзийклмнопрстуфхцчшщыьэюяАБВГДЖ",
           "αβγδεζηθικλμνξοπρστυφχψω", "日本語中文字漢語東京山川水火木金土人大小", "😀🎉🚀🔥🌍🍎🐱❤")
TAGS = ["EMAIL", "PERSON", "NAME", "PHONE", "ADDRESS", "IBAN", "CARD", "DATE", "ORG", "URL", "ID"]


def reserved(text, one_in=8):
    """True for the hash-chosen share kept out of training."""
    return hashlib.sha1(text.lower().encode()).digest()[0] % one_in == 0


def pseudo(rng):
    """A pronounceable word that is in no dictionary, so it must be copied."""
    count = rng.choice((1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(count))


def scramble(rng):
    """Letters, digits and marks in no order at all."""
    kind = rng.random()
    alphabet = string.ascii_lowercase
    if kind < 0.3:
        alphabet += string.digits
    elif kind < 0.5:
        alphabet += string.ascii_uppercase + string.digits
    elif kind < 0.6:
        alphabet = string.ascii_letters + string.digits + "-_.@#$&*+!/"
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(3, 12)))


def tag(rng):
    return f"[{rng.choice(TAGS)}_{rng.randint(1, 12)}]"


def foreign(rng):
    alphabet = rng.choice(UNICODE)
    if rng.random() < 0.5:  # mostly plain letters with an accent or a symbol in between
        base = pseudo(rng)
        at = rng.randrange(len(base) + 1)
        return base[:at] + rng.choice(alphabet) + base[at:]
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(2, 7)))


class Source:
    """Draws words and numbers from one side of the split."""

    def __init__(self, rng, held_out=False):
        self.rng, self.held_out = rng, held_out

    def fits(self, text):
        return reserved(text) == self.held_out

    def draw(self, make):
        while True:
            text = make(self.rng)
            if self.fits(text):
                return text

    def word(self):
        """One word, mostly unknown ones."""
        r = self.rng.random()
        if r < 0.40:
            text = self.draw(lambda g: g.choice(COMMON))
        elif r < 0.75:
            text = self.draw(pseudo)
        elif r < 0.93:
            text = self.draw(scramble)
        elif r < 0.97:
            text = self.draw(foreign)
        else:
            text = self.draw(tag)
        r = self.rng.random()
        if r < 0.10:
            return text.capitalize()
        return text.upper() if r < 0.14 else text

    def plain(self):
        """A word made of lower-case letters only."""
        if self.rng.random() < 0.5:
            return self.draw(lambda g: g.choice(COMMON))
        return self.draw(pseudo)

    def phrase(self, low=2, high=0):
        """Several words, sometimes with punctuation."""
        rng = self.rng
        high = high or rng.choice((2, 3, 3, 4, 4, 5, 6, 7))
        words = [self.word() if rng.random() < 0.35 else self.plain()
                 for _ in range(rng.randint(low, high))]
        style = rng.random()
        if style < 0.2:
            words = [w.capitalize() for w in words]
        elif style < 0.3:
            words = [w.upper() for w in words]
        elif style < 0.5:
            words[0] = words[0].capitalize()
        text = " ".join(words)
        if rng.random() < 0.12:
            at = rng.randrange(len(words))
            words[at] = rng.choice((words[at] + "'s", f"{words[at]}-{self.plain()}", self.integer(), f"({words[at]})", words[at] + "n't"))
            text = " ".join(words)
        while rng.random() < 0.25:
            at = rng.randrange(len(words))
            words[at] += rng.choice((",", ",", ",", ".", ";", ":", "!", " -", " &", "?"))
            text = " ".join(words)
        if rng.random() < 0.2:
            text += rng.choice(("!", ".", "?", "...", "!!"))
        return text

    def text(self):
        """Anything that somebody may hand to a text tool."""
        return self.word() if self.rng.random() < 0.45 else self.phrase()

    def integer(self, low=0, high=None):
        """An integer whose number of digits is spread evenly."""
        rng = self.rng
        while True:
            if high is None:
                digits = rng.choice((1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8, 9, 12))
                value = rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)
            else:
                value = rng.randint(low, high)
            if value >= low and (value <= 20 or self.fits(str(value))):
                if not (self.held_out and value <= 20 and rng.random() < 0.9):
                    return str(value)
                if high is not None and high <= 40:
                    return str(value)

    def decimal(self):
        rng = self.rng
        places = rng.choice((1, 1, 2, 2, 2, 3))
        return self.draw(lambda g: f"{g.randrange(10 ** g.choice((1, 2, 3, 4)))}.{g.randrange(10**places):0{places}d}")

    def number(self):
        return self.decimal() if self.rng.random() < 0.22 else self.integer()
