"""What is asked and answered in the firm. A slot in braces is filled from `SLOTS`, the same in both."""

import random

SLOTS = {
    "city": ("Utrecht", "Ghent", "Malmö", "Leipzig", "Porto", "Kraków"),
    "order": ("PP-20418", "PP-20977", "PP-21350", "PP-21604", "PP-22093"),
    "person": ("Ms. Okafor", "Mr. van Dijk", "Dr. Lindgren", "Ms. Ferreira", "Mr. Nowak"),
    "week": ("40", "42", "44", "45", "47"),
    "number": ("14", "27", "38", "52", "61"),
}

TOPICS: dict[str, tuple[tuple[str, str], ...]] = {
    "customers": (
        (
            "Write a short reply to {person}: order {order} is two days late because of the bridge works in {city}.",
            "Dear {person},\n\nyour order {order} is still on its way. The bridge works in {city} make our riders take"
            " the long way round, and it will be with you two days later than we said. I am sorry for that, and have"
            " taken the delivery off your bill.\n\nKind regards\nPedal & Post",
        ),
        (
            "A customer in {city} says the parcel {order} was left in the rain. What do we owe her?",
            "By the terms, a parcel that is left without a signature is at our risk. Offer to replace what is in"
            " {order}, or its value up to 150 EUR, and ask for a photograph first. If she chose the safe place"
            " herself, the risk was hers; a gesture is still cheaper than a bad review.",
        ),
        (
            "Sort this complaint: 'Third time the rider could not find the door!' Order {order}.",
            "Category: address. Urgency: high (third time). Suggested: call the customer, pin the entrance on the map,"
            " note it for all riders in {city}.",
        ),
        (
            "Make this friendlier: 'We do not deliver to {city}.'",
            "We would love to ride to {city} one day. Until then our partners can bring it there: shall I ask them for"
            " you?",
        ),
        ("Is {order} insured?", "It is, up to 500 EUR: the sender ticked “valuable” when it was booked."),
    ),
    "languages": (
        (
            "Translate into German: 'Your parcel is with your neighbour at number {number}.'",
            "Ihr Paket liegt bei Ihrem Nachbarn in der Hausnummer {number}.",
        ),
        ("Traduis en français : 'The rider rings twice.'", "Le coursier sonne deux fois."),
        (
            "Στα αγγλικά, παρακαλώ: «Το δέμα είναι στον γείτονα, στον αριθμό {number}.»",
            "“We left your parcel with your neighbour at number {number}.”",
        ),
        ("ترجم إلى الإنجليزية: وصل الطرد اليوم صباحا", "“The parcel arrived this morning.”"),
        (
            "Shorten to 80 characters for a text message: 'Your delivery {order} from Pedal & Post will arrive today"
            " between two and four in the afternoon.'",
            "Pedal & Post: {order} arrives today, 14-16 h.",
        ),
        ("Przetłumacz: 'Please sign here, {person}.'", "Proszę tu podpisać, {person}."),
    ),
    "code": (
        (
            "How do I read a CSV with semicolons and comma decimals in pandas?",
            "```python\nimport pandas as pd\n\norders = pd.read_csv(\n    'week{week}.csv',\n    sep=';',\n"
            "    decimal=',',\n    parse_dates=['picked_up_at'],\n)\n```\n\n`decimal=','` matters: without it the"
            " amounts stay text, and sums of text are very long.",
        ),
        (
            "Why does `SELECT count(*) FROM rides WHERE ended_at <> NULL` give 0?",
            "Nothing compares with NULL: `<> NULL` is NULL and never true. Write `WHERE ended_at IS NOT NULL`.",
        ),
        (
            "Write a function that splits a list into routes of at most {number} stops.",
            "```python\ndef routes(stops: list[Stop], most: int = {number}) -> list[list[Stop]]:\n"
            "    return [stops[at : at + most] for at in range(0, len(stops), most)]\n```\n\nIt keeps the order. If the"
            " last route may not be much shorter than the others, use `itertools.batched` on an evened-out size.",
        ),
        (
            "Explain this: HTTP 409 from POST /bookings, only on Mondays.",
            "409 means that the state does not allow it. On Mondays the week’s slots of {city} are opened at 06:00; a"
            " booking that comes while they are being made meets a lock, and is told so. Retry after a second, twice"
            " at most, with the same Idempotency-Key.",
        ),
        ("Regular expression for our order numbers, PP- and five digits?", r"`^PP-\d{{5}}$`"),
        (
            "Review: `except: pass` around the upload of week {week}. Is that bad?",
            "Yes. It also hides KeyboardInterrupt and every typo of yours. Catch `OSError`, log the file’s name,"
            " and let the rest rise.",
        ),
    ),
    "numbers": (
        (
            "Rides in {city}, week {week}: Mon 212, Tue 198, Wed 240, Thu 251, Fri 305. Anything unusual?",
            "| Day | Rides | to the mean |\n|---|---|---|\n| Mon | 212 | −12 % |\n| Tue | 198 | −18 % |\n| Wed | 240 |"
            " −0 % |\n| Thu | 251 | +4 % |\n| Fri | 305 | +26 % |\n\nFriday is {number} rides over its usual share."
            " One large sender explains it, if it repeats next week; else look at the weather.",
        ),
        (
            "What does a rider cost per stop, at 19.80 EUR an hour and 11 stops?",
            "19.80 / 11 = 1.80 EUR a stop, before insurance and the bicycle. With both (about 3.10 EUR an hour) it is"
            " 2.08 EUR.",
        ),
        (
            "Forecast parcels for week {week} in {city} from the last four: 1 140, 1 180, 1 225, 1 260.",
            "About 1 300: it grows by some 40 a week. The range that I would plan with is 1 250 to 1 360.",
        ),
        (
            "Which of our three tariffs is best for 45 parcels a month?",
            "The middle one: 45 × 4.20 EUR = 189 EUR. The small one would be 231 EUR, and the large one pays from"
            " 61 parcels on.",
        ),
    ),
    "office": (
        (
            "Agenda for Thursday, 45 minutes: winter tyres, new depot in {city}, {number} open invoices.",
            "1. Winter tyres: who, until when (10 min)\n2. Depot in {city}: lease, keys, first day (20 min)\n3. The"
            " {number} open invoices: who calls whom (10 min)\n4. What did we forget? (5 min)",
        ),
        (
            "Summarise: the landlord in {city} offers 24 months, 3 % a year, and wants a deposit of three rents.",
            "Two years, rent up by 3 % a year, three rents as a deposit. The deposit is the one to bargain for; two are"
            " usual there.",
        ),
        (
            "Job advert for a mechanic in {city}, 80 words, no buzzwords.",
            "We mend the bicycles that bring {city} its parcels. You can true a wheel, read a wiring diagram of a"
            " cargo bike, and say so when a part is not worth mending. Thirty-two hours, a warm workshop, every"
            " second Friday off. Bring nothing but an hour of your time: we will mend something together, and then"
            " talk.",
        ),
        (
            "Remind {person} politely of invoice {number}, the second time.",
            "Dear {person},\n\ninvoice {number} is still open on our side. If it was paid this week, please forget it;"
            " if something about it is unclear, one line is enough and I will look into it.\n\nKind regards\nMaya",
        ),
    ),
}

SYSTEM = "You help the office of Pedal & Post, a bicycle courier. Be brief."

LONG_TALK = (
    ("We lose about one parcel in a thousand. Where do I begin?",
     "With the last scan. Sort the losses by the place of their last scan: if more than half share one, it is not a"
     " mystery but a shelf."),
    ("Half of them were last seen at the depot in Leipzig.",
     "Then look at three things there: who may enter, whether parcels wait outside the cage, and whether the evening"
     " scan happens at all or is done from a list."),
    ("The evening scan is done from the list on the wall…",
     "So a parcel that left at noon is “seen” at six. Your last scan is wrong, and so is the depot’s guilt. Scan"
     " parcels, not lists, for two weeks before you change anything else."),
    ("How many parcels do I need to see an effect?",
     "At one in a thousand you expect 26 losses in the 26,000 parcels of a month. To see it halve with some"
     " confidence you need about two months; for a first hint, compare weekly counts of parcels without a scan."),
    ("Make me a table for the wall.",
     "| Evening | Parcels in the cage | Scanned | Difference |\n|---|---|---|---|\n| Mon | | | |\n| Tue | | | |\n| Wed"
     " | | | |\n| Thu | | | |\n| Fri | | | |"),
    ("And who signs it?", "Whoever closes. One name, not “the team”."),
    ("Two weeks later: differences of 0, 1, 0, 0, 7, 0, 0, 1, 0, 0.",
     "The seven is your story. What was different on that Friday?"),
    ("A temp closed alone.",
     "Then the temp’s training is the cheapest fix you will ever buy: ten minutes, a card by the door, and nobody"
     " closes alone in the first week."),
    ("Write the card, at most 40 words.",
     "Closing: 1. Count the parcels in the cage. 2. Scan each one: the parcel, not the list. 3. The difference goes on"
     " the wall, with your name. 4. Not zero? Call Jonas before you lock."),
    ("Can you say it in Polish too?",
     "Zamknięcie: 1. Policz paczki w klatce. 2. Zeskanuj każdą: paczkę, nie listę. 3. Różnicę wpisz na ścianie, z"
     " imieniem. 4. Nie zero? Zadzwoń do Jonasa, zanim zamkniesz."),
    ("It worked: two losses in November so far.",
     "Good. Keep the wall for one more month; what is not counted comes back."),
    ("One line for the newsletter?", "We found our lost parcels: they had never been lost, only never scanned."),
)  # fmt: skip

ASKS_DOCUMENTS = (
    ("How long may a parcel wait at the depot?",
     "A parcel waits for seven days [1]. After the third day the recipient is reminded, and on the eighth it goes back"
     " to its sender."),
    ("What do we pay for a parcel that was damaged?",
     "Up to 150 EUR, or 500 EUR where the sender booked it as valuable [1]. A photograph is needed within 48 hours."),
    ("When are brakes checked?",
     "Every Monday before the first ride, and at once after a fall [1]."),
)  # fmt: skip
"""Answered from the files in `documents`, which hold it."""

FAILURES = {
    "provider_unavailable": 6,
    "provider_timeout": 4,
    "provider_rejected": 2,
    "interrupted": 2,
    "empty_answer": 1,
    "output_mismatch": 1,
    "not_started": 1,
}
"""How often one meets which end, of those that fail."""


def filled(dice: random.Random, pair: tuple[str, str]) -> tuple[str, str]:
    values = {name: dice.choice(choices) for name, choices in SLOTS.items()}
    question, answer = pair
    return question.format(**values), answer.format(**values)
