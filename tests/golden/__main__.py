"""Work the project's own golden numbers out anew, by the plain reference and by Headroom: `python -m tests.golden`.

Takes a minute or two. Exit status 1 where a number is not the stored one; `--write` stores the reference's first.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from tests.golden import own


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="store what the reference finds now")
    args = parser.parse_args()
    if args.write:
        wanted = own.records()
        texts = {own.key(*one): own.asked(*one) for golden in wanted for one in golden.asked}
        own.write(own.Stored(texts, {golden: own.by_reference(golden, texts) for golden in wanted}))
    stored, wrong = own.read(), 0
    for golden, numbers in stored.numbers.items():
        for who, found in (("the reference", own.by_reference(golden, stored.texts)),
                           ("Headroom", own.by_headroom(golden))):
            apart = float(np.abs(np.array(found) - numbers).max())
            holds = apart <= golden.tolerance(numbers)
            wrong += not holds
            print(f"{'ok   ' if holds else 'WRONG'} {golden}: {who} up to {apart:.1e} apart, {len(numbers)} numbers",
                  flush=True)
    print(f"{len(stored.numbers)} records of {sum(map(len, stored.numbers.values()))} numbers, {wrong} wrong.")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
