#!/usr/bin/env python3
"""Prints N seeded sentences, one a line, of 4 to 60 words (most of them short, as in real collections)."""
import random
import sys

WORDS = (
    "the a one every old small bright quiet river mountain garden engine letter window market doctor teacher sailor "
    "child city winter summer morning evening carries builds forgets answers repairs follows paints measures sells "
    "finds near under beyond without because although while slowly quickly often never always water bread music "
    "paper iron glass silver history science question answer number seven twelve hundred temperature network database "
    "contract insurance election parliament chemistry molecule orchestra harvest railway bicycle kitchen library"
).split()


def sentence(random):
    length = min(60, max(4, round(random.lognormvariate(2.7, 0.6))))
    words = [random.choice(WORDS) for _ in range(length)]
    return " ".join(words).capitalize() + random.choice([".", ".", ".", "?", "!"])


def main():
    generator = random.Random(1)
    for _ in range(int(sys.argv[1])):
        print(sentence(generator))


if __name__ == "__main__":
    main()
