"""The 100 hand-written prompts, typed the way strangers would type them.

They were written BEFORE the training templates and are never used to make
training data.  The generator reads only their *skeletons* (see `skeleton.py`)
and throws away every training prompt that has one of them, so that no training
prompt can share a phrasing with this set.  Running this file writes
`eval/handwritten.jsonl`; the expected results come from the reference tools.
"""

import json
import pathlib

import tools

CALC = [
    ("what's 1234 times 87?", "1234 * 87"),
    ("can you work out 4812 minus 977 for me", "4812 - 977"),
    ("9.5 plus 13.25 plus 0.75?", "9.5 + 13.25 + 0.75"),
    ("If I split 391 by 17 what do I get", "391 / 17"),
    ("i bought 14 pens at 3.75 each, whats the total", "14 * 3.75"),
    ("hey quick maths: (18+7)*4", "(18+7)*4"),
    ("How much is 17% of 640?", "640 * 17 / 100"),
    ("what would a 20 percent tip on 86.50 come to", "86.50 * 20 / 100"),
    ("tell me the square root of 7056", "sqrt(7056)"),
    ("2 to the 20th power", "2 ^ 20"),
    ("what is 12 factorial?", "12!"),
    ("Remainder when 1000 is divided by 37?", "1000 % 37"),
    ("greatest common divisor of 462 and 1071 please", "gcd(462, 1071)"),
    ("lcm of 18 and 24?", "lcm(18, 24)"),
    ("is it true you can multiply 99999 by 99999? do it", "99999 * 99999"),
    ("give me 73 squared", "73 ^ 2"),
    ("need the sum of 1,250 and 3,999", "1250 + 3999"),
    ("-45 + 12 = ?", "-45 + 12"),
    ("our team of 6 people split a bill of 287.40 evenly, how much does each person owe", "287.40 / 6"),
    ("What does 3/8 come out to as a decimal", "3 / 8"),
    ("take 56 away from 1000", "1000 - 56"),
    ("double 4567", "2 * 4567"),
    ("half of 9318 is what", "9318 / 2"),
    ("There are 24 hours in a day. how many hours in 365 days", "24 * 365"),
    ("twelve times nine", "12 * 9"),
    ("what do you get when you add forty five and 17", "45 + 17"),
    ("Please evaluate 2^10 - 24", "2^10 - 24"),
    ("whats 10 divided by 4", "10 / 4"),
    ("calc 88*92 pls", "88*92"),
    ("a train goes 85 km every hour, how far does it get in 7 hours", "85 * 7"),
    ("product of 13, 17 and 19", "13 * 17 * 19"),
    ("I make 2450 a month. how much is that in 12 months?", "2450 * 12"),
    ("subtract 3.6 from 10", "10 - 3.6"),
    ("5 cubed?", "5 ^ 3"),
    ("Which is the largest of 34, 71 and 58?", "max(34, 71, 58)"),
    ("144 / (3 + 9) equals what", "144 / (3 + 9)"),
    ("How many eggs do I have with 15 cartons of 12", "15 * 12"),
    ("could u solve 7 * (6 - 2.5) thx", "7 * (6 - 2.5)"),
]

LETTER = [
    ("how many r in strawberry", "strawberry", "r"),
    ("How many times does the letter s show up in Mississippi?", "Mississippi", "s"),
    ("count the e's in 'nevertheless'", "nevertheless", "e"),
    ("number of a's in banana bread", "banana bread", "a"),
    ("does bookkeeper have a lot of o? count them", "bookkeeper", "o"),
    ('in the phrase "the quick brown fox" how often do you see o', "the quick brown fox", "o"),
    ("I wonder how many l's are in parallel", "parallel", "l"),
    ("how many t are there in attention?", "attention", "t"),
    ("letter n in onomatopoeia, how many", "onomatopoeia", "n"),
]

WORDS = [
    ('how many words are in "to be or not to be"', "to be or not to be"),
    ("count words: the cat sat on the mat", "the cat sat on the mat"),
    ("Word count of 'never gonna give you up' please", "never gonna give you up"),
    ('whats the number of words here: "I like green apples a lot"', "I like green apples a lot"),
]

CHARS = [
    ("how long is the string 'hello world' in characters", "hello world"),
    ("How many characters does supercalifragilistic have?", "supercalifragilistic"),
    ('character count for "Dear Sir or Madam"', "Dear Sir or Madam"),
    ("count the characters in passw0rd!23", "passw0rd!23"),
    ('what is the length of "Llanfairpwll"?', "Llanfairpwll"),
]

REVERSE = [
    ("reverse hello", "hello"),
    ("Can you spell 'keyboard' backwards?", "keyboard"),
    ('write "step on no pets" back to front', "step on no pets"),
    ("what is stressed spelled backwards", "stressed"),
    ("flip the text abc123xyz around", "abc123xyz"),
    ("backwards version of Wonderland please", "Wonderland"),
    ("mirror this for me: Good Morning", "Good Morning"),
]

CASE = [
    ("make this uppercase: hello there", "hello there", "upper"),
    ("put 'SHOUTING IS RUDE' in lowercase", "SHOUTING IS RUDE", "lower"),
    ('title case for "the lord of the rings" please', "the lord of the rings", "title"),
    ("convert userAccountName to snake case", "userAccountName", "snake"),
    ("turn 'My Blog Post' into kebab-case", "My Blog Post", "kebab"),
    ("camelCase of total item count", "total item count", "camel"),
    ('can I get "please be quiet" in all caps', "please be quiet", "upper"),
    ("I need Max Retry Delay as snake_case", "Max Retry Delay", "snake"),
    ("write 'BIG NEWS TODAY' with small letters only", "BIG NEWS TODAY", "lower"),
]

SLUG = [
    ("slugify Hello World, Again!", "Hello World, Again!"),
    ('give me a url slug for "10 Tips for Better Sleep"', "10 Tips for Better Sleep"),
    ("what would the slug of 'Crème Brûlée Recipe' be", "Crème Brûlée Recipe"),
    ('make a slug out of "My First Post"', "My First Post"),
]

UNITS = [
    ("12 km in miles", "12", "km", "miles"),
    ("How many kilometers is 26.2 miles?", "26.2", "miles", "kilometers"),
    ("convert 100 fahrenheit to celsius", "100", "fahrenheit", "celsius"),
    ("what's 5 feet in centimeters", "5", "feet", "centimeters"),
    ("I weigh 70 kg, what is that in pounds?", "70", "kg", "pounds"),
    ("how many cups in 2 liters", "2", "liters", "cups"),
    ("350 F to C", "350", "F", "C"),
    ("90 minutes is how many hours", "90", "minutes", "hours"),
    ("if a car goes 60 mph whats that in km/h", "60", "mph", "km/h"),
    ("2.5 acres to square meters please", "2.5", "acres", "square meters"),
    ("How big is 512 megabytes in gigabytes?", "512", "megabytes", "gigabytes"),
    ("change 3 days into seconds", "3", "days", "seconds"),
    ("180 degrees equals how many radians", "180", "degrees", "radians"),
]

REFUSE = [
    "who won the world cup in 1998?",
    "What is the capital of Australia?",
    "write me a poem about the sea",
    "whats the weather like in Berlin tomorrow",
    "how old is the president of France",
    "Translate 'good morning' to Spanish",
    "fix the bug in my python code",
    "what year did the titanic sink?",
]

CHAT = [
    "hi there!",
    "thanks, that was really helpful",
    "so who are you exactly?",
]


def rows():
    """Yield (tool, prompt, arguments) in file order."""
    for prompt, expression in CALC:
        yield "calculator", prompt, {"expression": expression}
    for prompt, text, letter in LETTER:
        yield "count_letter", prompt, {"text": text, "letter": letter}
    for tool, table in (("count_words", WORDS), ("count_characters", CHARS),
                        ("reverse_text", REVERSE)):
        for prompt, text in table:
            yield tool, prompt, {"text": text}
    for prompt, text, to in CASE:
        yield "change_case", prompt, {"text": text, "to": to}
    for prompt, text in SLUG:
        yield "slugify", prompt, {"text": text}
    for prompt, value, source, target in UNITS:
        yield "convert_units", prompt, {
            "value": tools.Raw(value), "from": source, "to": target}


def prompts():
    """All 100 prompts, used to build the exclusion list of skeletons."""
    return [p for _, p, _ in rows()] + REFUSE + CHAT


def main():
    lines = []

    def add(prompt, tool, arguments, result, kind):
        lines.append({"id": f"hand-{len(lines) + 1:03d}", "prompt": prompt, "tool": tool,
                      "arguments": arguments, "result": result, "kind": kind})

    for tool, prompt, arguments in rows():
        add(prompt, tool, arguments, tools.call(tool, arguments), "call")
    for prompt in REFUSE:
        add(prompt, None, None, None, "refuse")
    for prompt in CHAT:
        add(prompt, None, None, None, "chat")
    path = pathlib.Path(__file__).resolve().parent.parent / "eval" / "handwritten.jsonl"
    path.write_text("".join(tools.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(len(lines), "prompts ->", path.name)


if __name__ == "__main__":
    main()
