"""The words of the mini tasks: small lists with their facts, and how each list is split.

Every item (a verb, a country, a noun, ...) belongs to exactly one split. Its facts may be read by
the bundled model in plain sentences; only training items ever appear in a task's own wording.
"""

# ruff: noqa: SIM905 - lists of words read best as text

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from backend.tasks.task import Split

T = TypeVar("T")

KINDS = {
    "animal": "cat dog horse cow pig goat lion tiger bear wolf fox mouse rabbit monkey camel",
    "bird": "robin eagle owl crow duck hen swan hawk parrot pigeon sparrow goose falcon raven penguin",
    "fruit": "apple pear plum grape cherry peach lemon banana mango melon fig orange apricot berry lime",
    "tool": "hammer axe drill wrench spade shovel rake chisel screwdriver knife needle clamp ladder hoe broom",
    "garment": "shirt coat hat scarf glove sock skirt dress jacket sweater belt boot shoe vest blouse",
    "vehicle": "car bus truck train boat ship bicycle wagon tractor tram van taxi canoe rocket ferry",
    "instrument": "violin guitar piano flute drum trumpet harp cello clarinet organ banjo horn trombone tuba oboe",
    "building": "house church castle tower barn hotel school hospital palace temple mill shop theatre museum cottage",
}
NOUNS = {noun: kind for kind, nouns in KINDS.items() for noun in nouns.split()}
IRREGULAR_PLURALS = {"wolf": "wolves", "mouse": "mice", "goose": "geese", "knife": "knives", "scarf": "scarves"}

# base form: past tense; None where it is regular
VERBS: dict[str, str | None] = dict.fromkeys(
    "walk talk jump play call climb clean cook dance help laugh listen look paint push pull rest shout smile start "
    "wait wash watch work follow answer ask arrive bake borrow carry chase cheer count cry deliver enter explain "
    "finish fix float gather greet hurry imagine invite join kick knock land".split()
) | {
    "go": "went", "eat": "ate", "sing": "sang", "swim": "swam", "run": "ran", "write": "wrote", "speak": "spoke",
    "break": "broke", "drive": "drove", "ride": "rode", "fly": "flew", "grow": "grew", "know": "knew",
    "throw": "threw", "draw": "drew", "give": "gave", "take": "took", "come": "came", "begin": "began",
    "drink": "drank", "ring": "rang", "sit": "sat", "win": "won", "find": "found", "fight": "fought",
    "buy": "bought", "bring": "brought", "think": "thought", "teach": "taught", "catch": "caught", "sell": "sold",
    "tell": "told", "keep": "kept", "sleep": "slept", "feel": "felt", "leave": "left", "meet": "met", "send": "sent",
    "build": "built", "lose": "lost", "pay": "paid", "stand": "stood", "hide": "hid", "bite": "bit",
    "choose": "chose", "forget": "forgot", "wake": "woke", "wear": "wore", "steal": "stole", "hold": "held",
}
DOUBLED = {"swim", "run", "begin", "sit", "win", "forget"}  # running, not runing

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
    "Armenia Yerevan Azerbaijan Baku Bahrain Manama Yemen Sanaa",
    "Africa": "Egypt Cairo Kenya Nairobi Ghana Accra Nigeria Abuja Mali Bamako Senegal Dakar Morocco Rabat Tunisia "
    "Tunis Libya Tripoli Sudan Khartoum Uganda Kampala Rwanda Kigali Angola Luanda Zambia Lusaka Zimbabwe Harare "
    "Namibia Windhoek Somalia Mogadishu Madagascar Antananarivo Mozambique Maputo Botswana Gaborone Malawi Lilongwe "
    "Liberia Monrovia Gambia Banjul Togo Lome Niger Niamey Cameroon Yaounde Gabon Libreville",
    "America": "Canada Ottawa Cuba Havana Peru Lima Chile Santiago Brazil Brasilia Jamaica Kingston Honduras "
    "Tegucigalpa Nicaragua Managua Colombia Bogota Venezuela Caracas Ecuador Quito Paraguay Asuncion Uruguay "
    "Montevideo",
}

ANTONYMS = [
    tuple(pair.split("/"))
    for pair in (
        "hot/cold big/small tall/short fast/slow old/young rich/poor hard/soft light/dark happy/sad strong/weak "
        "wet/dry clean/dirty loud/quiet thick/thin wide/narrow deep/shallow high/low early/late open/closed "
        "full/empty brave/cowardly smooth/rough sharp/blunt sweet/sour near/far true/false safe/dangerous "
        "easy/difficult cheap/expensive polite/rude gentle/cruel wise/foolish lazy/diligent tight/loose raw/cooked "
        "alive/dead asleep/awake guilty/innocent public/private modern/ancient simple/complex generous/stingy "
        "friendly/hostile proud/humble calm/nervous healthy/sick rare/common visible/hidden straight/crooked "
        "fresh/stale"
    ).split()
]

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
    "Susan Vera Zoe Eva"
).split()
MEN = (
    "Tom Ben Jack John Paul Peter Mark Luke Adam David Frank George Henry James Leo Max Noah Oscar Robert Sam Simon "
    "Victor William Carl"
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


def partition(items: Sequence[T], n_held_out: int, seed: str) -> dict[Split, list[T]]:
    """Shuffle and cut: `n_held_out` items each for validation and test, the others for training."""
    mixed = list(items)
    random.Random(f"partition/{seed}").shuffle(mixed)
    return {
        "validation": mixed[:n_held_out],
        "test": mixed[n_held_out : 2 * n_held_out],
        "train": mixed[2 * n_held_out :],
    }
