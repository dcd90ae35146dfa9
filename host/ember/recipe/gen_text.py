"""Prompts for the text tools.  `{t}` is text at the end of a prompt or in quotes."""

import text_more
from phrases import expand, fill
from texts import identifier as program_name
from texts import real

QUOTES = [("'", "'"), ("'", "'"), ('"', '"'), ('"', '"'), ('"', '"'), ("“", "”"), ("`", "`"), ("‘", "’"), ("«", "»"),
          ("(", ")"), ("<", ">"), ("*", "*"), ("„", "“"), ("''", "''")]
POLITE = ("[||||please |can you |could you |would you |i want to |i need you to |i'd like you to |help me |let's |i want you to |"
          "kindly |can you please |could you please |you should |will you |just |would you mind to |i need to |go and |"
          "can i ask you to |try to |do me a favor and |may i ask you to ]")
THE = "[|the |this |my |that |these |the following |this here ]"
KIND = "[word|word|text|string|phrase|sentence|line|title|name|input|expression|message|term|heading|quote|value|piece of text|words]"
# In front of a colon: what the text after it is called.
THIS = ("[this|that|the following|it|this one|the text|this text|my text|this string|the string|the next line|the text below|what follows|this sentence|these words|this phrase|"
        "what i write now|the line below|everything after the colon|my title|this title|this name|the words|all of this|the following text|this bit]")
NOW = "[|||| for me| please| now| quickly|, please| if you can| right away| for my page| asap| once]"
LEAD = "[here is|here's|i have|this is|take|i've got|i got|consider|given|look at|there is|let's take|we have|let us use|use]"
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
    "[the letter|letter] {c} [appears|occurs|shows up|is used|is found|comes up] how [often|many times] in {t}", "[how often|how many times] do [i|you|we|they] [type|write|use|see|need|find|read|meet] {c} in {t}",
    f"for [the {KIND}|] {{q}}, [count|give me|find|tell me] [the number of|all the|] {{cs}}", "[i see|there are|i found|i noticed] [some|several|a few|many] {cs} in {q}, how many [exactly|are there|in total]",
    "does {q} [have|contain|include|use] [many|any|several|more than two|at least one] {cs}[, how many|? how many|, count|? please count|, give me the number|? i want the number]", "[guess|say|figure out|work out|determine] how many {cs} are in {t}",
    "are there [many|any|lots of] {cs} in {q}, [count|give me the count|how many]", f"[{KIND}|text|word]: {{q}}, letter: {{c}}", "[text|word]: {q}; count {c}", "{c}, how [often|many times] in {t}", "how many of the letters [in|of] {q} are {cs}", "[what|which] number of {cs} [is|are] in {t}",
    "[total|all|overall] {cs} in {t}", "i am counting {cs} in {t}, how many", "how many {cs} [should|must|does the word] {q} have", "how many {cs} did i [write|type|put|use] in {t}", "{q} is [written|spelled|typed] with how many {cs}", "how many {cs} [go into|belong in|make it into|sit in|hide in] {q}",
    "[find|tally|add up|sum up] [all|every|all the|the] {cs} in {t}", "[i'm curious|i was wondering|i'd love to know|not sure|any idea|no clue|i forgot|please check] how many {cs} [are|there are] in {t}", "[i keep forgetting|i never know|nobody knows|we argue about] how many {cs} {q} has",
    f"{LEAD} [the {KIND}|] {{q}}[.|,|;|. now|. then|:] [how many {{cs}} are there|how many {{cs}} does it have|count the {{cs}}|how often do you see {{c}}|how many times is {{c}} in it|count {{c}}]", "how many {cs} in {t}", "how many {cs}: {t}", "count the {cs}: {t}", "count {c} in this: {t}", f"how many {{cs}} [are|are there|] in {THIS}: {{t}}",
    f"{POLITE}count [the|all|] {{cs}} [in|of] {THIS}{NOW}: {{t}}", "[one|an] {c} or more in {q}? count", "[spell|read|check|scan] {q} and [count|report|give me] the {cs}", "would you say {q} has [many|more than one] {cs}, how many [are there|then]", "{c} [appears|occurs|is] in {q} how [often|many times]",
    "if you [spell|write] {q}, how many {cs} [are there|do you use|come up]", "how [frequent|common] is {c} in {t}", "[the|] {c} [total|tally|number|frequency] in {t}", "how [many|much] {cs} can be found in {t}", "{q}. how many {cs}", "{q}? how many {cs} [are in that|does that have]", "among the letters of {q}, how many are {cs}",
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
    f"{POLITE}count [how many words are in|the words in|the words of|words of|words in|every word in|up the words in] {THIS}{NOW}: {{t}}", f"{POLITE}count {THIS}[ in words| by words]{NOW}: {{t}}", "count the words[:|] {t}", "number of words[:| -] {t}", "words[:| in this:| here:| in total:] {t}", "word total: {t}",
    f"how many words [are|are there|do i have|did i write|can you count|] [here|in {THIS}|in what follows]: {{t}}", f"{LEAD} {{q}}[.|,|;|. now|:] [how many words|how many words is it|count the words|how many words are there|give me the word count|what is its word count]", "how many words [did i use|do i say|do i need] [in|for] {q}",
    "how many words can you [count|find|see] in {t}", "how many [single|individual|different looking|whole|written] words [are|] in {t}", "[i said|my essay says|the note says|the sign reads|he wrote|the email says|her text is] {q}. [how many words|word count|count the words]", "[the|its] word [number|total|tally] [of|for|in] {q}", "{q} - [word count|how many words|number of words]",
    "[i'm curious|i was wondering|i'd like to know|not sure|any idea|please check] how many words [are|there are] in {t}", "[by words|in words], how long is {q}", "how long is {q} in words", "length in words of {q}", "is {q} [more than|under|over|exactly] {n} words, how many [is it|are there|words are there]", "[tally|sum up|add up] the words [in|of] {q}", "{q}. how many words [was|is] that",
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
    f"{POLITE}count [how many characters are in|the characters in|the chars in|chars of|characters of|every character in|each character of] {THIS}{NOW}: {{t}}", f"{POLITE}[tell me|give me|find|measure|check] the [length|size|character count] of {THIS}{NOW}: {{t}}", "[characters|chars|length][:| in this:| of this:] {t}", "number of characters: {t}",
    f"how many [characters|chars] [are|are there|do i have|did i type|can you count|] [here|in {THIS}]: {{t}}", f"how long is {THIS}: {{t}}", f"{LEAD} {{q}}[.|,|;|. now|:] [how many characters|how long is it|count the characters|how many characters are there|give me its length|what is its length|how many characters does it have]",
    "how many [characters|chars] [has|have|had] {q}[| got]", "how many [characters|chars] will {q} [take|need|have|use|be]", "[does|is] {q} [have|longer than|under|over|more than] {n} characters, how many [are there|is it|characters is it]", "the [characters|chars] [in|of] {q}, how many [are there|]", "how many characters [there|] are in {t}", "how many [single|individual|total|typed] characters [are|] in {t}",
    "[my password is|my username is|the key is|the code is|the title is|i typed|the file is called|my handle is] {q}[, how many characters|, how long is it|. how long is that|. count the characters|, what is its length|. how many characters is that]", "[the|its] [length|character total|character number|number of chars] [of|for|in] {q}", "{q} - [length|how long|how many characters|character count]", "{q}[.|,] how long is [it|that]", "{q}, [length|character count]",
    "[i'm curious|i was wondering|i'd like to know|not sure|any idea|please check] how [many characters|long] {q} is", "[by characters|in characters], how long is {q}", "how long is {q} [in chars|counted in characters|as a string|if you count characters|with spaces]", "how many characters do i [type|write|need] [for|to write|to type] {t}", "[tally|sum up|add up] the [characters|chars] [in|of] {q}", "len of {q}", "len({q})", "size of {q} in characters", "how many characters does it take to [write|type|spell] {t}", "does {q} have how many characters", "how big is {q} in characters", "how many [characters|chars] does the [long |short |whole |odd |full ][word|text|string|name|term|title] {q} [have|contain|use]",
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
    f"{POLITE}[reverse|flip|mirror|invert|turn around|spell backwards|write backwards|read backwards|print backwards|say backwards] {THIS}{NOW}: {{t}}", f"{POLITE}[write|put|spell|give me|say|show|print|type|return|output] {THIS} [backwards|in reverse|reversed|back to front|the other way around|from the end|right to left]{NOW}: {{t}}", f"{WANT} {THIS} [backwards|in reverse|reversed]{NOW}: {{t}}",
    f"{LEAD} {{q}}[.|,|;|. now|:] [reverse it|flip it|write it backwards|what is it backwards|spell it backwards|what does it say backwards|give me the reverse|turn it around]", "{q} [mirrored|flipped|inverted|turned around|from back to front|right to left|back to front|written backwards|spelled in reverse]", f"{POLITE}flip {{q}} [over|round|from end to start]", f"{POLITE}[reverse|flip|invert|mirror] the [word|text|string|letters|characters|order] [in |of |]{{q}}",
    "[backward|reverse|mirror|flipped|reversed] [version|form|spelling|copy|writing] of {q}", "[the|a] [backward|reverse|mirror|flipped|reversed] [version|form|spelling|copy] of {q}", "how [is|would|do i|does one] [write|spell|say] {q} from [the end|right to left|back to front]", "what [word|text|string] is {q} [backwards|reversed|in reverse]", "which [word|text] do i get [when i read|by reading|if i read] {q} backwards",
    "read {q} from [right to left|back to front|the end|the last letter]", "{q} in [reverse|the opposite direction|mirror writing|backward order|reverse order]", "what's the [opposite|backward|reversed] [order|spelling|version] of {q}", "[mirror|reverse|reversal|flip|backwards] of {q}", "reverse it: {t}", "i want to [read|see] {q} [backwards|in reverse|reversed]", "reverse {t}", f"{POLITE}reverse the following {KIND} {{q}}", "{q} to be [reversed|flipped|mirrored]", "put the letters of {q} in reverse[| order]", "{q} when [reversed|spelled backwards|mirrored] [is|becomes|gives|reads]", "[last to first|end to start|from the end]: {t}",
]

TO = {
    "upper": "[upper case|uppercase|upper-case|capital letters|capitals|all caps|all uppercase|upper case letters|caps|all capital letters|block letters|big letters|block capitals|UPPERCASE|ALL CAPS|capital letters only|uppercase letters|CAPITALS|full caps|upper]",
    "lower": "[lower case|lowercase|lower-case|small letters|all lowercase|lower case letters|all lower case|all small letters|little letters|non-capital letters|lowercase letters|small letters only|LOWERCASE|lower|no caps]",
    "title": "[title case|titlecase|title-case|Title Case|headline case|title capitalization|the style of a title|title style|a title case format|headline style|capitalized words|first letter of each word capitalized|newspaper headline style]",
    "snake": "[snake case|snake_case|snakecase|snake-case|snake case style|snake format|a snake_case name|underscore case|python variable style|snake|SNAKE CASE|lower snake case|underscore style]",
    "kebab": "[kebab case|kebab-case|kebabcase|kebab|dash case|kebab style|a kebab-case name|dash-case|hyphen case|css class style|KEBAB CASE|lower kebab case|hyphenated lower case|dash style]",
    "camel": "[camel case|camelcase|camelCase|camel-case|camel case style|a camelCase name|camel format|javascript variable style|lower camel case|lowerCamelCase|camel|CamelCase with a small first letter|java method style]",
}
ING = {
    "upper": ["{q} in {to}", f"{POLITE}[capitalize|uppercase|upper-case] [all letters [of|in]|every letter of|the whole of|{THE}{KIND}|all of|] {{q}}", f"{POLITE}uppercase {THE}[{KIND}|]: {{t}}",
              f"{POLITE}[shout|scream|yell] {THE}{KIND}: {{t}}", f"{POLITE}make all [the |]letters [of|in] {{q}} [big|capital|upper case|uppercase]", "[uppercase|upper|caps|all caps]: {t}", f"{POLITE}[uppercase|capitalize|upper-case|upcase] {THIS}{NOW}: {{t}}", f"{POLITE}make {THIS} [loud|big|all caps|shouted|capitalized|all capitals]{NOW}: {{t}}", "[uppercased|shouted|capitalized|all caps] [version|form] of {q}", "shout {q}", "uppercase {t}", "{q} with [big|capital|upper case|only big|all capital] letters[| only]", "{q} in [big|capital] letters", "uppercase {q}", "upper {q}",
              f"{POLITE}capitalize everything in {{q}}", f"{POLITE}[capitalize|uppercase] {{q}} [completely|entirely|fully]"],
    "lower": ["{q} in {to}", f"{POLITE}lowercase [all letters [of|in]|every letter of|{THE}{KIND}|all of|] {{q}}", f"{POLITE}lowercase {THE}[{KIND}|]: {{t}}",
              f"{POLITE}[remove|drop|get rid of|take away] [the|all] [capitals|capital letters|caps|uppercase] [in|from|of] {{q}}", f"{POLITE}make all [the |]letters [of|in] {{q}} [small|lowercase|lower case]",
              "[lowercase|lower]: {t}", f"{POLITE}[lowercase|downcase|lower-case] {THIS}{NOW}: {{t}}", f"{POLITE}make {THIS} [small|quiet|lowercase|all small]{NOW}: {{t}}", "[lowercased|quiet|uncapitalized] [version|form] of {q}", "lowercase {t}", "{q} with [little|lower case|no capital|only small|just small|only lowercase] letters", "{q} without [capitals|capital letters|caps|any capitals]", "{q} in [small|little] letters only", "lowercase {q}", "lower {q}", f"{POLITE}stop shouting: {{t}}", f"{POLITE}[decapitalize|uncapitalize|downcase] {{q}}", "no caps version of {q}"],
    "title": [f"{POLITE}capitalize [the first letter of each word|each word|every word|all words|the first letter of every word|the initial of each word] [in|of] {{q}}", f"{POLITE}capitalize each word[:|] {{t}}",
              f"{POLITE}[title case|titlecase|title-case] [{THE}{KIND}|] {{q}}", f"{POLITE}make {{q}} look like a title", "title case: {t}", f"{POLITE}[title case|titlecase|title-case] {THIS}{NOW}: {{t}}", f"{POLITE}capitalize [each word|every word|the words] [of|in] {THIS}{NOW}: {{t}}", f"{POLITE}make {THIS} [a title|a headline|title case]{NOW}: {{t}}", "title cased [version|form] of {q}", "{q} with [each|every] word capitalized", "{q} as a [headline|book title|heading] in title case", "{q} as a title", f"{POLITE}[format|write|style] {{q}} [as|like] a [title|headline|book title]",
              f"{POLITE}start every word [of|in] {{q}} with a capital[| letter]"],
    "snake": [f"{POLITE}[snake case|snakecase|snake_case] [{THE}{KIND}|] {{q}}", "snake_case: {t}", f"{POLITE}[snake case|snake_case|snakecase] {THIS}{NOW}: {{t}}", "[snake cased|snake_cased] [version|form] of {q}", "{q} as a snake_case [identifier|variable|name|column|key]", "[python|rust|ruby] style name for {q}", "{q} with underscores [between the words|instead of spaces]", "snake case: {t}", f"{POLITE}[join|connect|separate] the words [of|in] {{q}} with underscores",
              f"{POLITE}replace spaces with underscores in {{q}}", "snake_case {q}", f"{WANT} a [python|] [variable|function] name [in snake case |]for {{q}}", "{q} with underscores"],
    "kebab": [f"{POLITE}[kebab case|kebabcase|kebab-case] [{THE}{KIND}|] {{q}}", "kebab-case: {t}", f"{POLITE}[kebab case|kebab-case|kebabcase] {THIS}{NOW}: {{t}}", "[kebab cased|kebab-cased] [version|form] of {q}", "{q} as a kebab-case [identifier|class|name|key|file name]", "{q} with [dashes|hyphens] [between words|instead of spaces]", "kebab case: {t}", f"{POLITE}[join|connect] the words [of|in] {{q}} with [hyphens|dashes]", "kebab-case {q}",
              "{q} with [dashes|hyphens] between the words", f"{WANT} a css class [name |]for {{q}}"],
    "camel": [f"{POLITE}[camel case|camelcase|camel-case] [{THE}{KIND}|] {{q}}", "camelCase: {t}", f"{POLITE}[camel case|camelCase|camel-case] {THIS}{NOW}: {{t}}", "[camel cased|camelCased] [version|form] of {q}", "[javascript|java|js] style name for {q}", "{q} as one word in camel case", "camel case: {t}", f"{WANT} a [javascript|java|js] [variable|function] name [in camel case |]for {{q}}", "camelCase {q}",
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
    f"{POLITE}[convert|change|turn|put|transform|rewrite|switch|set|format|make|get|bring|write|type|print|have] {THIS} [to|into|in|as|] {{to}}{NOW}: {{t}}", f"{WANT} {THIS} [in|as|to be in|converted to|written in] {{to}}{NOW}: {{t}}", f"{THIS} [in|as|to|should be in|must be in|needs to be in|goes to] {{to}}{NOW}: {{t}}", "[to|in|into|as] {to}[:| please:] {t}",
    f"{POLITE}[convert|change|turn|put|transform|make|rewrite|switch|set|format|get|bring|render] {{q}} [to|into|in|as] {{to}}", f"{POLITE}[convert|change|transform|rename|rewrite|switch|format|restyle] [the|this|my] [name|identifier|variable|function|field|class|method|column|key|constant|label|heading|symbol] {{q}} [to|into|in|as] {{to}}", "[convert|rename|rewrite|change|restyle] {q} [into|to|as|using] {to}",
    f"{LEAD} {{q}}[.|,|;|. now|:] [i need it in|make it|convert it to|turn it into|write it in|what is it in|put it in|change it to|i want it as|give it to me in] {{to}}", "{to} of {q}", "{to} [version|form|variant|spelling|style] of {q}", "{to} for {q}", "{to} {q}", "[the|a] {to} [name|version|form|identifier|spelling] [of|for] {q}", "{q} -> {to}", "{q} => {to}", "{q}, {to}", "{q} {to}[| version]", "from {q} to {to}",
    "i [need|want|have|use|would like|prefer|would love] {q} [as|in|written as|written in|to be|turned to] {to}", "[my|our|the] [variable|function|column|class|file|title|heading|label|key] is [called |named |]{q}, [make it|i need it in|convert it to|what is it in|write it in|how is it in] {to}", "[could|can|may] i [get|have|see] {q} [in|as|written in] {to}", "{q} [with|using|having] {to}[| only]", "[how is|how would you write|how do you write|what about|how about] {q} [in|as|using] {to}", "the {to} [of|for] {q} [is|would be] what", "should {q} be in {to}? [do it|convert it|show me]", f"{POLITE}[use|apply|choose|pick] {{to}}: {{t}}", f"{POLITE}[use|apply|pick] {{to}} on {{q}}", "{q} must [become|turn into|change to|use|follow] {to}",
]

SLUG = [
    f"{POLITE}slugify [{THE}{KIND}|] {{q}}", f"{POLITE}slugify {THE}{KIND}: {{t}}", "slugify: {t}", f"{POLITE}[make|create|generate|build|produce|write|derive|compute|get] [a|the|an|] [url |web |blog |seo |page |clean |]slug [for|from|of|based on|with] [{THE}{KIND}|] {{q}}",
    f"{POLITE}[make|create|generate|build|produce] [a|the|] [url |web |blog |seo |page |]slug [for|from|of] {THE}[{KIND}|]: {{t}}", f"{POLITE}[turn|convert|change|transform|make] [{THE}{KIND}|] {{q}} [into|to|in] [a|an] [url |web |blog |seo |page |url friendly |]slug",
    f"{POLITE}[turn|convert|change|transform] {THE}{KIND} [into|to] [a|an] [url |web |blog |seo |page |url friendly |]slug: {{t}}", f"{WHAT} [the|a] [url |web |page |]slug [of|for|from] [{THE}{KIND}|] {{q}}", "slug: {t}", "slug for {q}", "slug of {q}", "{q} as [a|an] [url |]slug", "url slug: {t}",
    "what [would|is|should] [a|the] [url |web |page |] slug [for|of|from] {q} be", f"{POLITE}[make|turn|write] {{q}} [url friendly|url-friendly|url safe|safe for a url|into a url part|fit for a link]", f"{WANT} [a|the] slug for [my|this|a|the] [post|page|article|blog post] [called|titled|named|with the title] {{q}}", "my [post|page|article] is [called|titled|named] {q}, [what is its slug|what's the slug|give me a slug|make a slug]",
    "slug from {q}", "{q} slug", "how [does|would|do i write] {q} [look |]as a [url |]slug", f"{POLITE}[make|create] {{q}} a slug", f"{WANT} [a|the|an] [url |web |seo |page |]slug [from|out of|for] {{q}}",
    f"{POLITE}[slugify|make a slug of|make a slug from|create a slug from|build a slug out of|turn into a slug|convert to a slug|write a slug for|get me a slug for|generate the slug of] {THIS}{NOW}: {{t}}", f"{POLITE}[make|turn|convert|change|format|rewrite|put] {THIS} [url friendly|url-friendly|into a slug|to a slug|as a slug|into a url slug|safe for a url]{NOW}: {{t}}", f"{WANT} [a|the] slug [of|for|from] {THIS}{NOW}: {{t}}",
    f"{LEAD} {{q}}[.|,|;|. now|:] [slugify it|make it a slug|what is the slug|give me its slug|turn it into a slug|give me a slug]", "slugify {t}", "slugify [the|this|my] [title|headline|post title|heading|text|article name|string|name] {t}", "slugify [title|headline|text] {t}", "[please|now|then|just] slugify {t}", "{q} slugified", "[a|the] slugified [version|form] of {q}", "slugified [version|form|text] of {q}", "[slugified|as a slug|in slug form|to slug]: {t}",
    "[what|which] slug [do i use|fits|belongs to|should i use|is right] [for|to|with] {q}", "[blog|page|post|article|web|url|seo] slug[:| for| of| from] {t}", "slug [for|of|from] [the|my] [title|headline|page|post|article] {t}", "{q} as part of [a url|a link|the address]", "how do i [slugify|write as a slug|put into a url] {q}", "i [am writing|wrote|published|will publish] [a post|an article|a page] [called|titled|named] {q}, [what slug|slug|give it a slug|what would its slug be|i need its slug]", "url[ part| path| friendly version|-friendly form] [for|of] {q}", f"{POLITE}slugify {{q}}[ for my blog| for a url| for the website|]",
]


# Text that begins or ends so may be read as a part of the question, and stays in quotes.
OPENING = set("the this that these those my your our their a an following word words text string phrase sentence line title name input expression message term "
              "heading quote value is are was were be in on of to into as with from for and or but letter letters count number how what case it me".split())
CLOSING = set("in into to as is are was were be has have had with from for of and or but on by using the a an do does would should will can must may".split())


def plain_enough(text):
    """Several words that are clear without quotes in the middle of a question."""
    words = text.lower().split(" ")
    return words[0] not in OPENING and words[-1] not in CLOSING and not set(text) & set(",.;:!?\n\"“”«»`-&()")


def quoted(rng, text, share=0.55, middle=0.4):
    """The text in quotes it does not contain, or bare when that is unambiguous.

    One word is quoted in `share` of the cases, several words are bare in `middle` of them.
    """
    pairs = [p for p in QUOTES if p[0] not in text and p[1] not in text]
    if not pairs or (" " not in text and rng.random() > share):
        return text
    if " " in text and rng.random() < middle and plain_enough(text):
        return text
    left, right = rng.choice(pairs)
    return left + text + right


def delimited(rng, text):
    """In quotes, or bare where its end shows: one plain word, or capitalized words between small ones."""
    if text.isalpha() and text.lower() not in OPENING | CLOSING:
        return text if rng.random() < 0.35 else quoted(rng, text, 1)
    capital = text.replace(" ", "").isalpha() and all(w[0].isupper() for w in text.split(" ")) and not text.isupper()
    return quoted(rng, text, 1, 0.2 if capital else 0)


KINDS = set("the this my that these word words text string phrase sentence line title name input expression message term heading quote value".split())


def ended(rng, pattern, text):
    """(slots, pattern, bare): decides whether text at the end stands without quotes."""
    if pattern.endswith("{q}") and " " in text and rng.random() < 0.4 and text.lower().split(" ")[0] not in KINDS:
        pattern = pattern[:-3] + "{t}"
    bare = None
    colon = pattern.endswith((": {t}", "\n{t}"))
    if pattern.endswith("{t}") and rng.random() < 0.65 and (colon or text[-1:] != "?"):
        bare = "phrase" if " " in text else "word"
        if colon or text[-1:] in ".!":
            bare = "verbatim"
    if pattern.endswith(": {t}") and rng.random() < 0.2:
        pattern = pattern[:-5] + rng.choice((":\n{t}", ":\n\n{t}", " - {t}", ":{t}", "\n{t}", " > {t}", "... {t}"))
        if bare and text[-1:] == "?" and ":" not in pattern:
            bare = "verbatim"
    last = 0 if pattern.endswith("{q}") else 0.4  # words of the question that follow could be a part of it
    slots = {"q": quoted(rng, text, middle=last), "t": text if bare else quoted(rng, text, 1, 0), "k": delimited(rng, text)}
    slots["n"] = str(rng.randint(2, 20))
    if not bare and pattern.endswith("}") and slots.get(pattern[-2:-1], text) != text and rng.random() < 0.1:
        pattern += "."  # clear only after a closing quote
    return slots, pattern, bare


def either(rng, old, new):
    """One phrasing, from both lists with the same chance; and whether it is a new one."""
    if rng.random() < 0.5:
        return rng.choice(old), False
    return rng.choice(new), True


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
    pattern, new = either(rng, LETTER, text_more.LETTER)
    pattern = expand(rng, pattern)
    text = real(src) if rng.random() < 0.15 else src.word() if rng.random() < 0.62 else src.phrase(2, 4)
    r = rng.random()
    letters = [c for c in text if c.isalpha()] or ["a"]
    c = rng.choice(letters) if r < 0.75 else rng.choice("abcdefghijklmnopqrstuvwxyz")
    if r > 0.97:
        c = rng.choice("0123456789-.")
    if rng.random() < 0.75:
        c = c.upper() if new and rng.random() < 0.25 and len(c.upper()) == 1 else c.lower()
    one = rng.choice((c, c, f"'{c}'", f'"{c}"', f"letter {c}", f"the letter {c}", f"the letter '{c}'", f'the letter "{c}"', f"the character {c}", f"({c})", f"`{c}`"))
    if "letter" in pattern.split("{c}")[0][-12:]:
        one = rng.choice((c, c, f"'{c}'", f'"{c}"'))
    several = rng.choice((c + "'s", c + "'s", c + "s", c, f"'{c}'s", f"letter {c}", f"letters {c}", f"'{c}'", f'"{c}"', f'"{c}"s', f"letter {c}'s", c.upper() + "s", c.upper() + "'s"))
    if "{cs}" in pattern and c.upper() != c and (c.upper() + "s" == several or c.upper() + "'s" == several):
        c = c.upper()
    slots, pattern, bare = ended(rng, pattern, text)
    slots.update(c=one, cs=several)
    return fill(rng, pattern, slots, rng.random() < 0.5, bare), "count_letter", {"text": text, "letter": c}


def simple(tool, patterns, more, single=0.5, lifelike=0.25):
    """A maker for a tool whose only argument is the text."""
    def make_one(src):
        rng = src.rng
        pattern, _ = either(rng, patterns, more)
        text = real(src) if rng.random() < lifelike else src.word() if rng.random() < single else src.phrase()
        text = sprinkle(rng, text)
        slots, pattern, bare = ended(rng, expand(rng, pattern), text)
        prompt = fill(rng, pattern, slots, rng.random() < 0.5, bare)
        return prompt, tool, {"text": text}
    return make_one


def spelling(src):
    """Letters of one plain word, which are its characters."""
    rng = src.rng
    text = src.plain()
    text = rng.choice((text, text, text, text.capitalize(), text.upper()))
    slots, pattern, bare = ended(rng, expand(rng, rng.choice(text_more.SPELLING)), text)
    return fill(rng, pattern, slots, rng.random() < 0.5, bare), "count_characters", {"text": text}


def count_characters(src):
    return spelling(src) if src.rng.random() < 0.1 else plain_count(src)


def identifier(src):
    """Names as programmers write them, so that case changes have something to do."""
    rng = src.rng
    if rng.random() < 0.3:
        return program_name(src)
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
    special = rng.random() < 0.45
    pattern, _ = either(rng, ING[to] if special else CASE, text_more.CASE_ONE[to] if special else text_more.CASE)
    pattern = pattern.replace("{to}", TO[to])
    r = rng.random()
    text = identifier(src) if r < 0.25 or (r < 0.6 and to in ("snake", "kebab", "camel")) else real(src) if rng.random() < 0.3 else src.text()
    if to == "lower" and rng.random() < 0.5:
        text = text.upper()
    text = sprinkle(rng, text)
    slots, pattern, bare = ended(rng, expand(rng, pattern), text)
    prompt = fill(rng, pattern, slots, rng.random() < 0.5, bare)
    return prompt, "change_case", {"text": text, "to": to}


count_words = simple("count_words", WORDS, text_more.WORDS, 0.08, 0.35)
plain_count = simple("count_characters", CHARS, text_more.CHARS, 0.5)
reverse = simple("reverse_text", REVERSE, text_more.REVERSE, 0.65, 0.2)
slug = simple("slugify", SLUG, text_more.SLUG, 0.12, 0.4)
