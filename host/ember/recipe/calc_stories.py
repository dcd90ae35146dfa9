"""Word problems: (phrase, expression).  `{m}` marks an optional currency sign."""

from itertools import product

THINGS = "[eggs|apples|pens|books|cards|coins|cookies|balls|bottles|tickets|stickers|seats|candies|marbles|photos|plants|chairs|bricks|cans|screws|students|pages]"
BOXES = "[boxes|bags|packs|crates|rows|shelves|cartons|baskets|trays|cases|packets|jars|drawers|teams|buses|piles|stacks]"
WHO = "[i|we|he|she|they|tom|anna|my friend|my brother|my boss|the shop|a farmer|a teacher|the school|someone]"
ENDING = "[how many|what number of] {0} [is that|are there|do i have|are there in total|is it|in total|altogether|overall|does that make|in all]"
PEOPLE = "[people|friends|kids|children|players|guests|colleagues|students|siblings|coworkers]"
ITEM = "[shirts|tickets|books|mugs|pizzas|lamps|chairs|plants|phones|bags|apples|sandwiches|coffees|games|pencils|tires|cakes|notebooks]"

_TIMES = [
    f"[i have|there are|we have|she has|he bought|i got|we packed|i own|they shipped|suppose there are|imagine] {{a}} {BOXES} [with|of|containing|that hold|holding] {{b}} {THINGS} [each|in each|per box|], how many {THINGS} [is that|are there|do i have|in total|altogether|overall|in all|does that make]",
    f"how many {THINGS} [are there in|are in|do i get from|fit in|in] {{a}} {BOXES} [of|with|holding|if each has] {{b}} [each|]",
    f"{{a}} {BOXES} with {{b}} {THINGS} [each|in each], [total|how many in total|how many is that|what is the total]",
    f"each [box|bag|pack|row|shelf|team] has {{b}} {THINGS} and [there are|i have|we have] {{a}} of them, how many {THINGS} [in total|altogether|are there]",
    f"{{a}} [rows|lines] of {{b}} [seats|chairs|trees|desks], how many [seats|chairs|trees|desks] [are there|in total]",
    "a [room|field|garden|rectangle|floor|wall|yard] is {a} [meters|feet|m] by {b} [meters|feet|m], what is [the|its] area",
    "[what is |whats |]the area of a [rectangle|room|field|rectangular garden] [of|that is|measuring] {a} by {b}",
    "if {who} [run|runs|read|reads|write|writes|make|makes|do|does|save|saves] {a} [miles|pages|lines|dollars|laps|euros] [a|per|every|each] [day|week|hour|month], how [many|much] [is that |]in {b} [days|weeks|hours|months]",
    "[a|the] [car|bus|bike|ship|plane|runner] [travels|drives|covers|does|moves] {a} [km|miles|kilometers] [per|an|each] hour[,|.] how far [in|does it go in|will it be after|after] {b} hours",
    "{a} [workers|machines|people|printers] [each |]make {b} [parts|cakes|pages|toys] [each|a day|per hour|], how many [parts|cakes|pages|toys] [in total|do they make|altogether]",
    "one [week|month|year|shift] has {a} [days|hours|shifts], how many [days|hours|shifts] are in {b} [weeks|months|years|shifts]",
]
_PRICE = [
    f"[i bought|we ordered|she buys|i want|i need|he gets|if i buy] {{b}} {ITEM} [at|for|costing|priced at] {{m}}{{a}} [each|apiece|per piece|a piece|], [how much is that|what is the total|how much do i pay|what do i pay|total cost|what does it cost]",
    f"{{b}} {ITEM} [cost|at|for] {{m}}{{a}} [each|apiece|a piece], [what's the total|how much in total|how much altogether|what do they cost together|what is the price]",
    f"[how much|what] [do|would|will] {{b}} {ITEM} cost [at|if one costs|if each is|when each costs] {{m}}{{a}} [each|]",
    f"one [ticket|book|lamp|coffee|shirt] costs {{m}}{{a}}, [how much are|what do|how much for|price of|what would be the cost of] {{b}} [of them|{ITEM}|]",
    f"[what is |]the [cost|price|total cost|total price] of {{b}} {ITEM} at {{m}}{{a}} each",
    "[i earn|she earns|he makes|they pay me|i get|we earn] {m}{a} [an hour|per hour|a day|a week|per month|a month], [how much|what] [is that|do i earn|will it be|is it] [in|for|after] {b} [hours|days|weeks|months]",
    "[rent|my rent|the subscription|the lease|my phone plan|insurance] [is|costs] {m}{a} [a|per] month, [how much|what] [is that|do i pay] [for|in|over] {b} months",
]
_PLUS = [
    f"[i have|i had|she has|we had|there are|he owns] {{a}} {THINGS} and [get|buy|find|receive|got|bought|win|pick up|borrow] {{b}} more, how many [do i have|are there|is that|does that make] [now|in total|altogether|]",
    f"{WHO} [has|have|had|owns] {{a}} {THINGS} and {WHO} [has|have|had|owns] {{b}}, how many [together|in total|altogether|do they have together]",
    "[i spent|i paid|she spent|we spent] {m}{a} [yesterday|on food|on rent|on monday|at the shop] and {m}{b} [today|on clothes|on books|on tuesday|online], [what did i spend in total|how much in total|how much is that altogether|total]",
    f"there were {{a}} {PEOPLE} and {{b}} [more |][joined|arrived|came|showed up|came in], how many [are there|are there now|in total|is that]",
    "a [trip|walk|drive|hike|movie] of {a} [km|miles|minutes|hours] and [another|one more|then one] of {b}, [how long|how far|how much] [in total|altogether]",
    f"[in|on] [the first|one] [box|day|shelf] there are {{a}} {THINGS}, [in|on] the [second|other] [one |]{{b}}. how many [in total|altogether]",
]
_MINUS = [
    f"[i have|i had|she had|we had|there were|he has] {{a}} {THINGS} and [lose|give away|sell|sold|ate|gave away|used|lost|broke|threw away|donated] {{b}}, how many [are left|remain|do i still have|do i have left|are there now]",
    f"[out of|of|from] {{a}} {THINGS}, {{b}} [are|were] [sold|gone|broken|used|eaten], how many [are left|remain|are still there]",
    "[i have|my budget is|she has|my account has|i started with] {m}{a} and [spend|spent|paid|pay|i spend|i owe] {m}{b}, how much [is left|do i have left|remains|money is left]",
    "[i was|someone was|a man was|she was] born in {b}, how old [am i|is he|are they|will i be] in {a}",
    f"there were {{a}} {PEOPLE} and {{b}} [left|went home|walked away|quit], how many [are left|stayed|remain]",
    "a [rope|trip|board|book] [is|has] {a} [meters|km|cm|pages] and {b} [are|is] [done|cut off|read|behind me], how much is left",
    "how [many|much] more [do i need|is needed] to [get|go] from {b} to {a}",
]
_SHARE = [
    f"[if |]{{a}} {THINGS} [are|were] [shared|split|divided|distributed] [equally |evenly |][among|between] {{b}} {PEOPLE}, how many [does each get|per person|for each|each]",
    f"{{b}} {PEOPLE} [share|split|divide] {{a}} {THINGS} [equally|evenly|], how many [does each get|for each|per person|does everyone get]",
    f"[how many|how much] does each [person|one|kid|friend] get if {{b}} {PEOPLE} share {{a}} [{THINGS}|dollars|euros|]",
    "[split|divide|share] a [bill|check|cost|price|rent] of {m}{a} [between|among|by|with] {b} [people|friends|persons|of us]",
    "[the bill is|dinner was|the taxi cost|a gift costs] {m}{a} [and there are|for|and we are|shared by] {b} [people|of us|friends], [how much each|what does each pay|how much per person|what is my share|how much does everybody pay]",
    "i drove {a} [km|miles] in {b} hours, [what was my average speed|how fast was that|how many per hour]",
    f"{{a}} {THINGS} go into {BOXES} of {{b}}, how many {BOXES} [do i need|are needed|is that]",
    "[if |]{b} [tickets|books|shirts|pens] cost {m}{a} [in total|altogether|], [how much is one|what does one cost|what is the price of one]",
]
_MORE = [
    ("[i have|we have|there are] {a} [boxes|bags] with {b} [pens|apples|books] each and {c} [more|extra|loose ones], how many in total", "{a} * {b} + {c}"),
    ("[i buy|she buys|i bought] {b} [books|tickets|shirts] at {m}{a} each and pay with {m}{c}, how much change [do i get|is it]", "{c} - {a} * {b}"),
    ("[i have|i had] {a} [coins|apples], [get|buy|find] {b} [more|others] and [lose|sell|eat] {c}, how many [are left|now]", "{a} + {b} - {c}"),
    ("[what is |]the perimeter of a [rectangle|field|room] [of|that is] {a} by {b}", "2 * ({a} + {b})"),
    ("[what is |]the perimeter of a square [with|of] side {a}", "4 * {a}"),
    ("[what is |]the volume of a box [of|that is|measuring] {a} by {b} by {c}", "{a} * {b} * {c}"),
    ("[what is |]the area of a triangle with base {a} and height {b}", "{a} * {b} / 2"),
    ("[what is |]the average of {a} and {b}", "({a} + {b}) / 2"),
]


def _stories():
    table = []
    for patterns, expression in ((_TIMES, "{a} * {b}"), (_PRICE, "{b} * {a}"), (_PLUS, "{a} + {b}"),
                                 (_MINUS, "{a} - {b}"), (_SHARE, "{a} / {b}")):
        table += list(product(patterns, [expression]))
    table += _MORE
    return [(p.replace("{who}", WHO), e) for p, e in table]


STORIES = _stories()
