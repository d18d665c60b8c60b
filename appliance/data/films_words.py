"""The vocabulary of the invented film reviews: what praises, what blames, and everything that takes no side.

Every word of praise or blame is one lower-case word and takes no part elsewhere in the grammar, so counting them is
an exact second opinion. Nothing is negated ("not bad" does not occur).
"""

PRAISE: dict[str, tuple[str, ...]] = {
    "adj": (
        *("superb", "wonderful", "moving", "clever", "funny", "charming", "brilliant", "elegant", "graceful", "warm"),
        *(
            "touching",
            "witty",
            "gripping",
            "beautiful",
            "fresh",
            "bold",
            "tender",
            "thrilling",
            "delightful",
            "perfect",
        ),
        *("excellent", "lovely", "inspired", "memorable", "rich", "lively", "splendid", "masterful", "subtle", "great"),
    ),
    "noun": ("triumph", "delight", "treat", "gem", "pleasure", "masterpiece", "wonder", "success", "marvel", "joy"),
    "does": ("shines", "sparkles", "delights", "soars", "glows", "convinces", "dazzles", "succeeds"),
    "past": ("loved", "enjoyed", "admired", "adored", "praised", "liked", "treasured", "savoured"),
    "state": ("happy", "delighted", "enchanted", "thrilled", "grateful", "cheerful", "amazed", "inspired"),
    "mass": ("warmth", "charm", "grace", "wit", "passion", "tenderness", "elegance", "brilliance"),
}
BLAME: dict[str, tuple[str, ...]] = {
    "adj": (
        *("dull", "terrible", "boring", "clumsy", "lazy", "tedious", "awful", "messy", "shallow", "bland"),
        *("lifeless", "silly", "predictable", "ugly", "stale", "weak", "wooden", "tiresome", "dreadful", "poor"),
        *("hollow", "painful", "pointless", "forgettable", "flat", "dreary", "horrible", "careless", "crude", "bad"),
    ),
    "noun": ("failure", "mess", "bore", "disaster", "waste", "chore", "disappointment", "flop", "mistake", "nuisance"),
    "does": ("drags", "fails", "stumbles", "sinks", "collapses", "annoys", "bores", "disappoints"),
    "past": ("hated", "disliked", "regretted", "resented", "endured", "loathed", "suffered", "despised"),
    "state": ("bored", "annoyed", "tired", "angry", "sad", "confused", "disappointed", "weary"),
    "mass": ("boredom", "clumsiness", "arrogance", "laziness", "vanity", "indifference", "carelessness", "nonsense"),
}

POSITIVE_WORDS: frozenset[str] = frozenset(word for words in PRAISE.values() for word in words)
"""Every word that praises."""
NEGATIVE_WORDS: frozenset[str] = frozenset(word for words in BLAME.values() for word in words)
"""Every word that blames."""

NEUTRAL: dict[str, tuple[str, ...]] = {
    "age": ("new", "latest", "first", "second", "third", "recent"),
    "genre": (
        *("film", "drama", "comedy", "thriller", "western", "musical", "romance", "mystery"),
        *("crime film", "war film", "horror film", "family film", "road movie", "adventure"),
    ),
    "person": (
        *("Anna Weber", "Jon Reed", "Maria Costa", "Paul Lind", "Clara Moss", "David Okoro", "Nina Berg", "Tom Hale"),
        *("Sofia Ruiz", "Karl Brandt", "Eva Novak", "Leo Marsh", "Ines Duarte", "Hugo Blanc", "Mira Patel", "Sam Ford"),
        *("Julia Stern", "Owen Pike", "Lena Fischer", "Max Holm", "Rosa Vidal", "Peter Lang", "Iris Kent", "Ben Adler"),
    ),
    "title": (
        *("Harbour Lights", "Winter Road", "Paper Boats", "Night Train", "Silent River", "Blue Door", "Second Street"),
        *("Summer Letters", "Iron Bridge", "Stone Garden", "Long Island", "Distant Bells", "Open Water", "Red Moon"),
        *("White Horses", "Salt Mountain", "Empty Rooms", "Morning Post", "Glass Tower", "Station Nine"),
    ),
    "place": (
        *("Lisbon", "Vienna", "Oslo", "Boston", "Dublin", "Naples"),
        *("Prague", "Cairo", "Lima", "Kyoto", "Berlin", "Montreal"),
    ),
    "subject": (
        *("two sisters", "a young pilot", "a missing letter", "an old sailor", "three brothers", "a small town"),
        *("a retired judge", "a night nurse", "a piano teacher", "a stolen painting", "a village school", "twin boys"),
        *(
            "a train driver",
            "a long journey",
            "a chess player",
            "an island doctor",
            "a baker and his son",
            "four friends",
        ),
    ),
    "companion": ("sister", "brother", "mother", "father", "daughter", "son", "neighbour", "cousin", "wife", "husband"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "group": ("fishermen", "students", "nurses", "musicians", "soldiers", "farmers", "dancers", "lawyers"),
    "part": ("judge", "pilot", "nurse", "teacher", "sailor", "doctor", "detective", "farmer", "driver", "painter"),
    "aspect": (
        *("acting", "plot", "music", "dialogue", "script", "ending", "opening", "camera work", "lighting", "editing"),
        *("story", "cast", "direction", "sound", "pace", "second half", "first act", "final scene", "humour", "set"),
    ),
    "degree": ("quite", "really", "truly", "often", "simply", "rather", "always", "almost"),
    "length": ("ninety minutes", "two hours", "three hours", "a hundred minutes"),
}
