"""More prompts without a call: requests that only look like work for a tool, and small talk.

The slots are those of gen_other.py.
"""

ASKER = "[|||||please |pls |can you |could you |tell me |do you know |i want you to |i need you to |my teacher asks: |quick: |hey, ]"
MONTH = "[january|february|march|april|may|june|july|august|september|october|november|december]"
DAY = "[monday|tuesday|wednesday|thursday|friday|saturday|sunday]"
MONEY = "[dollars|euros|usd|eur|yen|rupees|gbp|pesos|swiss francs|bitcoin|bucks|canadian dollars|rubles|won|crowns|us dollars|eth]"
LANG = "[spanish|french|german|italian|japanese|chinese|russian|portuguese|korean|arabic|latin|dutch|greek|polish|turkish|hindi|swedish|ukrainian|danish|czech|hebrew|finnish]"
FEAST = "[christmas|easter|halloween|new year|new year's eve|summer|spring|my birthday|the weekend|payday|valentine's day|thanksgiving|the holidays|{n}'s birthday|the end of the year|school starts]"
PLACE = "[paris|london|tokyo|rome|berlin|madrid|sydney|cairo|oslo|new york|chicago|vienna|mumbai|france|japan|brazil|india|{n}|{n}]"

# Near the text tools.
TEXTS = [
    f"{ASKER}spell {{q}}", "how do you spell {q}", "how is {q} spelled", "how is {q} spelt", "what's the right spelling of {q}", "is it spelled {q}", "is {q} spelled right", "spell check {q}",
    "check the spelling of {q}", "correct the spelling of {q}", "how do i pronounce {q}", "how is {q} pronounced", "how do you say {q} out loud",
    "how many syllables [are in|does|has] {q}", "how many syllables does {q} have", "how many vowels are in {q}", "how many consonants does {q} have",
    "how many [sentences|paragraphs|pages|verses] are in {q}", "how many languages have the word {q}", "[what|which] letter [comes|is] [after|before|next to] {l}",
    "what comes after {l} in the alphabet", "what is the {n2d}th letter of the alphabet", "which letter of the alphabet is number {n2d}",
    "how many letters [are in|has] the [english |greek |russian |]alphabet", "what's the first letter of {q}", "what's the last letter of {q}", "what's the last word of {q}",
    "which letter is most common in {q}", "what's the longest word in {q}", "which words in {q} are nouns",
    f"{ASKER}translate {{q}}", f"{ASKER}translate {{q}} [to|into] {LANG}", f"{ASKER}translate to {LANG}: {{t}}", f"what's {{q}} in {LANG}",
    f"how would a [german|spaniard|frenchman|russian] say {{q}}", f"{ASKER}put {{q}} into {LANG}", f"{ASKER}write {{q}} in {LANG}", f"{ASKER}say {{q}} in {LANG}", f"{{q}} in {LANG}",
    f"which language is {{q}}", "what language is this: {t}",
    f"{ASKER}sort the [letters|words] [of|in] {{q}}", f"{ASKER}alphabetize {{q}}", f"{ASKER}put the [words|letters] of {{q}} in alphabetical order", f"{ASKER}shuffle the letters of {{q}}",
    f"{ASKER}unscramble {{q}}", f"{ASKER}make an anagram of {{q}}", f"{ASKER}find anagrams of {{q}}", f"{ASKER}remove the [vowels|spaces|duplicates|punctuation|first letter|digits] from {{q}}",
    f"{ASKER}replace {{l}} with {{l2}} in {{q}}", f"{ASKER}repeat {{q}} {{n2d}} times", f"{ASKER}encrypt {{q}}", f"{ASKER}decrypt {{q}}",
    f"{ASKER}encode {{q}} in [base64|morse code|binary|hex|rot13]", f"{ASKER}hash {{q}}", "what is {q} in [morse code|binary|braille|sign language|ascii|pig latin|emoji]", "what's the md5 of {q}",
    f"{ASKER}shorten {{q}}", f"{ASKER}summarize {{q}}", f"{ASKER}make {{q}} sound [nicer|more formal|friendlier|funny|polite]",
    f"{ASKER}rewrite {{q}} [politely|as a question|in simple words|in the past tense|without slang]", f"{ASKER}continue {{q}}", "who said {q}", "who wrote {q}", "where does {q} come from",
    "what does the abbreviation {q} mean", "what is {q} short for", "what does {q} mean", "define {q}", "explain {q}", "what is another word for {q}", "what's the opposite of {q}",
    "what's the plural of {q}", "what's the past tense of {q}", "what rhymes with {q}", "is {q} an insult", "is {q} a good [name|password|title|domain|username]", "is the domain {q} free",
    "open the url {q}", "visit {q}", "download {q}", "rename the file {q}", "delete the file {q}", "what's in the file {q}", "print {q} on my printer",
    "post {q} on [twitter|facebook|my blog|instagram]", "text {q} to {n}", "google {q}", "search for {q}", "look up {q}", "find {q} on amazon", "what's the price of {q}", "what color is {q}",
    "draw {q}", "read {q} aloud", "sing {q}", "what's the tone of {q}", "is {q} positive or negative",
]
# Near the calculator and the unit converter.
NUMBERS = [
    f"how many [days|weeks|months|hours] [until|till|to|before|are left until|left until] {FEAST}", f"when is {FEAST}", f"how long [until|till|is it to] {FEAST}",
    f"how many days [are in|has] {MONTH}", f"how many days are there between {MONTH} {{d}} and {MONTH} {{d}}", f"what day [of the week |]is {MONTH} {{d}}",
    f"what [weekday|day] was {MONTH} {{d}} {{y}}", f"what date is next {DAY}", f"what's the date [next|this|on] {DAY}", f"what day comes after {DAY}", f"which month comes [after|before] {MONTH}",
    "what time will it be in {d} hours", "what time is it in {n}", f"what time is it in {PLACE}", f"if it's {{h}} pm in {PLACE}, what time is it in {PLACE}", "is {y} a leap year",
    "what year will it be in {n2d} years", "how old is {n}", f"what's the time difference between {PLACE} and {PLACE}",
    f"convert {{n1}} {MONEY} to {MONEY}", f"{{n1}} {MONEY} in {MONEY}", f"{{n1}} {MONEY} to {MONEY}", f"how much is {{n1}} {MONEY} in {MONEY}", f"how many {MONEY} are {{n1}} {MONEY}",
    f"how many {MONEY} do i get for {{n1}} {MONEY}", f"exchange {{n1}} {MONEY} for {MONEY}", f"i have {{n1}} {MONEY}, how much is that in {MONEY}",
    f"[what's|what is] {{n1}} {MONEY} worth in {MONEY}", f"{MONEY} to {MONEY} rate", f"it costs {{n1}} {MONEY}, what's that in {MONEY}",
    "is {n1} [prime|a prime number|a prime|even|odd|a perfect number|a square number|a lucky number|a fibonacci number|a palindrome]", "what's the next prime after {n1}",
    "list the [factors|divisors|prime factors] of {n1}", "[what are|find|show] the [factors|divisors|prime factors|multiples] of {n1}", "factor {n1} into primes", "prime factorization of {n1}",
    "what's {n2d} in [roman numerals|binary|hex|hexadecimal|octal|words|spanish|french|german]", "write {n1} in [words|roman numerals|binary|hex]",
    "convert {n2d} to [binary|hex|hexadecimal|octal|roman numerals]", "how do you write {n1} in words", "what number comes after {n1}",
    "[continue|what's next in] the [sequence|series] {n2d}, {d}, {n2d}", "count to {n2d}", "count from {d} to {n2d}", "count backwards from {n2d}", "count down from {n2d}", "say the alphabet",
    "recite pi", "what are the first {n2d} digits of pi", "how many digits does pi have",
    "round {n1} to the nearest [ten|hundred|thousand]", "what is the [sine|cosine|tangent|logarithm|natural log] of {n2d}", "[sin|cos|tan|log|ln] of {n2d}", "solve for x: {d}x = {n2d}",
    "solve {d}x + {n2d} = {n1}", "find x if x + {n2d} = {n1}", "what is x", "simplify {d}x + {n2d}x", "expand (x + {d})(x - {d})", "factor x^2 - {n2d}", "plot y = {d}x + {n2d}",
    "what's the [median|mode|variance|standard deviation] of my data", "is {n1} bigger than infinity", "what's infinity minus one", "what are the odds of winning the lottery",
    "what's the probability of rain", "give me a number between {d} and {n2d}", "pick a number from {d} to {n2d}", "guess my number", "think of a number", "how many stars are there",
    "how many people live on earth", "how many [calories|carbs|grams of fat] are in {n2d} [apples|eggs|bananas|beers]", "how many [eggs|cups of flour|minutes] do i need for a cake",
    "how long do i boil [an egg|pasta|rice|potatoes]",
    f"how far is {PLACE} from {PLACE}", f"how many miles is it from {PLACE} to {PLACE}", "how tall is {n}", "how much does a [whale|car|piano|baby|brick|{w}] weigh",
    "how fast is [light|sound|a cheetah|a plane|{w}]", "what size am i", "what shoe size is {n2d} in europe", "convert size {n2d} to us", "what's my bmi",
    "what's the boiling point of [water|alcohol|mercury|{w}]", "how hot is the sun", "how cold is space", "what's the temperature [outside|today|in {n}]", "how much data do i have left",
    "how much space is on my disk", "how big is the internet", "how much power does a fridge use", "what does a kilo of [gold|silver|coffee] cost", "how much is my house worth",
    "how much tax do i owe", "what's my account balance", "what's the interest rate today", "which units are there", "who invented the meter", "why is a foot called a foot", "what is a pound",
    "explain percentages", "what is a square root", "what does factorial mean", "who invented zero", "teach me division", "what's a slug", "what is camel case", "what are capital letters for",
    "what's a palindrome", "why do we use lowercase",
]
WORLD = [
    f"set a timer for {{n2d}} [minutes|seconds|hours]", "wake me up at {h}", "remind me in {n2d} minutes", "add {w} to my [shopping list|cart|calendar|todo list]",
    "what's on my [calendar|list|screen|mind]", "turn [on|off] the [lights|heating|tv|music|alarm]", "turn up the volume", "call me a cab", "call {n}", "text {n} that i'm late",
    "order me a [pizza|coffee|{w}]", f"book a flight to {PLACE}", f"find a hotel in {PLACE}", f"how do i get to {PLACE}", f"is {PLACE} safe", f"what should i see in {PLACE}",
    f"what do people eat in {PLACE}", f"what's the weather [like |]in {PLACE}", "will it rain tomorrow", "is the shop open",
    "when does the [bus|train|bank|store|game|movie] [open|leave|start|close|come]", "where did i put my {w}", "where is my package", "track my order", "who's winning", "what's the score",
    "any news", "read me the news", "what's trending", "show me a picture of {w}", "draw a {w}", "make a logo", "play {w}", "sing happy birthday", "tell me a joke about {w}", "tell me about {n}",
    "who is {n}", "what's {n} famous for", "do you know {n}", "where is {n}",
    "what should i name my [dog|cat|boat|band|company|baby|blog]", "what should i wear", "what's for dinner", "give me a recipe for {w}", "how do i cook {w}", "how do i fix a {w}", "is {w} healthy",
    "can dogs eat {w}", "what does {w} taste like", "do i have a fever", "my [head|back|tooth|knee] hurts", "i can't sleep", "i have a headache, what can i do", "what medicine do i take",
    "should i see a doctor", "is it legal to {w}", "can i sue my {w}", "write me a poem", "write an essay about {w}", "write a cover letter", "write an email to {n}", "write code that prints {w}",
    "write a sql query", "write a regex for emails", "fix my code", "why doesn't my code work", "what's wrong with my {w}", "install {w}", "update my phone", "reset my password",
    "what's my password", "hack {w}", "connect to the wifi", "open {w}", "close the window", "scroll down", "take a screenshot", "zoom in", "copy that", "paste it here", "undo", "save the file",
    "print the page", "go back", "start over", "delete everything", "what did i ask before", "what was my last question", "repeat that", "say that again", "can you remember my name",
    "what's my name", "guess my age", "do you sleep", "do you have feelings", "are you in love", "marry me", "let's play a game", "let's play chess", "i'm bored", "entertain me", "surprise me",
    "{w}?", "{w} {w2}?", "{w} or {w2}", "is {w} better than {w2}", "why {w}", "when {w}", "compare {w} and {w2}", "what's the difference between {w} and {w2}",
    "my [son|daughter|dog|boss] is called {n}", "it's {n}'s birthday today", "i live in {n}", "i'm from {n}", "i work as a {w}", "the {w} is {w2}", "the meeting is at {h}", "i was there in {y}",
    "it happened in {y}", "see you at {h}", "{n} scored {n2d} goals", "the bus number is {n2d}", "my pin has {d} digits", "i am {n2d} years old", "we have {n2d} {w}s", "there are {n2d} of us",
    "chapter {n2d}", "{n2d} degrees of separation", "{h} o'clock", "no idea", "not sure", "whatever", "forget it", "stop", "wait", "just a second", "one moment", "so what", "go on", "continue",
    "more", "again", "next", "and", "???", "...", "huh", "wow", "oops", "sorry", "please", "nope", "yep", "sure", "of course", "i see", "that's wrong", "you are wrong", "i don't think so",
    "you made a mistake", "that's not what i asked", "try harder", "come on",
]
GROUPS = [TEXTS, NUMBERS, WORLD]

# The keys name the answers of gen_other.py.
CHAT = {
    "HELLO": ["hello hello", "hi hi", "hello [dear|sir|my friend|assistant|buddy|computer|robot|mate]", "hey [hey|buddy|mate|assistant|computer]",
        "good [morning|afternoon|evening] [ember|everyone|to you|sir|friend]", "morning", "evening", "g'day", "hiii", "hellooo", "heyy", "helo", "hullo", "hi there", "bonjour", "ciao ember", "oi",
        "welcome back", "i'm back", "i'm here", "here i am", "anyone home", "can you hear me", "are you awake", "wake up", "let's start", "ready to start", "nice to meet you", "pleased to meet you",
        "long time no see", "[hi|hello|hey], {n} here", "this is {n}", "my name is {n}", "i'm {n}, hi", "greetings from {n}"],
    "THANKS": ["thank u", "thanku", "thnx", "tnx", "thks", "tysm", "thank you [ember|my friend|for that|for everything|for helping|for your time|sir]",
        "thanks [ember|buddy|for that|for everything|for the quick answer|man]", "[awesome|amazing|brilliant|excellent|fantastic|lovely|superb|sweet]",
        "[awesome|amazing|brilliant|excellent|fantastic|lovely|superb|sweet], thank you", "that helped[| a lot| me]", "that's right", "that's correct", "correct", "exactly what i needed",
        "you saved me", "you're [great|awesome|a lifesaver|a star|amazing|so kind|a genius]", "good bot", "nice work", "great answer", "you did well", "bravo", "i owe you one", "much obliged",
        "big thanks", "thanks a million", "a thousand thanks", "[ok|okay|great|perfect], thank you very much", "i'm grateful", "merci", "gracias", "danke"],
    "WHO": ["who r u", "what r u", "wat are you", "who is this", "who's this", "who is there", "tell me who you are", "what is ember exactly", "are you ember", "is your name ember",
        "are you [gpt|claude|siri|alexa|gemini|a program|a tool|software|a calculator|an assistant]", "are you an [ai|llm|assistant|app]", "is this [a bot|an ai|chatgpt|a human|a real person]",
        "am i talking to [a bot|a human|a machine|a robot|an ai]", "what can u do", "what do you do", "what else can you do", "what all can you do", "what are you made for",
        "what's your [purpose|job|function|use|role]", "what can i use you for", "what are you useful for", "what are your [functions|features|tools|limits|capabilities]",
        "what tools [do you have|can you use|are there]", "which tools do you [have|know|use]", "how can you help me", "how can you help", "can you help me", "i need help", "help me", "help please",
        "show me your [tools|skills|features]", "give me a list of what you can do", "what should i ask you", "what kind of questions can i ask", "how big are you", "how small are you",
        "where do you [live|run|come from]", "who is your [creator|maker|developer|owner]", "who [programmed|developed|wrote|designed] you", "what does firebox do", "what is your version",
        "how do i use you", "how do i use this", "what is this thing", "instructions please", "menu", "options", "/help", "about"],
    "BYE": ["bye [ember|everyone|for now|then|bye bye|my friend]", "goodbye [ember|then|my friend]", "good bye", "byebye", "ok bye", "thanks, bye", "gotta go", "i gotta go", "i have to leave",
        "i'm off", "i'm leaving now", "i'm done for today", "see you [next time|around|on monday|again|in a bit]", "later", "laters", "catch you later", "until next time", "until tomorrow",
        "so long", "have a good [one|time|trip|sleep]", "sleep well", "nighty night", "good night ember", "ciao", "adios", "au revoir", "that's it for today", "that's everything", "we are done",
        "i'm finished", "end", "close", "logout", "peace out", "stay safe"],
    "FINE": ["how r u", "how are u", "how are you [ember|my friend|this morning|feeling|these days|right now]", "how are you doing today", "how do you do", "how you doing", "how's life",
        "how's your day", "how is your day going", "how's everything", "how goes it", "how's it hanging", "what's new", "what's going on", "what are you doing", "what's happening", "wassup",
        "wazzup", "are you [fine|good|alright|still there|doing well|in a good mood|feeling ok]", "you ok", "u ok", "all good", "all well", "everything alright", "did you sleep well",
        "having a good day", "hope you are well", "i hope you're fine", "how was your weekend", "how was your night", "feeling good today"],
}
