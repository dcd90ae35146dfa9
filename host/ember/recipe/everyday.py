"""More everyday words: names, food, work, school and words that are tricky to copy or count."""

EVERYDAY = """
anna tom maria peter sarah emma oliver lucas sofia daniel laura james linda kevin julia marco nina felix clara hugo
parallel bookkeeper mississippi assessment successful address possession bubble balloon coffee toffee pepperoni cappuccino mozzarella
committee referee employee addressee banana bananas papaya tennis letters hammer summer dinner winner runner happiness loneliness
restaurant entrepreneur questionnaire conscience environment government separate definitely receive believe weird neighbor foreign
lieutenant colonel pharaoh liaison bureau silhouette chauffeur restaurant souvenir ballet bouquet croissant baguette omelette
kayak level racecar madam civic radar refer noon rotor stats deed peep pup wow mom dad eye
kitten puppy hamster parrot turtle lizard spider beetle ladybug dragonfly seahorse jellyfish octopus walrus raccoon chipmunk
wallet passport suitcase backpack jacket sweater trousers sneakers necklace bracelet earrings perfume lipstick shampoo toothbrush
invoice receipt payment discount coupon voucher refund warranty contract signature deadline schedule calendar appointment reminder
interview resume salary promotion manager colleague workshop seminar webinar conference newsletter campaign marketing strategy
podcast episode playlist concert festival parade picnic barbecue wedding anniversary graduation ceremony celebration
homework exam lesson quiz essay thesis lecture notebook pencil eraser ruler blackboard semester classroom library
oven toaster kettle freezer blender fridge sofa carpet curtain ceiling staircase balcony garage driveway fence lawn
bakery pharmacy supermarket butcher florist museum cinema stadium bowling playground cathedral monument fountain
yoga fitness marathon training workout protein calories healthy organic vegan gluten noodle dumpling pancake waffle muffin brownie
vacation beach surfing hiking camping skiing sailing fishing diving airport hotel hostel resort luggage
install upgrade restart backup restore settings update version release backup archive report photo screenshot invoice scan draft
easy cheap best free new top great fast little big sweet spicy crispy creamy fresh homemade classic modern vintage cozy rustic
sunset sunrise rainbow thunder lightning snowflake glacier volcano waterfall meadow canyon lagoon horizon wilderness
""".split()
