"""Words and phrases that the rules of ``write_numbers`` know."""

from __future__ import annotations

__all__ = [
    "ACRONYMS",
    "CURRENCIES",
    "DAYS",
    "DENOMINATORS",
    "DETERMINERS",
    "DIGITS",
    "FILLERS",
    "HOURS_AFTER",
    "LABELS",
    "LABELS_OF_MANY",
    "MONARCHS",
    "MONTHS",
    "NOT_NAMES",
    "ORDINALS",
    "PHRASES",
    "PROFANITY",
    "SCALES",
    "SMALL",
    "SPELLING",
    "TENS",
    "TIME_BEFORE",
    "TITLES",
    "UNTOUCHED",
    "YEAR_BEFORE",
]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SPELLED = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
SMALL = {word: value for value, word in enumerate(_SPELLED.split())}
DIGITS = {word: str(value) for word, value in SMALL.items() if value < 10}
DIGITS |= {"oh": "0", "o": "0", "nought": "0"}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
TENS = {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_ORDINALS = """
zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth
"""
ORDINALS = {word: value for value, word in enumerate(_ORDINALS.split())}
ORDINALS |= {f"{word[:-1]}ieth": value for word, value in TENS.items()}
ORDINALS |= {f"{word}th": value for word, value in SCALES.items()} | {"hundredth": 100}
# No "second": it is a time. "quarter" is half of the time a quarter of a year: see the rule.
DENOMINATORS = {"half": 2, "quarter": 4}
DENOMINATORS |= {word: value for word, value in ORDINALS.items() if 2 < value <= 1000}
DENOMINATORS |= {f"{word}s": value for word, value in DENOMINATORS.items() if value > 2}

_MONTHS = """
january february march april may june july august september october november december
"""
MONTHS = {word: word.capitalize() for word in _MONTHS.split()}
DAYS = _set("monday tuesday wednesday thursday friday saturday sunday")

CURRENCIES = {"dollar": "$", "euro": "€", "pound": "£", "yen": "¥", "rupee": "₹"}
CURRENCIES |= {f"{word}s": sign for word, sign in CURRENCIES.items() if word != "yen"}

# Before a number it is a time of the day, or a year.
TIME_BEFORE = DAYS | _set(
    "at by until till before after around about past since tomorrow tonight today noon"
)
YEAR_BEFORE = _set("in since until year during late early mid spring summer autumn fall winter")
# Behind a time that nothing else shows to be one: "the twelve thirty train".
HOURS_AFTER = _set("tomorrow tonight today sharp train bus flight ferry show news meeting")

# In front of a number that is written in figures, however small.
LABELS = _set("""
chapter page flight gate route highway channel volume section paragraph platform version episode
apartment suite extension interstate psalm verse exit appendix article port
""")
# The same, but only of numbers that are no small single word: "the room two doors down".
LABELS_OF_MANY = LABELS | _set("room number bus train line floor code unit carriage locker")

MONARCHS = _set("""
louis henry charles edward george william james richard philip frederick ferdinand gregory innocent
boniface clement leo pius paul urban benedict alexander napoleon ptolemy robert gustavus otto
leopold catherine peter nicholas christian sixtus john malcolm david rameses
""")

TITLES = {
    "mister": "Mr.",
    "mr": "Mr.",
    "missus": "Mrs.",
    "mrs": "Mrs.",
    "doctor": "Dr.",
    "dr": "Dr.",
    "saint": "St.",
}
# In front of "doctor" they say that no name follows.
DETERMINERS = _set("""
a an the this that these those my your his her its our their no any some every each which what whose
another one good old young dear family
""")
# What follows "the doctor" in novels, and is written small most of the time.
NOT_NAMES = _set("""
a about absently according actually added addressing admitted advised after again agreed all allowed
almost alone also although always am an and another answered anxiously any anywhere appeared
appearing approached approaching are arrived arriving as aside asked asks assented assured at away
back be became because been before began behaved being believe bending bent blushing bowed bowing
briskly broke brought burst but by call called calls came can can't carelessly carried caught
certainly changed cheerfully chose come comes coming concluded considered consulting continued
coolly could couldn't cried curtly dear declared departed did didn't died do does doesn't don't down
drawing dressed dropped drove emphatically enough entered entreated especially even every evidently
examine examined exclaimed explained felt finding first flung followed following for forbade found
from frowned gave gazed gently getting give giving glanced gloomily going good got gravely greatly
grimly gruffly had hadn't hailed hardly has hastily have having he he'd he'll heard held hello her
here here's hi him himself his hobbled hoping how however hung hurried i i'll i'm i've if
immediately impatiently in indeed insisted instead interfered interrupted into is it it's just
keeping kept kindly knew know knows last laughed laughing laying leads leaned leaning left let
letting like listened lived look looked looking lowered made may me met might mildly mine moved
moving much murmured must muttered my myself mysteriously named near need needs never next no nodded
nor not noticed now observed of okay on one only opened or ordered orders ought our over passed
paused peevishly perched perhaps permitted placed please pointed pointing poured pressed proceeded
promised pronounced pulled pursued put questioned quickly quietly quite raised ran rang rather
reached reading really received recognized refused regarded related remained remarked reminded
repeated replied represented resolved retired returned returning rising rode rousing sadly said
sardonically sat saw say says seated see seeing seemed sees sent sententiously set shaking shall she
she'd shook should showing shrugged shuddered sighed since sir sitting slipped slowly smiled smiling
smoking snatched so solemnly some something somewhat soon sorry speaking spent spoke sprang stalked
stamped stamping standing stared staring started stayed steadily stepped still stood stooped stopped
such suddenly suffered suggested suspected swallowed take taking talked tell tells tenderly than
thanks that that's the their them then there there's therefore they think thinks this though thought
threw through till to told too took tried turned turning until up us used uttered very waited
waiting walked walking want wanted wants warned was watched watching waving we well went were what
what's when where whether which while whilst who who's whom whose will with withdrew within without
won't worked would wouldn't yes yesterday yet you you'll you're you've your
""")

# Letters that are an acronym though they begin or end with a word, "a" or "i".
ACRONYMS = _set("""
abc abs ac aaa ad adhd ai aids aka am aol ap apa api apr asap atm
ibm icbm icu id ieee imf ios ioc ip ipo iq ira irs isbn iso isp it ita
oecd ok opec
cia qa fbi mri usa nba wnba fda nsa dna rna mrna epa mba nasa faa fha tsa cpa gpa hipaa ria ussr ama
ncaa pga lga dea dia eta fifa gaa hiv vip roi ui gui cli hdmi wifi phi bia poa dba sba rca bbva
""")
SPELLING = {"spelled", "spelt", "letters", "spell"}

# Said and written in a form of their own.
PHRASES = {
    "world war one": "World War I",
    "world war two": "World War II",
    "c o two": "CO2",
    "h two o": "H2O",
    "m p three": "MP3",
    "p h d": "PhD",
    "twenty four seven": "24/7",
    "twenty twenty vision": "20/20 vision",
}

# Idioms and what may mean several things.
UNTOUCHED = """
the eleventh hour
twelfth night
forty winks
a thousand and one nights
thousand and one nights
fifty fifty
nine eleven
number one
catch twenty two
""".strip().split("\n")

FILLERS = _set("uh um uhm er erm hm hmm mm")
"""What is said while one thinks; "mhm" and "oh" say something."""

PROFANITY = _set("""
arsehole arseholes asshole assholes bastard bastards bitch bitches bullshit cocksucker cunt cunts
dickhead dickheads fuck fucked fucker fuckers fucking fucks goddamn motherfucker motherfuckers
motherfucking nigger niggers prick pricks shit shits shitty slut sluts twat wanker wankers whore
whores
""")
"""Words of which only the first letter is written where this is asked for."""
