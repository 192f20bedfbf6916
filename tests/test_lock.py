"""The lock holds what requirements.txt asks for, each package with digests; docs/reliability.md says what is so."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE))


def test_the_lock_is_of_the_versions_that_are_asked_for():
    asked, locked = (pins((ROOT / name).read_text()) for name in ("requirements.txt", "requirements.lock"))
    torch = asked.pop("torch")
    assert {name: locked.get(name) for name in asked} == asked
    assert "torch" not in locked
    assert f"pip install torch=={torch}\n" in (ROOT / "requirements.lock").read_text()


def test_every_locked_package_has_digests():
    parts = re.split(r"^(?=[\w.-]+==)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]
    assert len(parts) > 60
    for part in parts:
        assert re.fullmatch(r"[\w.-]+==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", part), part[:200]


def test_what_is_said_to_be_tested_somewhere_is():
    said = (ROOT / "docs/reliability.md").read_text()
    named = set(re.findall(r"`([\w./]*(?:test_\w+|endurance|mutate)\.py)`", said))
    assert len(named) > 30
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []
    assert f"holds the {len(pins((ROOT / 'requirements.lock').read_text()))} packages beside torch" in said
