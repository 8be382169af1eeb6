"""Good, odd and damaged inputs, generated, each with the outcome it must have.

`build_corpus(folder)` writes them all and returns the cases. Every case is a dataset of its own:

- `image`: all its samples are images; the one named `key` shows the picture below.
- `error`: the sample named `key` becomes an error row of kind `kind`; the `good` others are read.
- `shard`: the shard named `key` fails by name with `reason`, whatever came before.
- `refused`: the dataset cannot be opened, with `reason`.

The picture has four quadrants, so that a turned, mirrored, grey or partly decoded image shows.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

WIDTH, HEIGHT = 64, 48
QUADRANTS = ((220, 30, 30), (30, 200, 30), (30, 30, 220), (250, 250, 250))
"""RGB of top left, top right, bottom left, bottom right."""

Outcome = Literal["image", "error", "shard", "refused"]


@dataclass(frozen=True)
class Case:
    """One input and what must become of it.

    Args:
        name: unique; also the folder it lies in.
        path: what to open.
        outcome: see the module.
        key: of the sample, or the name of the shard.
        kind: of the error row.
        reason: words of the message.
        good: how many samples are images, the one named `key` included for outcome `image`.
        size: (width, height) of the upright original.
        grey: the quadrants keep their brightness only.
        plain: the image is not the picture (too small to show it), only its size counts.
    """

    name: str
    path: Path
    outcome: Outcome
    key: str = ""
    kind: str = ""
    reason: str = ""
    good: int = 1
    size: tuple[int, int] = (WIDTH, HEIGHT)
    grey: bool = False
    plain: bool = False


def picture(mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """The four quadrants."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    for at, colour in enumerate(QUADRANTS):
        y, x = divmod(at, 2)
        rows = slice(y * (height // 2), height if y else height // 2)
        columns = slice(x * (width // 2), width if x else width // 2)
        pixels[rows, columns] = colour
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


JPEG = encoded(picture(), "JPEG", quality=95)
PNG = encoded(picture(), "PNG")


def noisy(kind: str = "JPEG", **options: Any) -> bytes:
    """A file with much data, to be cut at many places."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind, **options)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*chunks, png_chunk(b"IEND", b"")])


def sixteen_bit_rgb() -> bytes:
    pixels = np.asarray(picture()).astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(WIDTH, HEIGHT, 16, 2, rows)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def turned(orientation: int) -> Image.Image:
    """The picture as a camera stores it that was held in this way."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = picture()
    return image.transpose(undo[orientation]) if orientation in undo else image


def with_alpha(mode: str) -> Image.Image:
    """The picture, whose white quadrant is transparent and black underneath."""
    image = picture().convert("RGBA")
    pixels = np.array(image)
    pixels[HEIGHT // 2 :, WIDTH // 2 :] = 0
    return Image.fromarray(pixels).convert(mode)


def animation() -> dict[str, Any]:
    """Options that add a second, black frame (a new one: Pillow leaves marks on what it saved)."""
    return {"save_all": True, "append_images": [Image.new("RGB", (WIDTH, HEIGHT), "black")]}


def good_files() -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """(file name, bytes, fields of the case) of every image that must decode."""
    yield "rgb.jpg", JPEG, {}
    yield "grey.jpg", encoded(picture("L"), "JPEG", quality=95), {"grey": True}
    yield "progressive.jpg", encoded(picture(), "JPEG", quality=95, progressive=True), {}
    yield "cmyk.jpg", encoded(picture("CMYK"), "JPEG", quality=95), {}
    yield "no-subsampling.jpg", encoded(picture(), "JPEG", quality=95, subsampling=0), {}
    yield "restarts.jpg", encoded(picture(), "JPEG", quality=95, restart_marker_blocks=2), {}
    yield "icc.jpg", encoded(picture(), "JPEG", quality=95, icc_profile=b"no profile"), {}
    for orientation in range(1, 9):
        data = encoded(turned(orientation), "JPEG", quality=95, exif=exif(orientation))
        yield f"exif-{orientation}.jpg", data, {}
    yield "exif-nonsense.jpg", encoded(picture(), "JPEG", quality=95, exif=exif(99)), {}
    yield "exif-broken.jpg", encoded(picture(), "JPEG", quality=95, exif=b"Exif\0\0II*\0zzzz"), {}
    yield "trailing.jpg", JPEG + b"bytes behind the end" * 9, {}
    yield "jpeg-named.png", JPEG, {}
    yield "UPPER.JPEG", JPEG, {}
    yield "1x1.jpg", encoded(picture().crop((0, 0, 1, 1)), "JPEG"), {"size": (1, 1), "plain": True}
    yield "huge.jpg", encoded(picture(size=(5000, 3000)), "JPEG"), {"size": (5000, 3000)}
    yield "rgb.png", PNG, {}
    yield "palette.png", encoded(picture().quantize(16), "PNG"), {}
    yield "palette-bytes-alpha.png", encoded(with_alpha("RGBA").quantize(8), "PNG"), {}
    yield "rgba.png", encoded(with_alpha("RGBA"), "PNG"), {}
    yield "la.png", encoded(with_alpha("LA"), "PNG"), {"grey": True}
    yield "grey.png", encoded(picture("L"), "PNG"), {"grey": True}
    yield "sixteen-bit.png", sixteen_bit_rgb(), {}
    grey = Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257)
    yield "sixteen-bit-grey.png", encoded(grey, "PNG"), {"grey": True}
    yield "sixteen-bit-grey.tif", encoded(grey, "TIFF"), {"grey": True}
    yield "bilevel.png", encoded(picture("1"), "PNG"), {"plain": True}
    yield "exif-6.png", encoded(turned(6), "PNG", exif=exif(6)), {}
    yield "interlaced-1x1.png", png(1, 1, 8, 2, b"\0\xff\0\0"), {"size": (1, 1), "plain": True}
    yield "animated.png", encoded(picture(), "PNG", **animation()), {}
    yield "animated.gif", encoded(picture().quantize(16), "GIF", **animation()), {}
    yield "animated.webp", encoded(picture(), "WEBP", lossless=True, **animation()), {}
    yield "stereo.jpg", encoded(picture(), "MPO", quality=95, **animation()), {}
    yield "camera.jfif", JPEG, {}
    yield "rgb.jp2", encoded(picture(), "JPEG2000"), {}
    yield "rgb.avif", encoded(picture(), "AVIF", quality=90), {}
    yield "rgb.webp", encoded(picture(), "WEBP", quality=95), {}
    yield "alpha.webp", encoded(with_alpha("RGBA"), "WEBP", lossless=True), {}
    yield "exif-8.webp", encoded(turned(8), "WEBP", lossless=True, exif=exif(8)), {}
    yield "rgb.bmp", encoded(picture(), "BMP"), {}
    yield "rgb.tif", encoded(picture(), "TIFF"), {}
    yield "cmyk.tif", encoded(picture("CMYK"), "TIFF"), {}
    yield "pages.tif", encoded(picture(), "TIFF", **animation()), {}
    yield "turned.tif", encoded(turned(6), "TIFF", exif=exif(6)), {}
    yield "rgb.ppm", encoded(picture(), "PPM"), {}


def bad_files() -> Iterator[tuple[str, bytes, str]]:
    """(file name, bytes, kind of the error row) of every image that must be refused."""
    yield "zero.jpg", b"", "empty"
    yield "zero.png", b"", "empty"
    yield "text.jpg", b"this is no image\n" * 20, "unknown"
    yield "page.png", b"<!DOCTYPE html><title>404</title>", "unknown"
    yield "random.jpg", bytes(np.random.default_rng(1).integers(0, 256, 4096, np.uint8)), "unknown"
    yield "program.jpg", encoded(picture(), "EPS"), "unknown"
    yield "phone.heic", b"\0\0\0\x18ftypheic" + bytes(99), "unknown"
    yield "only-start.jpg", JPEG[:2], "unknown"
    yield "header.jpg", JPEG[:24], "corrupt|truncated|unknown"
    baseline, progressive = noisy(), noisy(progressive=True)
    for name, data in (("baseline", baseline), ("progressive", progressive)):
        for percent in (20, 50, 80, 99):
            cut = data[: len(data) * percent // 100]
            yield f"{name}-{percent}.jpg", cut, "truncated"
            if name == "baseline" or percent <= 50:  # later on only the last bit plane is missing
                yield f"{name}-{percent}-closed.jpg", cut + b"\xff\xd9", "truncated"
    yield "baseline-no-end.jpg", baseline[:-9], "truncated"
    hole = len(baseline) // 2
    marked = baseline[:hole] + b"\xff\xdb" + baseline[hole:]
    yield "marker-inside.jpg", marked, "truncated"
    data = noisy("PNG")
    for percent in (2, 50, 99):
        yield f"cut-{percent}.png", data[: len(data) * percent // 100], "truncated|corrupt"
    wrong = bytearray(PNG)
    wrong[wrong.index(b"IDAT") + 9] ^= 0xFF
    yield "checksum.png", bytes(wrong), "corrupt|truncated"
    yield "cut.webp", noisy("WEBP")[:3000], "corrupt|truncated|unknown"
    yield "cut.gif", noisy("GIF")[:5000], "corrupt|truncated"
    yield "cut.bmp", encoded(picture(), "BMP")[:4000], "corrupt|truncated"
    yield "cut.tif", encoded(picture(), "TIFF")[:4000], "corrupt|truncated|unknown"
    yield "bomb.png", png(30000, 30000, 1, 0, b""), "bomb"
    yield "bomb-warned.png", png(10000, 10000, 1, 0, b""), "bomb"
    note = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80_000_000)))
    yield "text-bomb.png", png(1, 1, 8, 2, b"\0\xff\0\0", note), "corrupt|bomb"
    yield "strip.png", encoded(Image.new("L", (60_000, 1)), "PNG"), "shape"
    yield "float.tif", encoded(picture("L").convert("F"), "TIFF"), "mode"
    wide = Image.fromarray(np.arange(64 * 48, dtype=np.int32).reshape(48, 64) * 99_999)
    yield "integers.tif", encoded(wide, "TIFF"), "mode"


def folder_cases(root: Path) -> Iterator[Case]:
    for name, data, fields in good_files():
        folder = root / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(data)
        yield Case(folder.name, folder, "image", key=name, **fields)
    for name, data, kind in bad_files():
        folder = root / f"bad-{name.replace('.', '-')}"
        folder.mkdir()
        (folder / name).write_bytes(data)
        (folder / "good.png").write_bytes(PNG)
        yield Case(folder.name, folder, "error", key=name, kind=kind)
    folder = root / "folder-empty"
    folder.mkdir()
    yield Case(folder.name, folder, "refused", reason="holds no images")
    yield Case("folder-missing", root / "nowhere", "refused", reason="does not exist")


Member = tuple[str, bytes]


def tar(members: list[Member], *, end: bool = True) -> bytes:
    """An archive; without `end` it lacks its two zero blocks and the padding."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        length = archive.offset
    return file.getvalue() if end else file.getvalue()[:length]


def special(kind: bytes, name: str) -> bytes:
    """An archive of one good sample and one member that is not a plain file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(PNG)
        archive.addfile(info, io.BytesIO(PNG))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "a.png"
        archive.addfile(info)
    return file.getvalue()


def named(name: str, label: str | None = None) -> list[Member]:
    members = [(f"{name}.png", PNG)]
    return members if label is None else [*members, (f"{name}.cls", label.encode())]


def tar_cases(root: Path) -> Iterator[Case]:
    one, three = named("a"), [*named("a"), *named("b"), *named("c")]
    whole = tar(three)
    block = len(tar(one, end=False))

    def case(name: str, data: bytes, outcome: Outcome, **fields: Any) -> Case:
        path = root / f"{name}.tar"
        path.write_bytes(data)
        return Case(f"tar-{name}", path, outcome, **fields)

    def damaged(name: str, data: bytes, reason: str) -> Case:
        return case(name, data, "shard", key=f"{name}.tar", reason=reason)

    yield case("whole", whole, "image", key="b", good=3)
    yield case("empty", bytes(1024), "image", good=0)
    yield damaged("zero-bytes", b"", "0 bytes")
    yield damaged("cut-at-member", tar(three, end=False), "zero blocks")
    yield damaged("cut-in-header", whole[: block + 100], "zero blocks")
    yield damaged("cut-in-data", whole[: block + 600], "zero blocks")
    padded = whole[: block + 512] + bytes(10240)
    yield case("cut-and-padded", padded, "error", key="b", kind="unknown")
    for name, at in (("first", 3), ("middle", block + 3), ("size", block + 130)):
        wrong = bytearray(whole)
        wrong[at] ^= 0x01
        yield damaged(f"corrupt-{name}", bytes(wrong), "damaged header|no tar archive")
    yield damaged("joined", tar(one) + tar(named("b")), "damaged header|joined")
    yield damaged("trailing", whole + b"more", "zero blocks")
    yield damaged("compressed", gzip.compress(whole), "compressed")
    yield damaged("not-a-tar", b"text" * 999, "zero blocks")
    yield damaged("zeros-in-between", tar(one, end=False) + bytes(512) + whole, "damaged|joined")

    def error(name: str, members: list[Member], key: str, kind: str, good: int = 1) -> Case:
        return case(name, tar(members), "error", key=key, kind=kind, good=good)

    yield error("duplicate-next", [*one, *one], "a", "duplicate")
    yield error("duplicate-later", [*one, *named("b"), *one], "a", "duplicate", 2)
    apart = [*one, *named("b"), ("a.cls", b"late")]
    yield error("label-apart", apart, "a", "duplicate", 2)
    yield error("json-list", [*one, ("b.png", PNG), ("b.json", b"[1]")], "b", "json")
    yield error("json-text", [*one, ("b.png", PNG), ("b.json", b'"cat"')], "b", "json")
    yield error("json-broken", [*one, ("b.png", PNG), ("b.json", b'{"label":')], "b", "json")
    label = json.dumps({"label": {"name": "cat"}}).encode()
    yield error("json-label-object", [*one, ("b.png", PNG), ("b.json", label)], "b", "json")
    label = json.dumps({"label": 1.5}).encode()
    yield error("json-label-fraction", [*one, ("b.png", PNG), ("b.json", label)], "b", "json")
    deep = b"[" * 100_000
    yield error("json-deep", [*one, ("b.png", PNG), ("b.json", deep)], "b", "json")
    yield error("cls-bytes", [*one, ("b.png", PNG), ("b.cls", b"\xff\xfe")], "b", "label")
    yield error("no-image", [*one, ("b.cls", b"7")], "b", "no_image")
    yield error("no-suffix", [*one, ("b", PNG)], "b", "no_image")
    several = [*one, ("b.1.png", PNG), ("b.2.png", PNG)]
    yield error("ambiguous", several, "b", "ambiguous")
    yield error("bad-image", [*one, ("b.jpg", b"no image")], "b", "unknown")
    yield case("symlink", special(tarfile.SYMTYPE, "b.png"), "error", key="b", kind="link")
    yield case("hardlink", special(tarfile.LNKTYPE, "b.png"), "error", key="b", kind="link")

    keys = {
        "parent": "../../etc/cat",
        "absolute": "/etc/cat",
        "dot": "./n01/cat",
        "unicode": "Käse/猫 🐈",
        "quotes": 'it\'s "a" cat; drop table--',
        "html": "<script>alert(1)<",
        "backslash": "c:\\cats\\1",
        "percent": "100%s{x}",
        "newline": "two\nlines",
        "long": "x" * 300,
    }
    for name, key in keys.items():
        yield case(f"key-{name}", tar(named(key, "cat")), "image", key=key)
    yield case("folders", special(tarfile.DIRTYPE, "n01"), "image", key="a")
    hidden = [("._a.png", b"junk"), ("__meta__", b"junk"), *one]
    yield case("hidden", tar(hidden), "image", key="a")
    latin = tar(named("caf@")).replace(b"caf@", b"caf\xe9")
    header = bytearray(latin[:512])
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    yield case("key-latin", bytes(header) + latin[512:], "image", key="caf\\xe9")
    mask = [("a.jpg", JPEG), ("a.seg.png", encoded(Image.new("L", (8, 8)), "PNG"))]
    yield case("mask", tar(mask), "image", key="a")


def parquet(path: Path, columns: dict[str, pa.Array], notes: dict[str, Any] | None = None) -> None:
    table = pa.table(columns)
    if notes is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(notes)})
    pq.write_table(table, path, row_group_size=2)


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def rows(*images: bytes | None) -> pa.Array:
    values = [{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(images)]
    return pa.array(values, IMAGE)


def parquet_cases(root: Path) -> Iterator[Case]:
    def at(name: str, write: Callable[[Path], None]) -> Path:
        path = root / f"{name}.parquet"
        write(path)
        return path

    classes = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    two = {"image": rows(PNG, PNG), "label": pa.array([0, 1])}
    path = at("whole", lambda path: parquet(path, two, classes))
    yield Case("parquet-whole", path, "image", key="1.png", good=2)
    binary = {"img": pa.array([PNG, PNG])}
    path = at("binary", lambda path: parquet(path, binary))
    yield Case("parquet-binary", path, "image", key="00000001", good=2)
    path = at("no-rows", lambda path: parquet(path, {"image": rows()}))
    yield Case("parquet-no-rows", path, "image", good=0)
    path = at("null", lambda path: parquet(path, {"image": rows(PNG, None)}))
    yield Case("parquet-null", path, "error", key="1.png", kind="no_image")
    outside = {"image": rows(PNG, PNG), "label": pa.array([0, 9])}
    path = at("outside", lambda path: parquet(path, outside, classes))
    yield Case("parquet-outside", path, "error", key="1.png", kind="label")
    path = at("bad", lambda path: parquet(path, {"image": rows(PNG, b"no image")}))
    yield Case("parquet-bad", path, "error", key="1.png", kind="unknown")

    def damaged(name: str, write: Callable[[Path], None], reason: str) -> Case:
        path = at(name, write)
        return Case(f"parquet-{name}", path, "shard", key=path.name, reason=reason)

    text = {"text": pa.array(["a"]), "label": pa.array([0])}
    yield damaged("no-column", lambda path: parquet(path, text), "no image column")
    number = {"image": pa.array([1])}
    yield damaged("wrong-type", lambda path: parquet(path, number), "expected a struct")
    labels = {"image": rows(PNG), "label": pa.array([{"a": 1}])}
    yield damaged("wrong-label", lambda path: parquet(path, labels), "expected integers or text")

    def cut(path: Path) -> None:
        parquet(path, two)
        path.write_bytes(path.read_bytes()[:-40])

    yield damaged("cut", cut, "cut off")

    def hole(path: Path) -> None:
        parquet(path, {"image": rows(*[noisy()] * 8)})
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
        data[4:2000] = bytes(1996)
        path.write_bytes(bytes(data))

    yield damaged("hole", hole, "damaged")
    yield damaged("not-parquet", lambda path: path.write_bytes(b"text" * 99) and None, "no Parquet")


def build_corpus(folder: Path) -> list[Case]:
    """Write every input below the folder, and say what must become of each."""
    cases: list[Case] = []
    for name, make in (("files", folder_cases), ("tars", tar_cases), ("tables", parquet_cases)):
        root = folder / name
        root.mkdir(parents=True)
        cases += make(root)
    names = [case.name for case in cases]
    if len(set(names)) != len(names):
        raise ValueError(f"two cases share a name: {sorted(names)}")
    return cases
