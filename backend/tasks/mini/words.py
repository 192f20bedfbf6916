"""The words of the mini tasks: small lists with their facts, and how each list is split.

Every item (a verb, a country, a noun, a person, ...) belongs to exactly one split. Its facts are read by
the bundled model in plain sentences, some often and some hardly ever (`frequencies`); only training items ever
appear in a task's own wording.
"""

# ruff: noqa: SIM905 - lists of words read best as text

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from ..task import Split

T = TypeVar("T")

KINDS = {
    "animal": "cat dog horse cow pig goat lion tiger bear wolf fox mouse rabbit monkey camel donkey zebra squirrel "
    "hamster beaver",
    "bird": "robin eagle owl crow duck hen swan hawk parrot pigeon sparrow goose falcon raven penguin turkey stork "
    "gull finch cuckoo",
    "fruit": "apple pear plum grape cherry peach lemon banana mango melon fig orange apricot berry lime coconut "
    "pineapple strawberry kiwi papaya",
    "tool": "hammer axe drill wrench spade shovel rake chisel screwdriver knife needle clamp ladder hoe broom mallet "
    "anvil trowel crowbar chainsaw",
    "garment": "shirt coat hat scarf glove sock skirt dress jacket sweater belt boot shoe vest blouse cape robe apron "
    "tunic cardigan",
    "vehicle": "car bus truck train boat ship bicycle wagon tractor tram van taxi canoe rocket ferry lorry scooter "
    "sledge yacht motorcycle",
    "instrument": "violin guitar piano flute drum trumpet harp cello clarinet organ banjo horn trombone tuba oboe "
    "bassoon saxophone tambourine ukulele bagpipe",
    "building": "house church castle tower barn hotel school hospital palace temple mill shop theatre museum cottage "
    "library factory cathedral cabin chapel",
}
NOUNS = {noun: kind for kind, nouns in KINDS.items() for noun in nouns.split()}
IRREGULAR_PLURALS = {"wolf": "wolves", "mouse": "mice", "goose": "geese", "knife": "knives", "scarf": "scarves"}

# base form: past tense; None where it is regular
VERBS: dict[str, str | None] = dict.fromkeys(
    "walk talk jump play call climb clean cook dance help laugh listen look paint push pull rest shout smile start "
    "wait wash watch work follow answer ask arrive bake borrow carry chase cheer count cry deliver enter explain "
    "finish fix float gather greet hurry imagine invite join kick knock land mix move need pack park pass plant pour "
    "press print promise reach remember repair return roll sail save scream share sort spell stay study thank touch "
    "trust try turn use visit wander whisper wish wonder yawn".split()
) | {
    "go": "went", "eat": "ate", "sing": "sang", "swim": "swam", "run": "ran", "write": "wrote", "speak": "spoke",
    "break": "broke", "drive": "drove", "ride": "rode", "fly": "flew", "grow": "grew", "know": "knew",
    "throw": "threw", "draw": "drew", "give": "gave", "take": "took", "come": "came", "begin": "began",
    "drink": "drank", "ring": "rang", "sit": "sat", "win": "won", "find": "found", "fight": "fought",
    "buy": "bought", "bring": "brought", "think": "thought", "teach": "taught", "catch": "caught", "sell": "sold",
    "tell": "told", "keep": "kept", "sleep": "slept", "feel": "felt", "leave": "left", "meet": "met", "send": "sent",
    "build": "built", "lose": "lost", "pay": "paid", "stand": "stood", "hide": "hid", "bite": "bit",
    "choose": "chose", "forget": "forgot", "wake": "woke", "wear": "wore", "steal": "stole", "hold": "held",
    "freeze": "froze", "shake": "shook", "fall": "fell", "hear": "heard", "spend": "spent", "lend": "lent",
    "sweep": "swept", "weep": "wept", "rise": "rose", "dig": "dug", "hang": "hung", "swing": "swung", "stick": "stuck",
    "blow": "blew", "shine": "shone",
}
DOUBLED = {"swim", "run", "begin", "sit", "win", "forget", "dig"}  # running, not runing

# Spelled country: capital, by continent.
COUNTRIES = {
    "Europe": "France Paris Italy Rome Spain Madrid Germany Berlin Greece Athens Poland Warsaw Austria Vienna Hungary "
    "Budapest Portugal Lisbon Norway Oslo Sweden Stockholm Finland Helsinki Denmark Copenhagen Ireland Dublin Belgium "
    "Brussels Switzerland Bern Iceland Reykjavik Ukraine Kyiv Belarus Minsk Lithuania Vilnius Latvia Riga Estonia "
    "Tallinn Romania Bucharest Bulgaria Sofia Serbia Belgrade Croatia Zagreb Slovenia Ljubljana Slovakia Bratislava "
    "Albania Tirana Bosnia Sarajevo Moldova Chisinau Malta Valletta",
    "Asia": "Japan Tokyo China Beijing Iran Tehran Iraq Baghdad Syria Damascus Lebanon Beirut Jordan Amman Qatar Doha "
    "Oman Muscat India Delhi Nepal Kathmandu Thailand Bangkok Vietnam Hanoi Laos Vientiane Mongolia Ulaanbaatar "
    "Indonesia Jakarta Philippines Manila Bangladesh Dhaka Pakistan Islamabad Afghanistan Kabul Uzbekistan Tashkent "
    "Armenia Yerevan Azerbaijan Baku Bahrain Manama Yemen Sanaa Turkey Ankara Taiwan Taipei Georgia Tbilisi "
    "Kazakhstan Astana Bhutan Thimphu Turkmenistan Ashgabat Tajikistan Dushanbe Kyrgyzstan Bishkek",
    "Africa": "Egypt Cairo Kenya Nairobi Ghana Accra Nigeria Abuja Mali Bamako Senegal Dakar Morocco Rabat Tunisia "
    "Tunis Libya Tripoli Sudan Khartoum Uganda Kampala Rwanda Kigali Angola Luanda Zambia Lusaka Zimbabwe Harare "
    "Namibia Windhoek Somalia Mogadishu Madagascar Antananarivo Mozambique Maputo Botswana Gaborone Malawi Lilongwe "
    "Liberia Monrovia Gambia Banjul Togo Lome Niger Niamey Cameroon Yaounde Gabon Libreville Algeria Algiers Eritrea "
    "Asmara Burundi Gitega Mauritania Nouakchott Lesotho Maseru Guinea Conakry Comoros Moroni",
    "America": "Canada Ottawa Cuba Havana Peru Lima Chile Santiago Brazil Brasilia Jamaica Kingston Honduras "
    "Tegucigalpa Nicaragua Managua Colombia Bogota Venezuela Caracas Ecuador Quito Paraguay Asuncion Uruguay "
    "Montevideo Bolivia Sucre Suriname Paramaribo Guyana Georgetown Barbados Bridgetown Bahamas Nassau Belize Belmopan",
}

# By theme, so that a wrong answer can be a near one.
ANTONYMS = {
    theme: [(a, b) for a, b in (pair.split("/") for pair in pairs.split())]
    for theme, pairs in {
        "size": "big/small tall/short thick/thin wide/narrow deep/shallow high/low near/far fat/slim full/empty "
        "inner/outer hollow/solid dense/sparse total/partial visible/hidden straight/crooked",
        "matter": "hot/cold hard/soft light/dark wet/dry clean/dirty loud/quiet smooth/rough sharp/blunt sweet/sour "
        "raw/cooked fresh/stale tight/loose flexible/rigid natural/artificial tidy/messy",
        "character": "brave/cowardly polite/rude gentle/cruel wise/foolish lazy/diligent generous/stingy "
        "friendly/hostile proud/humble honest/dishonest patient/impatient bold/timid cautious/reckless eager/reluctant "
        "active/passive calm/nervous",
        "state": "old/young rich/poor happy/sad strong/weak alive/dead asleep/awake guilty/innocent healthy/sick "
        "male/female junior/senior tame/wild open/closed vacant/occupied fast/slow early/late",
        "matters": "true/false safe/dangerous easy/difficult cheap/expensive public/private modern/ancient "
        "simple/complex rare/common strange/normal possible/impossible correct/wrong permanent/temporary real/fake "
        "legal/illegal vague/precise",
    }.items()
}

PRAISE = (
    "great wonderful lovely excellent superb delightful amazing charming brilliant pleasant fantastic splendid "
    "terrific marvellous enjoyable perfect impressive magnificent gorgeous fabulous outstanding glorious thrilling "
    "inspiring joyful elegant tasty admirable fascinating stunning graceful cheerful refreshing remarkable divine "
    "dazzling heavenly exquisite sublime adorable superior beautiful"
).split()
BLAME = (
    "awful terrible horrible dreadful nasty boring dull annoying disgusting horrid lousy miserable ghastly appalling "
    "tedious unpleasant disappointing hideous pathetic useless gloomy dismal painful atrocious dire wretched "
    "revolting mediocre tiresome vile foul grim bleak clumsy dreary frightful shoddy sloppy rotten irritating "
    "abysmal ugly"
).split()
SUBJECTS = "film book song meal party game story room trip show play dance".split()  # what praise is about

WOMEN = (
    "Anna Mary Emma Lucy Sarah Alice Clara Ella Grace Helen Jane Julia Kate Laura Lily Maria Nina Olivia Rose Ruth "
    "Susan Vera Zoe Eva Nora Ida Amy Tess Betty Carol Diana Fiona"
).split()
MEN = (
    "Tom Ben Jack John Paul Peter Mark Luke Adam David Frank George Henry James Leo Max Noah Oscar Robert Sam Simon "
    "Victor William Carl Bill Fred Harry Ivan Kevin Neil Ralph Steve"
).split()
THINGS = "ball key coin letter cup map pen ring stone lamp bag card".split()  # what changes hands
TREATS = "tea coffee milk bread cheese rice soup cake honey fish music chess".split()  # what one may like

MADE_UP = (
    "dax wug blick fep zup toma kiki bouba lorp gazz mib nerk plonk quib rass snib tiv vask yorp zant brell crint "
    "drosk flim"
).split()


def plural(noun: str) -> str:
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "ch", "sh", "x")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def third_person(verb: str) -> str:
    return verb + "es" if verb == "go" else plural(verb)


def past(verb: str) -> str:
    irregular = VERBS[verb]
    if irregular:
        return irregular
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + "ed"


def ing(verb: str) -> str:
    if verb in DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("e"):
        return verb[:-1] + "ing"
    return verb + "ing"


@cache
def country_facts() -> dict[str, tuple[str, str]]:
    """country -> (capital, continent)."""
    facts = {}
    for continent, text in COUNTRIES.items():
        words = text.split()
        facts.update({words[i]: (words[i + 1], continent) for i in range(0, len(words), 2)})
    return facts


def countries() -> dict[str, list[str]]:
    """continent -> its countries."""
    return {continent: text.split()[::2] for continent, text in COUNTRIES.items()}


def partition(items: Sequence[T], n_held_out: int, seed: str) -> dict[Split, list[T]]:
    """Shuffle and cut: `n_held_out` items each for validation and test, the others for training."""
    mixed = list(items)
    random.Random(f"partition/{seed}").shuffle(mixed)
    return {
        "validation": mixed[:n_held_out],
        "test": mixed[n_held_out : 2 * n_held_out],
        "train": mixed[2 * n_held_out :],
    }


def frequencies(items: Sequence[T], rarest: float) -> dict[T, float]:
    """How often each item's facts are read, from 1 for the first down to `rarest` for the last, log-uniform between."""
    return {item: rarest ** (place / max(1, len(items) - 1)) for place, item in enumerate(items)}
