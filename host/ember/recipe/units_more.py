"""More prompts for `convert_units`: a fact first, the wish for another unit in a later clause.

`{u}` is the wanted unit; a fact names `{v} {f}`, the value and its unit.
"""

FACTS = {
    "length": ["the [shelf|table|sofa|fridge|door|desk|bed] is {v} {f} [wide|long|high|tall|deep]", "my [son|daughter|brother|girlfriend|dog|boss] is {v} {f} tall",
        "i [ran|walked|cycled|swam|hiked|drove|jumped] {v} {f}", "the [race|trail|road|bridge|tunnel|river|runway|pool|rope] is {v} {f} long",
        "the [hotel|shop|station|beach|airport|next town] is {v} {f} away", "the sign says {v} {f}", "the [map|gps|app|sign] shows {v} {f}", "i need a cable of {v} {f}",
        "the [screen|pipe|hole|hem|fabric|picture frame] measures {v} {f}"],
    "mass": ["[my suitcase|the parcel|my backpack|the baby|my dog|the fish|the truck] weighs {v} {f}", "i weigh {v} {f}", "i [lost|gained|lifted|bench] {v} {f}",
        "the [recipe|cake|dough] needs {v} {f} of [flour|sugar|butter|rice]", "the [baggage limit|maximum load|shipping limit] is {v} {f}", "the [scale|label|package] says {v} {f}",
        "[we bought|i ordered|she eats] {v} {f} of [apples|meat|cheese|gold|sand]", "the [pill|dose|ring|coin] is {v} {f}"],
    "volume": ["the recipe [says|needs|calls for|wants] {v} {f} of [milk|water|oil|broth|cream]", "the [tank|bucket|bottle|pool|pot|barrel|fridge] holds {v} {f}",
        "i [drank|poured|spilled|used|mixed] {v} {f}", "the [car|pump|shower|toilet] uses {v} {f}", "the bottle says {v} {f}", "add {v} {f} of [vanilla|syrup|bleach|medicine]",
        "we need {v} {f} of [paint|concrete|juice|gas]", "the [dose|serving] is {v} {f}"],
    "temperature": ["the [recipe|oven|box|package|cookbook] says {v} {f}", "it's {v} {f} [outside|here|in the room|at night]", "[my fever|the fever|his temperature|the temperature] is {v} {f}",
        "the [weather app|thermometer|forecast|display|sensor] [says|shows|reads] {v} {f}", "[bake|roast|keep|store|heat] it at {v} {f}", "the [water|soup|engine|freezer|cpu|pool] is at {v} {f}",
        "[ice|lead|wax|it] melts at {v} {f}"],
    "time": ["the [movie|flight|drive|concert|meeting|surgery|download] takes {v} {f}", "i [waited|slept|worked|trained|studied|played] {v} {f}",
        "the [contract|course|trip|warranty|project] [lasts|runs] {v} {f}", "my [timer|stopwatch|log] says {v} {f}", "the request took {v} {f}", "the [baby|cat|car] is {v} {f} old",
        "the [marathon|race] record is {v} {f}"],
    "speed": ["the [speed limit|limit|sign] is {v} {f}", "the [car|train|wind|plane|boat|ball|cheetah] [goes|does|moves at|travels at|reaches] {v} {f}",
        "i [drive|ran|cycle|was driving|was doing] {v} {f}", "the [storm|wind|gusts] [blows|comes] at {v} {f}", "the [speedometer|radar|gps] shows {v} {f}", "cruising at {v} {f}"],
    "area": ["the [flat|apartment|house|office|plot|land|garden] [is|has] {v} {f}", "the [farm|park|forest|lake|fire|island] covers {v} {f}", "we [bought|own|rent|mow|planted] {v} {f}",
        "the [ad|listing|contract] says {v} {f}", "the floor is {v} {f}"],
    "data": ["the [file|video|game|update|download|backup|photo] is {v} {f}", "my [plan|phone|disk|laptop|usb stick|inbox] has {v} {f}", "i [downloaded|used|uploaded|deleted|need] {v} {f}",
        "there are {v} {f} [free|left|in use]", "the [limit|quota|attachment limit] is {v} {f}"],
    "energy": ["the [snack|burger|label|meal] has {v} {f}", "my [bike ride|workout|run] burned {v} {f}", "the [heater|battery|house|washer|fridge] uses {v} {f}",
        "the [bill|meter|display|app] [says|shows] {v} {f}", "the reaction releases {v} {f}"],
    "pressure": ["[my tire|the tire|the tank|the boiler|the pump|the ball] is at {v} {f}", "the [gauge|barometer|manual|sensor] [says|shows|reads] {v} {f}", "inflate it to {v} {f}",
        "the [air pressure|blood pressure|pressure] is {v} {f}"],
    "angle": ["the [angle|slope|corner|turn] is {v} {f}", "the [wheel|motor|servo|knob|robot arm] [turns|rotates|turned] {v} {f}", "the [formula|calculator|exercise|result] gives {v} {f}", "rotate it by {v} {f}"],
}
WISHES = ["how [many|much] {u} is that", "how [many|much] is [that|it] in {u}", "what's that in {u}", "what is [that|this|it] in {u}", "whats that in {u}", "in {u}", "in {u} please", "and in {u}",
    "but in {u}", "i need {u}", "i need [it|that] in {u}", "give me {u}", "give me that in {u}", "convert [it|that|this] to {u}", "convert to {u}", "[change|turn|put] [it|that] [in|]to {u}",
          "how many {u}", "how many {u} would that be", "what would that be in {u}", "that would be how many {u}", "[but i|i|we] only [know|understand|use|think in] {u}",
          "but my [scale|ruler|oven|app|tool|tape|form|dad|grandma] [only shows|wants|uses|only knows|shows] {u}", "but the form asks for {u}", "the form wants [it in |]{u}",
          "i want to know it in {u}", "[my friend|my doctor|the shop|the customer|the manual] [wants|uses|asks for] {u}", "express it in {u}", "translate that to {u}", "what does that make in {u}",
          "tell me in {u}",
          "how much {u} does that make", "how do i say that in {u}", "how many {u} are that", "equals how many {u}", "is how many {u}", "so how many {u}", "to {u} please", "need it in {u}",
          "for my [american|british|german|french] friend i need {u}", "what do i set [it|that] to in {u}", "please in {u}"]
FIRST = ["i need {u}", "i only [know|understand] {u}", "in {u}", "give me {u}", "[my oven|my scale|my ruler|the form|my app] [uses|shows|wants] {u}", "convert to {u}", "tell me in {u}",
    "answer in {u}", "i want {u}", "[please |]use {u}", "target unit: {u}", "unit: {u}", "output in {u}", "how many {u}", "how many {u} is this"]
PLAIN = [
    "{v} {f} to {u}", "{v} {f} {u}", "{v} {f} = {u}", "{v} {f} = ? {u}", "{v} {f} = how many {u}", "{v} {f} > {u}", "{v} {f} >> {u}", "{v} {f} -> {u}", "{v} {f} → {u}", "{v} {f} in {u}",
    "{v} {f} in {u} pls", "{v} {f} as {u}", "{v} {f}\nin {u}", "{v} {f}\nto {u}", "{u}: {v} {f}", "{u} from {v} {f}", "{u} = {v} {f}", "? {u} = {v} {f}", "convert: {v} {f}, {u}",
    "convert: {v} {f} to {u}", "conv {v} {f} to {u}", "convert {v} {f} {u}", "from {v} {f} to {u}", "from {f} into {u}, {v}", "from {f} to {u}: {v}", "value {v}, from {f}, to {u}",
    "amount: {v} {f}, target: {u}", "{v}, {f} to {u}", "{v} ({f} to {u})",
    "[do you know|can you tell me|i wonder|i was wondering|tell me|i want to know|any idea|my teacher asks] how many {u} [are in|there are in|are|make|make up] {v} {f}",
    "[do you know|can you tell me|i wonder|i want to know|my teacher asks] how much {v} {f} is in {u}", "[do you know|can you tell me|i wonder|tell me|any idea] what {v} {f} is in {u}",
    "u know {v} {f} in {u}", "can u [convert|change|put] {v} {f} [to|into|in] {u}", "can u tell me {v} {f} in {u}", "please to convert {v} {f} to {u}", "i want convert {v} {f} to {u}",
    "how much makes {v} {f} in {u}", "how much are {v} {f} in {u}", "how many {u} has {v} {f}", "how many {u} have {v} {f}", "how many {u} makes {v} {f}", "how much {u} makes {v} {f}",
    "how do you [convert|change|turn] {v} {f} [to|into] {u}", "what is {v} {f} if i want {u}", "what are {v} {f} in {u}",
    "[convert|change|translate] to {u}: {v} {f}", "[convert|change|translate] into {u}\n{v} {f}", "in {u}: {v} {f}", "in {u}\n{v} {f}", "[show|give|write|state] in {u}: {v} {f}",
    "{v} {f} [expressed|given|written|shown|stated|measured|counted] in {u}", "{v} {f} [corresponds|is equivalent|comes] to how many {u}", "{v} {f} [would be|will be|should be] how many {u}",
    "if i have {v} {f}, how many {u} [do i have|is that|are that]", "if it's {v} {f}, what is it in {u}", "say it's {v} {f}, how many {u}", "i have a value in {f}, namely {v}, and need {u}",
    "i have {v} in {f} and need it in {u}", "my value is {v} {f}, the unit should be {u}", "[switch|swap|change] the unit of {v} {f} to {u}",
    "i measured {v} in {f}, [what is that|how much is it] in {u}", "[round trip|packing list|travel plan|homework|lab report]: {v} {f} in {u}",
    "for my [homework|lab report|recipe|trip|order|physics class|online order] i need {v} {f} in {u}", "for {v} {f}, [give|tell] me the {u}", "the {u} for {v} {f}", "the {u} value of {v} {f}",
    "how would [an american|a european|a brit|a scientist] say {v} {f} in {u}", "{v} {f} is nothing to me, [say it|tell me] in {u}", "{v} {f} means nothing to me, what is it in {u}",
    "exactly how many {u} are {v} {f}", "roughly how many {u} are {v} {f}", "about how many {u} is {v} {f}", "{v} {f}? [i need|give me|tell me in|what's that in] {u}",
    "{v} {f}. [in {u}|{u} please|now in {u}|how many {u}|to {u}|what is it in {u}]", "{v} {f}, {u}?", "{v} {f}, in {u}", "{v} {f} please in {u}", "{v} {f} but i want {u}",
    "{v} {f} for someone who [uses|thinks in|only knows] {u}",
]
# The value is in words that are not a number of their own: a mile is 1 mile, half a mile is 0.5.
SINGLE = ["how many {u} are in {x}", "how many {u} in {x}", "how many {u} are there in {x}", "how many {u} make {x}", "how many {u} is {x}", "{x} in {u}", "{x} is how many {u}", "what is {x} in {u}",
    "how much is {x} in {u}", "convert {x} to {u}", "{x} has how many {u}", "how many {u} does {x} have", "how many {u} make up {x}", "how many {u} fit in {x}", "{x} to {u}", "tell me {x} in {u}",
    "how many {u} go into {x}"]
