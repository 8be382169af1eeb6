"""The benchmarks that `python -m bench` runs, each at a size that takes a minute or two."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One run of a script.

    Args:
        name: for `--only`.
        question: that the table answers.
        words: script or module, and its arguments.
        compares: whether it is run in the environment of the other libraries.
        threads: of torch and of the libraries below it.
    """

    name: str
    question: str
    words: str
    compares: bool = False
    threads: int = 1


SUITE = (
    Benchmark(
        "index",
        "What does indexing cost compared with a bare forward pass, and with other libraries?",
        "bench/index.py --images 256 --rounds 1"
        " --modes bare,bare-kept,index,naive,compiled,compiled-convs,crp,semanticlens",
        compares=True,
    ),
    Benchmark(
        "jpeg",
        "Does indexing from JPEG files keep up with decoding and the network?",
        "bench/from_jpeg.py --images 256 --rounds 3",
    ),
    Benchmark("resume", "What does it cost that a run can be resumed?", "bench/resume.py"),
    Benchmark(
        "memory", "Does indexing need more memory for more images?", "bench/memory.py --images 1000,8000"
    ),
    Benchmark(
        "scale",
        "What do commits, merges and engines take?",
        "bench/scale.py --tasks 100 --commits 10 --merge 100x250,1000x250 --rows 100000",
    ),
    Benchmark(
        "scaling-model",
        "How long would indexing take on many GPUs, by a model?",
        "bench/scaling_model.py",
    ),
    Benchmark(
        "query", "How fast does an index of 5 million rows answer?", "-m bench.query --rounds 9", threads=2
    ),
    Benchmark(
        "query-large",
        "How fast does an index of 100 million rows answer?",
        "-m bench.query --rows 100000000 --rounds 5",
        threads=2,
    ),
    Benchmark(
        "peaks",
        "How large are the peaks of all images, and how fast are they read?",
        "-m bench.peaks --images 200000 --units 1000",
    ),
    Benchmark(
        "names",
        "How well do labels name units, and how long does it take?",
        "bench/names.py --shuffles 1 --units 2000 --word-units 512",
    ),
    Benchmark(
        "dictionaries",
        "Are the features of dictionaries those of the libraries?",
        "bench/dictionaries.py --recorded tests/fixtures/dictionaries",
    ),
    Benchmark(
        "families",
        "Which networks of torchvision and timm are indexed, placed and rendered right?",
        "bench/families.py --only 'torchvision:*' --smallest-first --limit 6",
    ),
    Benchmark(
        "positions",
        "Are positions found true, on networks that the test was not tuned on?",
        "bench/positions.py --only 'timm:e*'",
    ),
    Benchmark(
        "render",
        "How long does one unit take to render, compared with other libraries?",
        "bench/render.py",
        compares=True,
    ),
    Benchmark(
        "typical",
        "How long does one unit take with the default recipe?",
        "bench/typical.py --network efficientnet_lite0 --layer blocks.2.1 --layer blocks.4.2 --units 4",
    ),
    Benchmark(
        "compiled-ascent",
        "Does torch.compile make gradient ascent faster?",
        "bench/compiled_ascent.py --layer inception3a",
    ),
    Benchmark(
        "truth",
        "Which pictures explain a unit?",
        "-m bench.truth demo --layers blocks.2.1 blocks.4.2 --recipes typical fourier --units 8 --images 400"
        " --threads 1",
    ),
    Benchmark(
        "vae",
        "Does a VAE of diffusers serve as the generator of the recipe prior?",
        "bench/vae.py --steps 20",
        compares=True,
    ),
    Benchmark(
        "small-vit",
        "What makes renderings of vision transformers readable?",
        "-m bench.small_vit --steps 200 --each 20 --units 4 --layers blocks.2.mlp.act --no-judge"
        " --variants 'fourier|fourier, no random views|fourier, jitter by whole patches|typical'",
    ),
    Benchmark(
        "fooled",
        "Do paths tell fooled renderings from honest ones?",
        "-m bench.fooled --draws 0 --steps 48",
    ),
    Benchmark(
        "paths",
        "How like each other are the paths of real patches, and of renderings?",
        "-m bench.paths --layer blocks.2.1 --units 0-7 --others 4",
    ),
    Benchmark(
        "atlas",
        "How long does an atlas take to build, how large is it, and how fast are its pages?",
        "-m bench.atlas --units 128 512 --images 200",
    ),
    Benchmark("start", "How long do commands take to start?", "bench/start.py"),
    Benchmark("imports", "How do the modules depend on each other?", "bench/imports.py"),
)

NOT_BENCHMARKS = frozenset({"wordnet_hierarchy"})
"""Scripts that make a file of the repository from a download, and measure nothing."""
