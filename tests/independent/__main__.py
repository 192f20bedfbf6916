"""Recompute all that is published of the bundled model: minutes to an hour. Exit status 1 where a number is wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import torch

from tests.independent import published, tour


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=("all", "card", "tour", "shipped"), default="all")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--kind", help="of the shipped results, those of one kind alone")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    wrong = n = 0
    for claim in claims(args.what, args.kind):
        n, wrong = n + 1, wrong + (not claim.holds)
        print(claim if not claim.holds or "accuracies" in claim.what else str(claim)[:160], flush=True)
    print(f"{n} claims, {wrong} wrong.")
    return int(wrong > 0)


def claims(what: str, kind: str | None) -> Iterator[published.Claim]:
    if what in ("all", "card"):
        card = published.Card(published.CARD.read_text())
        yield from card.accuracies()
        yield from card.sentences()
        for bullet in card.unread():
            print("not read, for a person to check:", bullet)
    if what in ("all", "tour"):
        with published.shipped() as store:
            yield from tour.told(store)
    if what in ("all", "shipped"):
        with published.shipped() as store:
            for unit in published.of_bundled(store):
                if kind in (None, unit.KIND):
                    yield from published.recomputed(unit, store)


if __name__ == "__main__":
    sys.exit(main())
