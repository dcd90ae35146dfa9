"""More prompts for `calculator`: situations, operands first, spoken numbers, long lists, steps."""

import re
from math import gcd

from phrases import fill
from spoken import fraction_word, said, separated, shown, spell

PLS = "[|||please |pls |plz |can u |could u |could you |kindly |gimme |just |hey |quick: |would you be so kind to |help me to ]"
KNOW = "[do you know|can you tell me|could you tell me|i wonder|i was wondering|i want to know|i would like to know|any idea|please tell me|tell me|pls tell me|my teacher asks|my kid asks|i can't work out|no calculator here,]"
ASKING = "[what do i pay|what will i pay|what will it cost|what do i owe|how much do i owe|how much is it|what's the total|total|how much altogether|what's the damage|what's the bill|how much money is that|how much do i need|what does that come to|what will that set me back]"
EACH = "[each|apiece|a piece|per piece|per unit|each one]"
GOODS = "[chairs|tickets|shirts|lamps|mugs|plates|tires|books|notebooks|cups of coffee|burgers|pizzas|candles|pillows|batteries|t-shirts|pens|bottles of wine|beers|plants|bricks|curtains|keyboards]"
FOLKS = "[people|friends|kids|of us|colleagues|roommates|guests|cousins|players|students|neighbors]"
EACH_GETS = "[what does each get|how much each|how much for each|what's each share|how many per person|how much per head|what's my share|what does everyone get|how much does each one get]"
EACH_PAYS = "[what does each pay|how much each|how much per person|how much per head|what's my share|what do i owe|what does everyone pay|each pays how much]"
LEFT = "[how many are left|how many remain|what's left|how many do i still have|how many stay|how much is left|what remains]"

# operator -> phrasings of one operation; {a} and {b} in the order of the expression
TWO = {
    "+": ["{a} and {b}. [add them|sum them up|what's the sum|add them up|put them together|what do they make together|total please]",
        "i have two numbers, {a} and {b}. [what do i get if i add them|what's their sum|add them for me]", "the numbers are {a} and {b}, [what is their sum|add them|what is their total]",
        "{a}, {b}: [add|sum|total|plus]", "[add|sum|total|plus]: {a}, {b}", "[add|sum]: {a} and {b}", "{a} and {b} together", "{a} and {b} together, how much", "{a} and {b} added, how much is it",
        "what do {a} and {b} make", "what do {a} and {b} come to", "what {a} plus {b} makes", "how much makes {a} plus {b}", "how much {a} plus {b}", "how many is {a} plus {b}",
        "please to add {a} and {b}", "i want add {a} and {b}",
          "first i had {a}, then [i got|came|another] {b} more, [total|what's the total|how much now]", "{a} then another {b}, [total|how much is that]", "{a} on top of {b}",
          "if i put {a} on top of {b}, [what do i get|how much is that]", "what number is {a} [above|greater than|bigger than] {b}", f"{KNOW} what {{a}} plus {{b}} is",
          f"{KNOW} how much {{a}} and {{b}} [are|make|is] together", f"{KNOW} the sum of {{a}} and {{b}}", f"{PLS}add {{a}} and {{b}}", f"{PLS}tot up {{a}} and {{b}}", f"{PLS}sum {{a}} with {{b}}",
          "[start|begin] at {a} and [count up|go up] by {b}", "start with {a}. now add {b}. [result|what is it|what do we have]", "{a}. plus {b}. [result|equals|makes]", "{a} n {b} added",
          "{a} + {b} pls", "{a}+{b} how much", "u know {a} plus {b}"],
    "-": ["{a} and {b}. [subtract the second from the first|what's the first minus the second|take the second away from the first]", "from {a} take {b}",
        "from {a} i take {b} away, [what stays|what is left|what remains]", "i have {a} and need to [take off|remove|subtract] {b}. [result|what is left|what do i get]", "{a} but {b} less",
        "{a} but without {b}", "take {b} [off|from|away from] {a}, [what's left|what do you get|result]", "what's left [of|from] {a} [if|when|once] i take [away |off |]{b}",
        "what is left when {b} [leave|leaves|goes|go] from {a}", "what do i have to add to {b} to [get|reach|make] {a}", "how much do i [need|have to add] to get from {b} to {a}",
        "how much is missing from {b} to {a}", "{b} plus what [is|makes|gives] {a}", "what plus {b} [is|makes|gives] {a}",
          "how much [higher|taller|longer|older|more|bigger] is {a} than {b}", "by how much is {a} [bigger|larger|higher|more] than {b}", "by how much does {a} exceed {b}",
          "what number is {b} [below|less than|smaller than|under] {a}", f"{KNOW} what {{a}} minus {{b}} is", f"{KNOW} the difference between {{a}} and {{b}}",
          f"{KNOW} what is left of {{a}} without {{b}}", f"{PLS}subtract {{b}} from {{a}}", f"{PLS}knock {{b}} off {{a}}", f"{PLS}deduct {{b}} from {{a}}",
          "start with {a}. now subtract {b}. [result|what is it|what do we have]", "[start|begin] at {a} and [count down|go down] by {b}", "{a}. minus {b}. [result|equals|makes]",
          "please to subtract {b} from {a}", "how much {a} minus {b}", "how many is {a} minus {b}", "u know {a} minus {b}", "[difference|diff]: {a}, {b}", "diff between {a} and {b}", "{a} - {b} pls",
          "{a} take {b} away"],
    "*": ["{a} and {b}. [multiply them|what's the product|times each other|what's their product|multiply the two]",
        "i have two numbers, {a} and {b}. [what do i get if i multiply them|what's their product|multiply them for me]", "the numbers are {a} and {b}, [what is their product|multiply them]",
        "{a}, {b}: [multiply|times|product]", "[multiply|times|product]: {a}, {b}", "[multiply|product]: {a} and {b}", "{a} times {b}, how much", "{a} times {b} makes",
        "how much makes {a} times {b}", "how much {a} times {b}", "how many is {a} times {b}", "please to multiply {a} and {b}", "i want multiply {a} and {b}",
        "{a} multiplied by {b}, how much is it", "what is {a} if you take it {b} times", "what do {a} and {b} multiply to",
        "what do you get when {a} meets {b} in a multiplication",
          f"{KNOW} what {{a}} times {{b}} is", f"{KNOW} how much {{a}} times {{b}} [is|makes]", f"{KNOW} the product of {{a}} and {{b}}", f"{PLS}multiply {{a}} by {{b}}",
          f"{PLS}multiply {{a}} and {{b}}", f"{PLS}do {{a}} times {{b}}", "start with {a}. now multiply by {b}. [result|what is it|what do we have]", "{a}. times {b}. [result|equals|makes]",
          "{a} x {b} pls", "{a}x{b} how much", "{a} x {b} = how much", "u know {a} times {b}", "{a} of {b} each, total", "{a} lots of {b} [is|make|makes] what"],
    "/": ["{a} and {b}. [divide the first by the second|what's the first divided by the second|the first over the second]",
        "i have {a} and [want|need] to divide [it|that] by {b}. [result|what do i get|how much]", "{a}, {b}: [divide|divided|quotient]", "[divide|quotient]: {a} by {b}",
        "{a} divided by {b}, how much", "how much makes {a} divided by {b}", "how much {a} divided by {b}", "please to divide {a} by {b}", "i want divide {a} by {b}",
        "{a} [split|cut|divided] into {b} equal parts, how big is [one|each]", "what times {b} [is|makes|gives] {a}", "{b} times what [is|makes|gives] {a}",
        "{b} goes into {a} how [often|many times]", "how many times does {b} [go|fit] into {a}", "how many {b}s make {a}", "how often does {b} fit in {a}",
          f"{KNOW} what {{a}} divided by {{b}} is", f"{KNOW} how much {{a}} over {{b}} [is|makes]", f"{KNOW} the quotient of {{a}} and {{b}}", f"{PLS}divide {{a}} by {{b}}",
          f"{PLS}split {{a}} by {{b}}", "start with {a}. now divide by {b}. [result|what is it|what do we have]", "{a}. divided by {b}. [result|equals|makes]", "{a} / {b} pls", "{a}/{b} how much",
          "u know {a} divided by {b}", "{a} : {b} = how much", "{a} ÷ {b} pls", "split {a} between {b} " + FOLKS, "split {a} between {b}", "{a} split {b} ways",
          "{a} for {b} " + FOLKS + ", how much each", "{a} among {b}, how much each", "{a}/{b} ppl", "{a} [shared|divided] by {b} " + FOLKS, "what fraction, as a decimal, is {a} of {b}"],
    "%": ["{a} and {b}. [what's the remainder of the first divided by the second|remainder of the division]",
        "when i [share|deal|hand out] {a} [cards|candies|sweets|coins] [equally |]among {b}, how many are left over",
        "i put {a} [eggs|bottles|books] into boxes of {b}. how many [are left over|don't fit|remain]", "what stays over when {a} is divided by {b}", "what's left over from {a} divided by {b}",
        "what is left over if i split {a} into groups of {b}", "{a} in [rows|groups|teams|packs] of {b}, how many are left over", f"{KNOW} the remainder of {{a}} divided by {{b}}",
        f"{KNOW} what {{a}} mod {{b}} is", f"{PLS}give the remainder of {{a}} divided by {{b}}", "[remainder|rest|mod|modulo]: {a}, {b}", "[mod|modulo] of {a} by {b}",
        "remainder only: {a} divided by {b}", "divide {a} by {b}. what's the [remainder|rest|leftover]", "if {a} is divided by {b} what is the [rest|remainder|leftover]", "{a} % {b} pls",
        "u know {a} mod {b}", "how much remains when dividing {a} by {b}"],
    "^": ["{a} and {b}. [raise the first to the power of the second|first to the power of the second]", f"{KNOW} what {{a}} to the power of {{b}} is", f"{KNOW} how much {{a}} to the power {{b}} is",
        f"{PLS}raise {{a}} to the power {{b}}", "start with {a}. raise it to the power {b}. result", "{a} to the power of {b}, how much", "how much makes {a} to the power {b}",
        "how much {a} power {b}", "{a} ^ {b} pls", "{a}^{b} how much", "{b} factors of {a} multiplied", "please to calculate {a} to power {b}", "u know {a} to the power of {b}"],
}

# (phrasing, expression); {a} may be a price after {m}, {b} and {c} are whole numbers
SITUATIONS = [
    (f"[shopping for|buying|i'm buying|ordering|i need|we want|getting] {{b}} {GOODS} at {{m}}{{a}} {EACH}, {ASKING}", "{b} * {a}"), (f"{{b}} {GOODS}, {{m}}{{a}} {EACH}. {ASKING}", "{b} * {a}"),
    (f"one of the {GOODS} is {{m}}{{a}} and i take {{b}}, {ASKING}", "{b} * {a}"), (f"{ASKING} for {{b}} {GOODS} at {{m}}{{a}} {EACH}", "{b} * {a}"),
    (f"[the price is|it costs|they cost|they go for|they sell at] {{m}}{{a}} {EACH}. [i want|i take|i need|we need|give me] {{b}}. {ASKING}", "{b} * {a}"),
    ("{b} nights at {m}{a} [a night|per night|each], [what does the hotel cost|what's the total|hotel bill]", "{b} * {a}"),
    ("[the hotel|the room|parking|the rental car|the babysitter] [is|costs|charges] {m}{a} [a night|a day|per day|per hour] and [we stay|i need it|i stay|we need it] [for |]{b} [nights|days|hours]. [total|what will it cost|how much]", "{b} * {a}"),
    ("[i get|he gets|she is paid|i make|the job pays] {m}{a} [an hour|per hour|a shift|per shift] and [work|worked|works|do|did] {b} [hours|shifts]. [how much is that|what's the pay|how much do i earn|pay]", "{b} * {a}"),
    ("{b} hours at {m}{a} [an hour|per hour|/h], [pay|total|what do i bill|invoice amount]", "{b} * {a}"),
    ("{b} months of {m}{a} [rent|each|per month|subscription], [total|how much altogether|what does it add up to]", "{b} * {a}"),
    (f"split {{m}}{{a}} between {{b}} {FOLKS}", "{a} / {b}"),
    (f"[dinner|the bill|lunch|the cab|the trip|the gift|the airbnb|the pizza] [came to|was|is|cost|costs] {{m}}{{a}}[,| and] [we are|there are|we were|split between|for] {{b}} {FOLKS}. {EACH_PAYS}", "{a} / {b}"),
    (f"{{m}}{{a}} for {{b}} {FOLKS}, {EACH_PAYS}", "{a} / {b}"), (f"{EACH_PAYS} if {{b}} {FOLKS} split {{m}}{{a}}", "{a} / {b}"),
    (f"we are {{b}} {FOLKS} and [the bill|the tab|the check|dinner] is {{m}}{{a}}. {EACH_PAYS}", "{a} / {b}"),
    (f"[share|hand out|deal out|divide] {{a}} [candies|cards|cookies|grapes|marbles] [fairly|equally|evenly] among {{b}} {FOLKS}, {EACH_GETS}", "{a} / {b}"),
    (f"{{b}} {FOLKS}, {{a}} [cookies|slices|candies|sweets], {EACH_GETS}", "{a} / {b}"),
    ("a pack of {b} costs {m}{a}, [what is one|how much per piece|price of one|what does a single one cost]", "{a} / {b}"),
    ("i read {a} pages in {b} days, how many [a day|per day|each day|daily]", "{a} / {b}"), ("{a} [km|miles|kilometers] on {b} [liters|gallons], how far per [liter|gallon]", "{a} / {b}"),
    ("{a} pages to read in {b} days, how many [a day|per day|each day|daily]", "{a} / {b}"), ("my salary is {m}{a} a year, how much per month if it comes in {b} payments", "{a} / {b}"),
    ("i need to save {m}{a} in {b} [weeks|months|days], how much per [week|month|day]", "{a} / {b}"), ("{a} [km|miles] in {b} hours, [average speed|how fast|what speed]", "{a} / {b}"),
    ("[a rope|a board|a cable|a ribbon] of {a} [cm|inches|m] is cut into {b} equal pieces, how long is [one|each]", "{a} / {b}"),
    ("i [pay|paid|hand over|give] {m}{a} for something that costs {m}{b}, [how much change|what change do i get|change]", "{a} - {b}"),
    ("[i have|there is|my balance is|i've got] {m}{a} [in my account|in my wallet|on my card|in cash] and [pay|must pay|spend|the rent is] {m}{b}, [what's left|how much remains|what do i have left|new balance]", "{a} - {b}"),
    ("[the book has|the film has|the race has|the course has] {a} [pages|minutes|km|lessons] and i [did|finished|am through|have done] {b}, [how many to go|how many are left|what remains]", "{a} - {b}"),
    ("it was {m}{a} and now it's {m}{b}, how much [cheaper|less] is it", "{a} - {b}"), ("normally {m}{a}, now {m}{b}, how much do i save", "{a} - {b}"),
    ("i weighed {a} and lost {b}, what do i weigh now", "{a} - {b}"), ("{a} [seats|tickets|places], {b} [taken|sold|booked|gone], " + LEFT, "{a} - {b}"),
    ("{a} [guests|people] were invited and {b} [cancelled|can't come|said no], how many [come|will come|are coming]", "{a} - {b}"),
    ("from {b} to {a}, how many years [is that|are there|lie between]", "{a} - {b}"), ("how many years [are there |passed |]between {b} and {a}", "{a} - {b}"),
    ("goal: {a}. so far: {b}. [how many to go|how much is missing|what's missing]", "{a} - {b}"),
    ("the goal is {m}{a} and we [raised|collected|have] {m}{b}, how much is [missing|still needed|left to raise]", "{a} - {b}"),
    ("i want to buy a thing for {m}{a} but only have {m}{b}, how much [am i short|more do i need|is missing]", "{a} - {b}"),
    ("[i spent|i paid] {m}{a} on [food|gas|shoes] and {m}{b} on [drinks|rent|a hat|parking], [total|how much altogether|what did i spend]", "{a} + {b}"),
    ("[monday|yesterday|last week] {a}, [tuesday|today|this week] {b}, [total|sum|how many altogether|together]", "{a} + {b}"),
    ("{a} [adults|boys|men|cats] and {b} [children|girls|women|dogs], how many [in total|altogether|is that|are there]", "{a} + {b}"),
    ("[the flight|the meal|the phone] is {m}{a} [plus|and then] {m}{b} for [bags|drinks|shipping|a case], [total|what do i pay|how much altogether]", "{a} + {b}"),
    ("{m}{a} plus {m}{b} shipping, [total|what do i pay]", "{a} + {b}"),
    ("i walked {a} steps [in the morning|before lunch|yesterday] and {b} [after lunch|in the evening|today], [total|how many altogether]", "{a} + {b}"),
    ("we were {a} and then {b} more [came|joined|arrived], how many are we [now|]", "{a} + {b}"),
    ("{m}{a} for one, {m}{b} for the other and {m}{c} for the third, [total|how much altogether|what do i pay]", "{a} + {b} + {c}"),
    ("[breakfast|monday|the first] {m}{a}, [lunch|tuesday|the second] {m}{b}, [dinner|wednesday|the third] {m}{c}, [total|sum|how much altogether]", "{a} + {b} + {c}"),
    ("i have {m}{a} and spend {m}{b} and then {m}{c}, [what's left|what remains|how much is left]", "{a} - {b} - {c}"),
    ("{a} [sheep|coins|apples], {b} [gone|lost] and {c} [new ones|more added], how many now", "{a} - {b} + {c}"),
    (f"{{b}} {GOODS} at {{m}}{{a}} {EACH} plus {{m}}{{c}} [shipping|delivery|for wrapping|service fee], {ASKING}", "{b} * {a} + {c}"),
    (f"{{b}} {GOODS} at {{m}}{{a}} {EACH}, minus a {{m}}{{c}} [voucher|coupon|gift card], {ASKING}", "{b} * {a} - {c}"),
    ("[taxi|plumber|electrician]: {m}{c} flat plus {b} [km|hours] at {m}{a} each, total", "{c} + {b} * {a}"),
    ("[floor|room|garden|wall|carpet|screen|field|rug] {a} by {b}, [what's the area|area|how many square meters|how much area]", "{a} * {b}"),
    ("[tiling|painting|covering|carpeting] a [floor|wall|room] of {a} by {b}, what area [is it|is that|do i need]", "{a} * {b}"),
    ("{a} [rows|shelves|boxes|tables|packs] with {b} [each|in each|per row], [total|how many altogether|how many is that]", "{a} * {b}"),
    ("{b} [in each|per box|in every pack], {a} [boxes|packs], [total|how many altogether]", "{a} * {b}"), ("i drink {a} [cups|glasses|coffees] a day, how many in {b} days", "{a} * {b}"),
    ("{a} [pages|words|pushups|km] [a day|per day|every day|daily] for {b} days, [total|how many altogether|how many is that]", "{a} * {b}"),
    ("fence around a [garden|field|yard] of {a} by {b}, how long", "2 * ({a} + {b})"), ("a box [is |]{a} by {b} by {c}, [what's its volume|volume|how much fits in]", "{a} * {b} * {c}"),
    ("half of {a} plus {b}", "{a} / 2 + {b}"), ("twice {a} plus {b}", "2 * {a} + {b}"), ("double {a} and [then |]add {b}", "2 * {a} + {b}"), ("double {a} minus {b}", "2 * {a} - {b}"),
    ("{a} doubled, minus {b}", "2 * {a} - {b}"), ("triple {a} and take away {b}", "3 * {a} - {b}"), ("{a} squared plus {b}", "{a} ^ 2 + {b}"), ("square {a} and subtract {b}", "{a} ^ 2 - {b}"),
    ("{a} squared plus {b} squared", "{a} ^ 2 + {b} ^ 2"), ("half of {a} minus {b}", "{a} / 2 - {b}"), ("the square root of {a}, plus {b}", "sqrt({a}) + {b}"),
    ("add {a} and {b}, then [multiply|times] [it |the sum |the result |]by {c}", "({a} + {b}) * {c}"), ("add {a} and {b} and divide the [sum|result|total] by {c}", "({a} + {b}) / {c}"),
    ("multiply {a} by {b} and then [add|plus] {c}", "{a} * {b} + {c}"), ("multiply {a} by {b}, then [subtract|take off|take away] {c}", "{a} * {b} - {c}"),
    ("divide {a} by {b} and [then |]add {c}", "{a} / {b} + {c}"), ("subtract {b} from {a}, then [double it|times two]", "2 * ({a} - {b})"),
    ("take {a}, add {b}, [subtract|take away] {c}", "{a} + {b} - {c}"), ("take {a}, subtract {b}, then multiply [the result |]by {c}", "({a} - {b}) * {c}"),
    ("start with {a}, double it, [add|plus] {b}", "2 * {a} + {b}"), ("{a}, then plus {b}, then minus {c}", "{a} + {b} - {c}"), ("{a} plus {b}, then the whole thing times {c}", "({a} + {b}) * {c}"),
    ("sum of {a} and {b}, divided by {c}", "({a} + {b}) / {c}"),
    ("{a} dozen [eggs|roses|donuts|bagels|oysters], how many [is that|pieces|single ones]", "12 * {a}"), ("how many [eggs|roses|bagels] are in {a} dozen", "12 * {a}"),
    ("halfway between {a} and {b}", "({a} + {b}) / 2"), ("what lies in the middle of {a} and {b}", "({a} + {b}) / 2"),
    ("[my grades are|i scored|the scores are|the readings are] {a}, {b} and {c}, [what's my average|what's the average|what's the mean|average]", "({a} + {b} + {c}) / 3"),
]

PRICE = {
    "{a} * {p} / 100": ["[i want|we want|i'd like] to [leave|give] a {p}{s} tip on {a}, how much [is it|is that|tip]", "the bill [is|was|says] {a} and i tip {p}{s}, how much is the tip",
        "tip {p}{s} {a}", "{p}{s} of {a}", "{p}{s} of {a} is how much", "how much makes {p}{s} of {a}", "how much {p}{s} from {a}", f"{KNOW} what {{p}}{{s}} of {{a}} is",
        f"{KNOW} how much {{p}}{{s}} of {{a}} [is|makes]", "[i save|i put aside|i donate|they keep|the agent takes|the bank takes] {p}{s} of {a}, how much is [it|that]",
        "out of {a} [people|voters|users|students], {p}{s} [said yes|agreed|left|passed], how many is that", "{a} at {p}{s} interest, how much interest",
        "what's {p}{s} [commission|tax|vat|interest|cashback] on {a}", "{p}{s} share of {a}", "from {a} i need {p}{s}, how much", "{a}. {p}{s} of that", "take {a}. what is {p}{s} of it",
        "sales tax is {p}{s}. how much tax on {a}", "{p}{s} tip on {a}", "{a} bill, {p}{s} tip, how much tip"],
    "{a} - {a} * {p} / 100": ["{p}{s} off {a}", "{p}{s} off {a}, what do i pay", "{a} with {p}{s} off, what do i pay",
        "[a jacket|the tv|a bike|the shoes|the sofa|a laptop|it] [costs|is|was] {a} and is {p}{s} off, [what do i pay|new price|final price|what's the price now]",
        "[sale|black friday|clearance]: {p}{s} off {a}, [what's the price|new price|price]", "[original|old|regular] price {a}, discount {p}{s}, [new price|final price|what do i pay]",
        "my coupon [gives|is for] {p}{s} off and the price is {a}, [what do i pay|final price]", "knock {p}{s} off {a}", "{a} minus {p}{s}", "take {p}{s} off {a}",
        "what's left of {a} after {p}{s} [tax|is gone|fees]", "{a} drops [by |]{p}{s}, [what is it now|new value|now it is]", "{a} goes down [by |]{p}{s}, [what is it now|new value]",
        f"{KNOW} what {{a}} is with {{p}}{{s}} off", f"{KNOW} the price of {{a}} after {{p}}{{s}} discount", "{a} less {p}{s} is how much", "i lose {p}{s} of {a}, what's left",
        "student discount of {p}{s} on {a}, what do i pay"],
    "{a} + {a} * {p} / 100": ["{a} plus {p}{s}", "{a} plus {p}{s} [tax|vat|tip|service], what do i pay",
        "[the bill|dinner|lunch] is {a} and i [add|tip|leave] {p}{s}, [what do i pay in total|what's the total|total]", "[net|before tax] {a}, [tax|vat] {p}{s}, [gross|total|with tax]",
        "{a} goes up [by |]{p}{s}, [what is it now|new value|now it is]", "{a} rises [by |]{p}{s}, [what is it now|new value]",
        "my [rent|salary|pay] is {a} and [rises|goes up|increases] [by |]{p}{s}, [what is it then|new amount|what will it be]", "a {p}{s} raise on {a}, what do i earn [then|now]",
        "put {p}{s} on top of {a}", f"{KNOW} what {{a}} plus {{p}}{{s}} is", f"{KNOW} the price of {{a}} with {{p}}{{s}} tax", "add {p}{s} [tip|tax|vat] to {a}", "{a} with {p}{s} on top",
        "{a} and {p}{s} more", "{a} grows [by |]{p}{s}, what is it [now|then]"],
}

ONE = {
    "{a} / 2": ["what's half of {a}", "half of {a}", "half of {a} is", "{a}, but half", "i need half of {a}", "cut {a} in half", "the recipe is for {a}, i make half, how much", "halve {a} pls",
        "only half of {a}", "give me half of {a}", f"{KNOW} what half of {{a}} is", "how much is the half from {a}"],
    "{a} / 3": ["a third of {a}", "what's a third of {a}", "one third of {a}", "i need one third of {a}", f"{KNOW} what a third of {{a}} is", "{a} split three ways", "{a} in three equal parts, how big is one"],
    "{a} / 4": ["a quarter of {a}", "what's a quarter of {a}", "i need a quarter of {a}", "quarter of {a}", f"{KNOW} what a quarter of {{a}} is", "{a} split four ways",
        "{a} in four equal parts, how big is one", "a fourth part of {a}"],
    "{a} / 5": ["a fifth of {a}", "1/5 of {a}", "what's a fifth of {a}", "one fifth of {a}", "{a} split five ways", "{a} in five equal parts, how big is one"], "{a} / 8": ["an eighth of {a}",
        "one eighth of {a}", "what's an eighth of {a}"],
    "2 * {a}": ["what's double {a}", "what's twice {a}", "double {a} pls", "the recipe needs {a} but i make double, how much", "{a} times two, how much", "two times {a}", "i need double of {a}",
        f"{KNOW} what twice {{a}} is", "{a}, but doubled", "how much is the double from {a}"],
    "3 * {a}": ["what's triple {a}", "triple {a} pls", "three times {a}", "{a}, but tripled", f"{KNOW} what three times {{a}} is", "i need triple of {a}"],
    "12 * {a}": ["{a} dozen, how many is that", "how many are {a} dozen", "{a} dozen is how many", "how many single ones are {a} dozen"],
    "{a} ^ 2": ["what's {a} squared", "{a} squared pls", "a square room has sides of {a}, what's its area", "square tile, side {a}, area", f"{KNOW} what {{a}} squared is",
        "{a} times itself, how much", "multiply {a} by itself", "{a} to the second"],
    "{a} ^ 3": ["what's {a} cubed", "{a} cubed pls", "a cube has an edge of {a}, what's its volume", "cube, edge {a}, volume", f"{KNOW} what {{a}} cubed is", "{a} to the third"],
    "sqrt({a})": ["what's the square root of {a}", "square root of {a} pls", "sqrt {a} pls", "root of {a}", f"{KNOW} the square root of {{a}}", f"{KNOW} what number squared gives {{a}}",
        "a square garden has an area of {a}, how long is a side", "square with area {a}, how long is one side", "what times itself makes {a}", "[square |]root: {a}"],
    "{a}!": ["what's {a} factorial", "{a} factorial pls", f"{KNOW} the factorial of {{a}}", f"{KNOW} what {{a}} factorial is",
        "in how many orders can {a} [people|runners|cards|books] [line up|stand|be lined up]", "{a} people in a queue, how many different orders", "factorial: {a}"],
}

# kind -> phrasings; {c} is the list in any separator, {l} the list in a sentence
MANY = {
    "add": ["sum: {c}", "sum {c}", "add: {c}", "total: {c}", "total {c}", "add up: {c}", "{c}: sum", "{c}: total", "{c} sum", "{c} total", "{c} - sum", "sum of {c}", "{l} together",
        "{l} together, how much", "{l} [added up|all in all|altogether|taken together]",
        "{l}. [add them|sum them up|add them all|total please|what's the sum|what do they add up to|how much altogether]",
        "i have [the numbers|these numbers|amounts of|bills of|expenses of] {l}. [add them|sum|what's the total|what do they add up to]",
        "my [expenses|bills|receipts|scores|points|steps|hours] are {l}. [total|sum|what's the total|add them up|altogether]", "[numbers|prices|amounts|values]: {c}. [sum|total|add them|add all]",
        f"{PLS}add [all |]these [numbers|]: {{c}}", f"{PLS}add these numbers:\n{{c}}", f"{PLS}add up {{l}}", f"{PLS}sum up {{l}}", f"{PLS}total up {{l}}", f"{PLS}tally {{l}}",
        f"{KNOW} the sum of {{l}}", f"{KNOW} what {{l}} add up to", f"{KNOW} how much {{l}} is together", "what do {l} add up to", "what do {l} come to", "what is {l} in total",
        "{l} makes how much in total", "how much is {l} together", "how much makes {l} together", "sum of these:\n{c}", "{c}\n[sum|total|add them up|sum please]",
        "{l} [is|are|makes|make] how much altogether", "the sum of the list {c}", "sum({c})"],
    "multiply": ["multiply: {c}", "product: {c}", "product of {c}", "{c}: product", "{c} product", "{l}. [multiply them|multiply them all|what's the product|product please]",
        "i have the numbers {l}. [multiply them|what's their product]", f"{PLS}multiply [all |]these [numbers|]: {{c}}", f"{PLS}multiply {{l}}", f"{KNOW} the product of {{l}}",
        "what do {l} multiply to", "what is {l} multiplied together", "{l} all multiplied", "{c}\n[product|multiply them|product please]",
        "[numbers|values]: {c}. [product|multiply them|multiply all]"],
    "average": ["average: {c}", "avg: {c}", "mean: {c}", "avg {c}", "average {c}", "mean of {c}", "{c}: average", "{c} average", "{c}: mean",
        "{l}. [what's the average|average please|mean please|average them]",
        "my [grades|scores|times|temperatures|results] are {l}. [average|what's my average|what's the average|mean|what is that on average]",
        "[numbers|grades|scores|values]: {c}. [average|mean|average them]", f"{PLS}average {{l}}", f"{PLS}average these: {{c}}", f"{KNOW} the average of {{l}}", f"{KNOW} the mean of {{l}}",
        "what is {l} on average", "{l} on average", "what do {l} average out at", "{c}\n[average|mean|avg|average please]", "the average of the list {c}"],
    "max": ["max: {c}", "biggest: {c}", "largest of {c}", "{c}: max", "{c}: [which is the biggest|biggest one|largest]",
        "{l}. [which is the biggest|which is the largest|which one is highest|the maximum please]", "[prices|scores|offers|values]: {c}. [max|highest|the highest one|biggest]",
        f"{PLS}pick the [biggest|largest|highest] [of|from] {{l}}", f"{KNOW} which is the [biggest|largest|highest] of {{l}}", "what's the [highest|biggest|largest] of {l}",
        "the [record|top score] among {l}", "{c}\n[max|the biggest|highest]"],
    "min": ["min: {c}", "smallest: {c}", "smallest of {c}", "{c}: min", "{c}: [which is the smallest|smallest one|lowest]",
        "{l}. [which is the smallest|which is the cheapest|which one is lowest|the minimum please]", "[prices|scores|offers|values]: {c}. [min|lowest|the lowest one|cheapest]",
        f"{PLS}pick the [smallest|lowest|cheapest] [of|from] {{l}}", f"{KNOW} which is the [smallest|lowest] of {{l}}", "what's the [lowest|cheapest|smallest] of {l}",
        "{c}\n[min|the smallest|lowest]"],
    "gcd": [f"{KNOW} the greatest common divisor of {{l}}", f"{PLS}find the gcd of {{l}}", "{l}. [gcd|greatest common divisor|what's their gcd|biggest common factor]", "gcd {c}",
    "what's the biggest number that divides {l}", "the largest factor that {l} share"],
    "lcm": [f"{KNOW} the least common multiple of {{l}}", f"{PLS}find the lcm of {{l}}", "{l}. [lcm|least common multiple|what's their lcm|smallest common multiple]", "lcm {c}",
    "what's the smallest number that {l} all divide", "the first number in the times tables of {l}"],
}


def money(rng):
    return rng.choice(("", "", "$", "$", "€", "£"))


def typed(rng, pattern, number):
    """Digits where a sign stands right between two numbers or a plural s follows, else any way to say it."""
    return number if re.search(r"\}\S+\{|\}s ", pattern) else said(rng, number)


def two(src):
    rng = src.rng
    op = rng.choice("++--***//%^")
    if op == "^":
        a, b = src.integer(2, 30) if rng.random() < 0.7 else src.number(), str(rng.randint(2, 20))
    else:
        a, b = (src.integer(), src.integer(1)) if op == "%" else (src.number(), src.number())
    if op == "/" and float(b) == 0:
        b = src.integer(1)
    pattern = rng.choice(TWO[op])
    text = fill(rng, pattern, {"a": typed(rng, pattern, a), "b": typed(rng, pattern, b)}, wrap=rng.random() < 0.5)
    return text, f"{a} {op} {b}"


def mixed(src):
    """One number in words, the other in digits."""
    rng = src.rng
    op = rng.choice("+-*/")
    numbers = [src.integer(2, rng.choice((20, 99, 999, 9999, 99999))) for _ in range(2)]
    if rng.random() < 0.35:
        numbers[0] = rng.choice(("100", "200", "300", "500", "1000", "2000", "10000", "1000000", "1200", "1500"))
        numbers[0] = numbers[0] if src.fits(numbers[0]) else src.integer(100, 9999)
    seen = [spell(rng, int(n)) for n in numbers]
    seen[0] = seen[0].replace("one hundred", "a hundred", 1) if seen[0].startswith("one ") and rng.random() < 0.5 else seen[0]
    if rng.random() < 0.6:
        seen[1] = numbers[1]
    order = rng.random() < 0.5
    if order:
        seen, numbers = seen[::-1], numbers[::-1]
    pattern = rng.choice([p for p in TWO[op] if not re.search(r"\}\S+\{", p)])
    return fill(rng, pattern, dict(zip("ab", seen)), wrap=rng.random() < 0.5), f"{numbers[0]} {op} {numbers[1]}"


def one(src):
    rng = src.rng
    result = rng.choice(list(ONE))
    a = src.integer(0, 30) if result == "{a}!" else src.number()
    return fill(rng, rng.choice(ONE[result]), {"a": said(rng, a)}, wrap=rng.random() < 0.5), result.replace("{a}", a)


def fraction(src):
    """Two fifths of something: the number is multiplied first."""
    rng = src.rng
    below = rng.choice((3, 4, 5, 5, 6, 7, 8, 9, 10))
    above = rng.choice([n for n in range(2, below) if gcd(n, below) == 1])
    a = src.number()
    name = rng.choice((f"{above}/{below}", f"{above}/{below}", fraction_word(above, below)))
    phrase = rng.choice(("{x} of {a}", "what's {x} of {a}", "what is {x} of {a}", "how much is {x} of {a}", "i need {x} of {a}", "{x} of {a} is how much", "find {x} of {a}",
        "calculate {x} of {a}", KNOW + " what {x} of {a} is", "{a}, but only {x} of it"))
    return fill(rng, phrase, {"x": name, "a": shown(rng, a)}, wrap=rng.random() < 0.4), f"{a} * {above} / {below}"


def situation(src):
    rng = src.rng
    pattern, expression = rng.choice(SITUATIONS)
    cash = "{m}" in pattern
    a = src.integer(1, rng.choice((50, 500))) if rng.random() < 0.35 else src.number() if cash and rng.random() < 0.8 else src.integer(1)
    if cash and "." not in a and rng.random() < 0.4:
        a = src.draw(lambda g: f"{g.randrange(1, 10 ** g.choice((1, 2, 3)))}.{g.choice(('99', '50', '95', '25', '49', '75', '90', '05'))}")
    b, c = (src.integer(1, rng.choice((12, 99, 999, 9999))) for _ in range(2))
    both = "{m}{b}" in pattern and rng.random() < 0.4
    b = src.decimal() if both else b
    if expression == "{a} - {b}" and float(a) < float(b) and rng.random() < 0.8:
        a, b = b, a  # as it mostly is in life
    slots = {"a": a if cash else said(rng, a), "b": b if cash and "{m}{b}" in pattern else said(rng, b), "c": c if cash else said(rng, c), "m": money(rng)}
    return fill(rng, pattern, slots, wrap=rng.random() < 0.35), expression.format(a=a, b=b, c=c)


def price(src):
    rng = src.rng
    result = rng.choice(list(PRICE))
    a = src.number()
    p = rng.choice((src.integer(1, 100), src.integer(1, 100), str(rng.choice((5, 10, 15, 18, 20))), str(rng.randint(1, 20)), src.decimal()))
    pattern = rng.choice(PRICE[result])
    sign = "" if "[people" in pattern else money(rng)
    slots = {"a": sign + shown(rng, a, False), "p": said(rng, p) if rng.random() < 0.3 else p,
             "s": rng.choice(("%", "%", "%", " percent", " percent", " %", " pct", " per cent"))}
    if not slots["p"][0].isdigit():
        slots["s"] = rng.choice((" percent", " percent", " per cent"))
    return fill(rng, pattern, slots, wrap=rng.random() < 0.45), result.replace("{a}", a).replace("{p}", p)


def many(src):
    rng = src.rng
    kind = rng.choice(("add",) * 6 + ("multiply", "multiply", "average", "average", "max", "min", "gcd", "lcm"))
    count = rng.choice((2, 2, 3)) if kind in ("gcd", "lcm") else rng.choice((2, 3, 3, 4, 5)) if kind in ("max", "min") else rng.choice((3, 3, 4, 4, 5))
    style = rng.random()  # all decimals, all small, or anything
    if kind in ("gcd", "lcm"):
        items = [src.integer(2, 999) for _ in range(count)]
    else:
        items = [src.decimal() if style < 0.25 else src.integer(1, 99) if style < 0.6 else src.number() for _ in range(count)]
    spoken = rng.random() < 0.15
    seen = [said(rng, i) for i in items] if spoken else items
    if any("," in s for s in seen):
        seen = items
    pattern = rng.choice(MANY[kind])
    slots = {"l": separated(rng, seen, True), "c": separated(rng, seen, False)}
    head = {"add": " + ".join(items), "multiply": " * ".join(items), "average": f"({' + '.join(items)}) / {count}"}
    return fill(rng, pattern, slots, wrap=rng.random() < 0.35), head.get(kind, f"{kind}({', '.join(items)})")


KINDS = [two] * 11 + [mixed] * 4 + [one] * 4 + [fraction] + [situation] * 9 + [price] * 4 + [many] * 7


def make(src):
    return src.rng.choice(KINDS)(src)
