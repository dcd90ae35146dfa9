"""Prompts for `calculator`: arithmetic in symbols, in words and in stories."""

from fractions import Fraction

import calc_more
from calc_stories import STORIES
from phrases import fill
from spoken import ONES, TENS, joined, negative, ordinal, shown, spell  # ONES and TENS are for skeleton.py

ASK = ("[what is|what's|whats|what is|calculate|compute|tell me|find|give me|work out|how much is|evaluate|solve|"
       "figure out|find out|can you [calculate|compute|find|tell me|work out|do|get|give me|figure out|solve]|could you [calculate|"
       "compute|find|tell me|do|give me|work out]|i need [|to know|to find|you to calculate|you to find]|"
       "i want [|to know|to calculate]|do you know|what does|let me know|show me|what will be|what would be|"
       "determine|i would like to know|id like [|to know]|whats the [answer to|result of|value of]|what is the [answer to|result of|value of|"
       "answer for|outcome of]|the [result|value|answer] of|get me|run|do the math on|do|check|say|what do you get for|"
       "what do i get [for|from|with|if i do]|how do i calculate|help me [with|calculate|find|work out|solve]|"
       "[the |][answer|result] for|calc|[would|will] you [please |][calculate|compute|find|solve]|any idea what [is|]|"
       "i wonder what is|remind me what is|use the calculator for|using a calculator, what is|math: |maths: |sum: |]")
AFTER = ("[|||||||| =| equals| equals what| is what| is how much| makes what| gives what| is equal to what|, what is it|"
         " come out to| equal|, what's the answer|, how much is that| - what is the result|, what does it make|"
         ", what's that| all together| come to| in total|, i need the result| make| as a number|, answer please|, tell me| amounts to what| gives| makes| is| please, what is it|, what do you say|, compute that|, do it|. what is it|. what's the result|, can you do that| equals how much| is equal to| comes to what| as a decimal number| to be exact]")
DO = ("[||||please |can you |could you |would you |i want to |i need to |i want you to |help me |let's |how do i |"
      "what if i |what happens if i |what do i get when i |what do you get if you |what do we get if we |"
      "what results when i |show me how to |go ahead and |try to |now |just |i'd like to |i need you to |"
      "can i ask you to |i have to |how would you |tell me what you get when you |see what you get if you |when i |if i |if we |if you ]")

# operator -> (noun phrases, commands)
BINARY = {
    "+": (["{a} plus {b}", "{a} plus {b}", "{a} and {b} [added|added together|combined|summed|together]", "{a} added to {b}",
           "{a} [added|summed] with {b}", "the [sum|total|addition] of {a} and {b}", "[sum|total] of {a} and {b}", "{a} more than {b}", "{b} [increased|raised] by {a}",
           "{a} with {b} added", "{a} with {b} on top", "{a} & {b} together", "the sum {a} plus {b}",
           "the total [when|if] [you |i |we |]add {a} [and|to] {b}", "{a} in addition to {b}", "the result of adding {a} [and|to] {b}",
           "{b} more than {a}", "{a} and {b} make", "{a} together with {b}", "{a} with another {b}", "{a} and another {b}", "the total of {a} with {b}", "{a} and then {b} more", "the addition of {a} with {b}",
           "the number {b} more than {a}", "{a} [bumped|pushed|boosted] up by {b}", "{a} upped by {b}", "what {a} and {b} [add up to|come to|sum to|total|make|give]"],
          ["add {a} and {b}", "add {a} to {b}", "add {a} with {b}", "add together {a} and {b}", "add up {a} and {b}", "sum {a} and {b}",
           "sum up {a} and {b}", "put {a} and {b} together", "total {a} and {b}", "increase {b} by {a}",
           "combine {a} and {b}", "[take|start with] {a} and [add|then add] {b}", "plus {a} with {b}", "tally {a} and {b}", "total up {a} and {b}", "add {b} onto {a}", "[tack|put] {b} onto {a}", "[find|get] the sum of {a} and {b}", "[find|get] {a} plus {b}", "[give|add] {b} more to {a}"]),
    "-": (["{a} minus {b}", "{a} minus {b}", "{a} less {b}", "{a} take away {b}", "{a} subtract {b}", "{a} without {b}",
           "the difference between {a} and {b}", "the difference of {a} and {b}", "difference between {a} and {b}", "{b} less than {a}",
           "{b} subtracted from {a}", "{a} [decreased|reduced|lowered|diminished] by {b}", "{a} with {b} [removed|taken away|taken off]",
           "{b} fewer than {a}", "what remains of {a} after [removing|taking away|subtracting] {b}",
           "how much [more|bigger|larger|greater] {a} is than {b}", "what is left [of|from] {a} after {b} is [gone|removed|spent]",
           "the result of subtracting {b} from {a}", "{b} taken from {a}", "{b} off {a}",
           "{b} deducted from {a}", "{a} after [losing|removing|subtracting|spending|taking away] {b}", "the number {b} less than {a}", "{a} [cut|brought down|dropped] by {b}", "the distance from {b} to {a}", "the gap between {a} and {b}",
           "{b} away from {a}", "how far {b} is from {a}", "{a} - take off {b}", "{b} taken away from {a}", "{a}, minus {b}", "how much is left when {b} [is|are] taken from {a}"],
          ["subtract {b} from {a}", "take {b} from {a}", "take {b} off {a}", "deduct {b} from {a}",
           "remove {b} from {a}", "reduce {a} by {b}", "decrease {a} by {b}", "lower {a} by {b}", "[start with|take] {a} and [subtract|remove|take away] {b}",
           "go from {a} down by {b}", "minus {b} from {a}", "withdraw {b} from {a}", "drop {a} by {b}", "take away {b} from {a}", "take {b} out of {a}", "pull {b} from {a}", "[find|get] the difference between {a} and {b}", "[find|get] {a} minus {b}", "take off {b} from {a}", "subtract {b} off {a}", "cut {b} from {a}", "from {a} [take|subtract|remove|deduct] {b}"]),
    "*": (["{a} times {b}", "{a} times {b}", "{a} multiplied by {b}", "{a} multiplied with {b}", "the product of {a} and {b}",
           "product of {a} and {b}", "{a} lots of {b}", "{a} groups of {b}", "{a} sets of {b}", "{a} by {b} multiplied", "{a} multiply {b}", "{a} multiply by {b}", "{a} mult {b}",
           "{a} time {b}", "the result of multiplying {a} [by|and|with] {b}", "{a} and {b} multiplied [|together]",
           "the [multiplication|product] {a} times {b}", "{a} times as much as {b}", "{a} x {b}", "{a} X {b}", "{a} × {b}",
           "{a}, times {b}", "the product when {a} [is multiplied by|meets] {b}", "the product of the numbers {a} and {b}", "{a} taken {b} times", "{b} times the number {a}", "{a} repeated {b} times and added up", "{a} copies of {b}", "{a} * {b}",
           "the multiplication of {a} and {b}", "what {a} times {b} [is|makes|gives|comes to]", "{a} [scaled|multiplied] by a factor of {b}", "{a} and {b}, multiplied"],
          ["multiply {a} by {b}", "multiply {a} and {b}", "multiply {a} with {b}", "multiply {a} times {b}", "multiply together {a} and {b}",
           "times {a} by {b}", "scale {a} by {b}", "[take|start with] {a} and multiply [it |]by {b}", "take {a} times {b}", "do {a} times {b}", "[find|get|compute] the product of {a} and {b}", "[find|get] {a} times {b}", "multiply the number {a} by {b}", "multiply out {a} and {b}"]),
    "/": (["{a} divided by {b}", "{a} divided by {b}", "{a} over {b}", "the quotient of {a} and {b}", "{a} split by {b}", "{a} shared by {b}",
           "{a} divide by {b}", "{a} ÷ {b}", "{a} divided into {b} [equal |][parts|pieces|groups|shares]",
           "{a} split into {b} [equal |][parts|pieces|groups|shares]", "{a} shared [equally |evenly |]between {b} [people|friends|kids]",
           "how many times {b} goes into {a}", "how often {b} fits into {a}", "the ratio of {a} to {b}", "the result of dividing {a} by {b}",
           "{a} [split|divided|shared] [among|between] {b}", "the division of {a} by {b}", "the fraction {a}/{b}", "{a} [shared|split] {b} ways",
           "{a}/{b} as a decimal [number|]", "the fraction {a} over {b} as a decimal", "{a} by {b} divided",
           "{a} out of {b} as a decimal", "the quotient when {a} is divided by {b}", "{a}, divided by {b}", "how many {b}s [are in|go into|fit in] {a}", "{a} cut into {b} [equal |][parts|pieces]", "one share of {a} split {b} ways", "{a} per {b}",
           "what {a} divided by {b} [is|makes|gives|comes to]", "{a} [spread|distributed] over {b}", "{a} : {b}", "the quotient {a} over {b}", "{b} into {a}", "the fraction {a}/{b}, as a decimal", "{a}/{b} written as a decimal"],
          ["divide {a} by {b}", "divide {a} with {b}", "split {a} into {b} [equal |][parts|pieces|groups]", "share {a} [between|among] {b}",
           "divide {a} into {b} [parts|equal parts|groups]", "cut {a} into {b} [pieces|parts]", "[take|start with] {a} and divide [it |]by {b}",
           "split {a} {b} ways", "divide up {a} between {b}", "share {a} equally with {b} [people|friends]", "[find|get] {a} divided by {b}", "[find|get] the quotient of {a} and {b}", "split {a} by {b}", "split {a} evenly into {b}", "split up {a} among {b} [people|friends|of us]", "divide the number {a} by {b}", "distribute {a} over {b}", "break {a} into {b} [equal parts|parts]", "turn {a}/{b} into a decimal"]),
    "%": (["the remainder of {a} divided by {b}", "the remainder of {a} by {b}", "{a} mod {b}", "{a} modulo {b}", "the remainder of {a} over {b}",
           "the rest of {a} divided by {b}", "[the remainder|what is left over|what remains|the rest] [when|if] [you divide|i divide|dividing] {a} by {b}",
           "remainder of {a} / {b}", "{a} modulus {b}", "the leftover of {a} divided by {b}", "the remainder [after|from|in] dividing {a} by {b}",
           "{a} % {b}", "the remainder for {a} divided by {b}", "the mod of {a} and {b}",
           "the remainder when {a} is divided by {b}", "the remainder if {a} [is|gets] [divided|split] by {b}", "what [remains|is left over|is left|stays] when {a} is divided by {b}", "{a} divided by {b} leaves what remainder", "the remainder {a} leaves when divided by {b}",
           "the remainder left by {a} divided by {b}", "the remainder of dividing {a} by {b}", "remainder [on|upon|after|for|of|from] dividing {a} by {b}", "the remainder [on|upon] division of {a} by {b}", "if {a} is divided by {b}, the remainder", "only the remainder of {a} divided by {b}",
           "the remainder after {a} is [divided|split] by {b}", "[whats left|the leftover|the leftovers] when {a} is split into groups of {b}", "{a} divided by {b}, [just|only] the remainder", "remainder: {a} divided by {b}", "remainder of {a} by {b}", "{b} into {a}, the remainder", "the remainder {a} mod {b}", "the remainder with {a} divided by {b}"],
          ["find the remainder of {a} divided by {b}", "take {a} modulo {b}", "get the remainder of {a} over {b}", "divide {a} by {b} and give [me |]the remainder", "[find|get|compute|give me] the remainder when {a} is divided by {b}", "divide {a} by {b}, [only|just] the remainder", "divide {a} by {b} and keep the remainder", "reduce {a} modulo {b}", "[find|get] {a} mod {b}", "compute {a} modulo {b}"]),
    "^": (["{a} to the power of {b}", "{a} raised to the power of {b}", "{a} raised to {b}", "{a} to the power {b}", "{a} to the {b}{th} power",
           "{a} to the {b}{th}", "the {b}{th} power of {a}", "{a} power {b}", "{a} pow {b}", "{a} exponent {b}", "{a} raised to the {b}{th}[| power]",
           "{a} ^ {b}", "{a} ** {b}", "{a} with exponent {b}", "{b} as the exponent of {a}", "{a} up to the power {b}", "{a} to the power of the number {b}", "the number {a} to the {b}{th}", "{a} to power {b}", "{a}, raised to the power {b}", "the power {a} to the {b}{th}", "{a}^{b}", "{a}**{b}", "base {a} exponent {b}", "{a} to {b}{th} power"],
          ["raise {a} to the power of {b}", "raise {a} to the {b}{th} power", "raise {a} to {b}", "take {a} to the power of {b}",
           "multiply {a} by itself {b} times over as a power", "exponentiate {a} by {b}"]),
}

# result pattern -> phrases with one number
UNARY = {
    "{a} ^ 2": ["{a} squared", "the square of {a}", "square of {a}", "square {a}", "{a} to the second power", "{a} times itself",
                "{a} multiplied by itself", "{a}²", "the area of a square with side {a}", "{a} to the power of two", "{a} [raised to|to the power] 2", "{a} in the square", "the second power of {a}", "the number {a} squared", "the square of the number {a}", "{a} square", "the squared value of {a}"],
    "{a} ^ 3": ["{a} cubed", "the cube of {a}", "cube of {a}", "cube {a}", "{a} to the third power", "{a}³",
                "the volume of a cube with side {a}", "{a} to the power of three", "the third power of {a}", "the number {a} cubed", "{a} cube", "the cubed value of {a}"],
    "sqrt({a})": ["the square root of {a}", "square root of {a}", "the root of {a}", "sqrt of {a}", "sqrt({a})", "sqrt {a}", "√{a}",
                  "the sqrt of {a}", "[the |]square root [for|from] {a}", "which number squared [is|gives] {a}", "take the square root of {a}", "square root {a}", "the square root of the number {a}", "sqrt of the number {a}", "root of {a}", "the positive root of {a}", "what number times itself [is|makes|gives] {a}", "{a} square rooted", "the side of a square with area {a}", "the 2nd root of {a}"],
    "{a}!": ["{a} factorial", "the factorial of {a}", "factorial of {a}", "{a}!", "factorial {a}", "the factorial for {a}",
             "the number of ways to [order|arrange] {a} [things|books|people]", "in how many ways can {a} [books|people|things] be [ordered|arranged]", "the number {a} factorial", "{a} with a factorial", "{a} fact", "the product of all [numbers|integers] from 1 to {a}", "how many [orders|permutations] {a} [things|cards|people] have"],
    "abs({a})": ["the absolute value of {a}", "absolute value of {a}", "abs of {a}", "abs({a})", "the magnitude of {a}", "the modulus of the number {a}"],
    "{a} / 2": ["half of {a}", "half {a}", "one half of {a}", "half the value of {a}", "{a} halved", "halve {a}", "{a} cut in half", "the half of {a}", "half the number {a}", "{a} in half", "{a} divided in two", "{a} split in two", "one half times {a}", "half as much as {a}",
                "{a} split in half", "divide {a} in half", "split {a} into two [halves|equal parts]", "a half of {a}"],
    "{a} / 3": ["a third of {a}", "one third of {a}", "the third part of {a}", "1/3 of {a}", "{a} divided in three", "{a} split in thirds", "a 3rd of {a}"],
    "{a} / 4": ["a quarter of {a}", "one quarter of {a}", "1/4 of {a}", "{a} split in four", "the fourth part of {a}", "one fourth of {a}", "quarter of {a}", "a fourth of {a}"],
    "{a} * 3 / 4": ["three quarters of {a}", "3/4 of {a}", "three fourths of {a}"],
    "{a} * 2 / 3": ["two thirds of {a}", "2/3 of {a}"],
    "2 * {a}": ["double {a}", "the double of {a}", "twice {a}", "two times {a}", "{a} doubled", "twice as much as {a}", "double the number {a}", "double what {a} is", "{a} times 2", "the number {a} doubled", "2 times {a}", "twice the number {a}", "{a} and the same again", "two of {a}",
                "two lots of {a}", "double of {a}", "{a} times two"],
    "3 * {a}": ["triple {a}", "{a} tripled", "three times {a}", "triple the number {a}", "3 times {a}", "three of {a}", "three times as much as {a}", "the triple of {a}", "thrice {a}", "{a} times three"],
    "4 * {a}": ["quadruple {a}", "four times {a}", "{a} quadrupled"],
    "12 * {a}": ["{a} dozen", "{a} dozens", "a dozen times {a}"],
    "-{a}": ["the negative of {a}", "minus one times {a}", "the opposite of {a}", "negate {a}"],
    "1 / {a}": ["the reciprocal of {a}", "one over {a}", "the inverse of {a}", "one divided by {a}"],
    "{a} / 100": ["one percent of {a}", "a hundredth of {a}"],
    "{a} / 10": ["a tenth of {a}", "one tenth of {a}"],
}

LISTS = {
    "gcd": ["the gcd of {l}", "gcd of {l}", "the greatest common divisor of {l}", "the greatest common factor of {l}", "the highest common factor of {l}",
            "hcf of {l}", "gcf of {l}", "gcd({c})", "the largest number that divides {l}", "the biggest common divisor of {l}", "gcd for {l}",
            "the common divisor of {l} that is [greatest|largest]", "the gcd between {l}", "the largest common divisor of {l}", "the hcf of {l}", "the greatest common divisor [for|between] {l}", "the greatest divisor shared by {l}", "the gcd of the numbers {l}", "gcd: {c}", "the biggest number that goes into {l}", "the highest common divisor of {l}", "the greatest number dividing both {l}"],
    "lcm": ["the lcm of {l}", "the least common multiple of {l}", "least common multiple of {l}", "the lowest common multiple of {l}",
            "the smallest common multiple of {l}", "lcm({c})", "lcm for {l}", "the smallest number divisible by {l}", "the lcm for {l}", "the lcm between {l}", "lowest common multiple for {l}", "lcm: {c}", "the lcm of the numbers {l}", "the smallest number that {l} [both |]divide", "the first common multiple of {l}", "the least common multiple [for|between] {l}", "lowest common multiple of {l}"],
    "max": ["the maximum of {l}", "the biggest of {l}", "the highest of {l}", "max of {l}", "the largest number [of|in|among|out of] {l}",
            "the greatest of {l}", "the max of {l}", "max({c})", "the bigger of {l}", "which is [bigger|greater|larger|higher], {o}",
            "which number is the [biggest|greatest|highest|largest]: {c}", "the [largest|biggest] value [in|among] {l}", "which is more, {o}",
            "which of {l} is the [highest|biggest|greatest]", "the [biggest|highest|greatest] number out of {l}", "who is bigger: {o}", "the largest of {l}", "the largest of these: {c}", "the [largest|biggest|highest] among {l}", "which one is the [largest|biggest|highest|greatest], {o}", "out of {l}, the [largest|biggest|highest]", "of {l} the [largest|biggest|highest]", "which [number|value] is [largest|biggest|highest] [of|in|among] {l}", "the top value of {l}", "largest: {c}", "biggest of the numbers {l}"],
    "min": ["the minimum of {l}", "the smallest of {l}", "the lowest of {l}", "min of {l}", "the smallest number [of|in|among|out of] {l}",
            "the min of {l}", "min({c})", "the smaller of {l}", "which is [smaller|less|lower], {o}", "the least of {l}",
            "which number is the [smallest|lowest|least]: {c}", "the [smallest|lowest] value [in|among] {l}",
            "which of {l} is the [smallest|lowest|least]", "the [lowest|smallest|least] number out of {l}", "which is the [smallest|lowest] of {l}", "the smallest of these: {c}", "the [smallest|lowest] among {l}", "which one is the [smallest|lowest|least], {o}", "out of {l}, the [smallest|lowest]", "of {l} the [smallest|lowest]", "which [number|value] is [smallest|lowest] [of|in|among] {l}", "smallest: {c}", "the bottom value of {l}"],
}
AVERAGE = ["the average of {l}", "the mean of {l}", "average of {l}", "the average [value|number] of {l}", "the arithmetic mean of {l}",
           "average {l}", "the average for {l}", "mean of {l}", "the average of the numbers {l}", "average: {c}", "the mean value of {l}", "the average of these: {c}", "the mean for {l}", "what {l} average out to", "the numbers {l} on average"]
ADD_MANY = ["{p}", "the sum of {l}", "the total of {l}", "add {l}", "sum of {l}", "add up {l}", "{l} added together", "add together {l}", "{l} all together",
            "sum up {l}", "total {l}", "{l} combined", "the sum {p}", "the total for {l}", "{l} summed up", "adding {l}", "add all of these: {c}", "the total when adding {l}", "the sum of the numbers {l}", "sum: {c}", "total: {c}", "{l} in total", "the sum of these: {c}", "the sum when adding {l}", "{l}, added", "{l}, what is their sum", "the numbers {l} added up", "{l} summed", "the sum for {l}", "sum all of these numbers: {c}", "add the numbers {l}", "the sum total of {l}", "add these up: {c}"]
MULTIPLY_MANY = ["{x}", "the product of {l}", "multiply {l}", "{l} multiplied together", "{l} multiplied", "multiply together {l}", "multiply all of these: {c}", "the product {x}", "the product of the numbers {l}", "product of the numbers {l}", "product: {c}", "the product of these: {c}", "{l}, what is their product", "the product when multiplying {l}", "the numbers {l} multiplied [together|]", "the product for {l}", "multiply the numbers {l}", "the product of all of {l}", "multiplying {l}", "product from {l}", "the full product of {l}", "{l}, multiplied [together|]"]

PERCENT = {
    "{a} * {p} / 100": ["{p}{s} of {a}", "{p}{s} of {a}", "{p}{s} out of {a}", "{p}{s} from {a}", "a {p}{s} tip on {a}", "a {p}{s} share of {a}",
                        "{p}{s} tax on {a}", "the {p}{s} part of {a}", "{p}{s} interest on {a}", "a {p}{s} commission on {a}", "the tip for {a} at {p}{s}",
                        "{p}{s} vat on {a}", "a {p}{s} fee on {a}", "the tax on {a} at {p}{s}", "how much {p}{s} of {a} is", "take {p}{s} of {a}", "a tip of {p}{s} on a bill of {a}",
                        "the tip on a {a} [bill|check|meal] at {p}{s}", "{p}{s} of the total {a}", "a {p}{s} deposit on {a}", "a {p}{s} cut of {a}", "{p}{s} of the amount {a}", "{p}{s} of the number {a}", "{p}{s}, of {a}", "what {p}{s} of {a} [is|comes to|makes]", "the {p}{s} tip for {a}", "the amount for a {p}{s} tip on {a}", "tip {p}{s} on {a}", "a {p}{s} bonus on {a}", "the value of {p}{s} of {a}", "a tip on {a} at {p}{s}", "{p}{s} as a part of {a}", "{p}{s} on {a}", "of {a}, {p}{s}"],
    "{a} - {a} * {p} / 100": ["{p}{s} off {a}", "{a} with a {p}{s} discount", "{a} minus {p}{s}", "{a} reduced by {p}{s}", "{a} less {p}{s}",
                              "{a} after a {p}{s} discount", "the price of {a} after {p}{s} off", "{a} decreased by {p}{s}", "decrease {a} by {p}{s}",
                              "a price of {a} with {p}{s} off", "{a} lowered by {p}{s}", "{a} if i get {p}{s} off", "{p}{s} discount on {a}, what do i pay", "a {a} item at {p}{s} off", "{a} with {p}{s} taken off", "{a} [cut|dropped] by {p}{s}", "{p}{s} less than {a}"],
    "{a} + {a} * {p} / 100": ["{a} plus {p}{s}", "{a} increased by {p}{s}", "{a} with {p}{s} tax [added|]", "{a} plus {p}{s} [tax|tip|vat]", "increase {a} by {p}{s}",
                              "{a} including {p}{s} tip", "{a} raised by {p}{s}", "{p}{s} more than {a}", "{a} and {p}{s} on top", "add {p}{s} to {a}",
                              "the total of {a} plus a {p}{s} tip", "{a} with a {p}{s} tip [added|included|]", "{a} grown by {p}{s}", "{a} with {p}{s} [more|added]", "{a} up {p}{s}", "{a} including {p}{s} [tax|vat]", "the bill of {a} with {p}{s} tip"],
}

def ask(rng, noun):
    return f"{ASK} {noun}{AFTER}" if rng.random() < 0.8 else noun


def binary(src):
    rng = src.rng
    op = rng.choice("++--***///%%^")
    if op == "^":
        a, b = src.integer(2, 30) if rng.random() < 0.6 else src.number(), str(rng.randint(2, 20))
    elif op == "%":
        a, b = src.integer(), src.integer(1)
    else:
        a, b = src.number(), src.number()
    if op == "/" and Fraction(b) == 0 and rng.random() < 0.7:
        b = src.integer(1)
    a = negative(rng, a)
    nouns, commands = BINARY[op]
    if rng.random() < 0.62:
        pattern = ask(rng, rng.choice(nouns))
    else:
        pattern = DO + rng.choice(commands) + "[|||||, what do i get|, what's the result|, what is that|, what is left|, what do you get|, how much is it|, and what comes out|. what is the result|. what do i get|? give me the result|, then tell me the answer]"
    pattern = pattern.replace("{b}{th}", "{b}" + ordinal(b))
    slots = {"a": shown(rng, a), "b": shown(rng, b, "{b}" + ordinal(b) not in pattern)}
    return fill(rng, pattern, slots), f"{a} {op} {b}"


def unary(src):
    rng = src.rng
    result = rng.choice(list(UNARY))
    if result == "{a}!":
        a = src.integer(0, 40)
    elif result == "abs({a})":
        a = negative(rng, src.number(), 0.8)
    else:
        a = src.number()
    if result == "1 / {a}" and Fraction(a) == 0:
        a = src.integer(1)
    pattern = ask(rng, rng.choice(UNARY[result]))
    return fill(rng, pattern, {"a": shown(rng, a)}), result.replace("{a}", a)


def many(src):
    rng = src.rng
    kind = rng.choice(("gcd", "lcm", "max", "max", "min", "average", "add", "add", "multiply", "multiply"))
    count = rng.choice((2, 2, 3)) if kind in LISTS else rng.choice((3, 3, 4))
    make = src.integer if kind in ("gcd", "lcm") else src.number
    items = [make() if kind not in ("gcd", "lcm") else src.integer(1) for _ in range(count)]
    seen = [shown(rng, i) for i in items]
    comma = any("," in s for s in seen)
    seen = items if comma else seen  # "1,234, 5" could be read two ways
    slots = {"l": joined(rng, seen), "c": rng.choice((", ", ", ", " ", ",")).join(seen), "o": joined(rng, seen, "or"),
             "p": rng.choice((" plus ", " plus ", " and ", " + ")).join(seen),
             "x": rng.choice((" times ", " times ", " x ", " multiplied by ")).join(seen)}
    if kind in LISTS:
        noun, expression = rng.choice(LISTS[kind]), f"{kind}({', '.join(items)})"
    elif kind == "average":
        noun, expression = rng.choice(AVERAGE), f"({' + '.join(items)}) / {count}"
    elif kind == "add":
        noun, expression = rng.choice(ADD_MANY), " + ".join(items)
    else:
        noun, expression = rng.choice(MULTIPLY_MANY), " * ".join(items)
    return fill(rng, ask(rng, noun), slots), expression


def percent(src):
    rng = src.rng
    result = rng.choice(("{a} * {p} / 100",) * 3 + tuple(PERCENT))
    a, p = src.number(), rng.choice((src.integer(1, 100), src.integer(1, 100), str(rng.randint(1, 20)), src.decimal()))
    pattern = ask(rng, rng.choice(PERCENT[result]))
    slots = {"a": rng.choice(("", "", "", "", "$", "€")) + shown(rng, a, False), "p": p if rng.random() < 0.93 else shown(rng, p),
             "s": rng.choice(("%", "%", "%", " percent", " percent", " %", " per cent"))}
    return fill(rng, pattern, slots), result.replace("{a}", a).replace("{p}", p)


def tree(src, depth):
    """A random expression text; spacing is chosen by the caller's separator."""
    rng = src.rng
    if depth == 0 or rng.random() < 0.25:
        r = rng.random()
        if r < 0.04:
            return f"sqrt({src.number()})"
        if r < 0.06:
            return f"{src.integer(1, 12)}!"
        return negative(rng, src.number(), 0.04)
    left, right = tree(src, depth - 1), tree(src, depth - 1)
    op = rng.choice("++--***//%^" if depth == 1 else "++--**/")
    if op == "^":
        right = str(rng.randint(2, 9))
    text = f"{left} {op} {right}"
    return f"({text})" if rng.random() < 0.4 else text


def symbols(src):
    """An expression typed in symbols, copied with its own spacing."""
    rng = src.rng
    text = tree(src, rng.choice((1, 1, 2, 2)))
    while not any(c in text for c in "+*/%^!(-"):
        text = tree(src, 2)
    if text.startswith("(") and text.endswith(")") and text.count("(") == 1:
        text = text[1:-1]
    if rng.random() < 0.45:
        text = text.replace(" ", "")
    typed, style = text, rng.random()
    if style < 0.12 and " " in typed:
        typed = typed.replace(" * ", " x ")
    elif style < 0.2:
        typed = typed.replace("*", "×").replace("/", "÷")
    elif style < 0.23:
        typed = typed.replace("^", "**")
    elif style < 0.26:
        typed = typed.replace("*", "·").replace("-", "−")
    pattern = ask(rng, "{e}") if rng.random() < 0.75 else "{e}[| =| = ?|=|=?|?]"
    return fill(rng, pattern, {"e": typed}, wrap=rng.random() < 0.7), text


SPOKEN = {"+": ["plus", "plus", "and then plus", "added to"], "-": ["minus", "minus", "less", "take away"],
          "*": ["times", "times", "multiplied by", "x"], "/": ["divided by", "divided by", "over"]}


def chained(src):
    """Three or four operands in words; a pause may mark parentheses."""
    rng = src.rng
    count = rng.choice((3, 3, 4))
    numbers = [src.number() for _ in range(count)]
    ops = [rng.choice("++--**/") for _ in range(count - 1)]
    if rng.random() < 0.3:
        a, b, c = (shown(rng, n) for n in numbers[:3])
        phrase, expression = rng.choice((
            ("the sum of {a} and {b}[,|] {o} {c}", "({a} + {b}) {s} {c}"), ("the product of {a} and {b}[,|] {o} {c}", "{a} * {b} {s} {c}"),
            ("{a} plus {b}, all {o} {c}", "({a} + {b}) {s} {c}"), ("{a} minus {b}, all of that {o} {c}", "({a} - {b}) {s} {c}"),
            ("{c} {o} the sum of {a} and {b}", "{c} {s} ({a} + {b})"), ("{c} {o} the difference between {a} and {b}", "{c} {s} ({a} - {b})"),
            ("the difference between {a} and {b}, {o} {c}", "({a} - {b}) {s} {c}")))
        slots = {"a": a, "b": b, "c": c, "o": rng.choice(SPOKEN[ops[0]])}
        values = dict(zip("abc", numbers), s=ops[0])
        return fill(rng, ask(rng, phrase), slots), expression.format(**values)
    typed, expression = shown(rng, numbers[0]), numbers[0]
    for op, number in zip(ops, numbers[1:]):
        typed += f" {rng.choice(SPOKEN[op])} {shown(rng, number)}"
        expression += f" {op} {number}"
    return fill(rng, ask(rng, "{e}"), {"e": typed}), expression


def story(src):
    rng = src.rng
    pattern, expression = rng.choice(STORIES)
    a = src.number() if "price" in pattern or "{m}" in pattern else src.integer(1)
    b, c = src.integer(1), src.integer(1)
    if "{m}" in pattern:
        slots = {"a": a, "b": shown(rng, b), "c": shown(rng, c), "m": rng.choice(("$", "", "", "€", "£"))}
    else:
        slots = {"a": shown(rng, a), "b": shown(rng, b), "c": shown(rng, c)}
    text = fill(rng, pattern, slots, wrap=rng.random() < 0.4)
    return text, expression.format(a=a, b=b, c=c)


def spelled(src):
    """Both numbers in words: the whole question has no digit."""
    rng = src.rng
    op = rng.choice("++--***//%")
    high = rng.choice((20, 99, 99, 99, 999, 9999))
    a, b = (src.integer(1, high if rng.random() < 0.8 else 99) for _ in range(2))
    nouns, commands = BINARY[op]
    pattern = ask(rng, rng.choice(nouns)) if rng.random() < 0.7 else rng.choice(nouns if rng.random() < 0.5 else [DO + c for c in commands])
    return fill(rng, pattern, {"a": spell(rng, int(a)), "b": spell(rng, int(b))}, wrap=rng.random() < 0.6), f"{a} {op} {b}"


KINDS = [binary] * 10 + [unary] * 5 + [many] * 5 + [spelled] * 3 + [percent] * 3 + [symbols] * 5 + [chained] * 2 + [story] * 7


def make(src):
    """One (prompt, tool, arguments)."""
    more = src.rng.random() < 0.5
    prompt, expression = calc_more.make(src) if more else src.rng.choice(KINDS)(src)
    return prompt, "calculator", {"expression": expression}
