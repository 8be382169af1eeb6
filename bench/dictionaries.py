"""Are the features of sparse autoencoders those that the libraries which train them compute?

    python -m venv libraries; libraries/bin/pip install torch sae-lens overcomplete
    libraries/bin/python bench/dictionaries.py [--channels 96] [--features 5000] [--record FOLDER]
    python bench/dictionaries.py --recorded tests/fixtures/dictionaries     # without those libraries

Makes autoencoders with random weights, has SAELens and Overcomplete save and apply them, reads the files as
`maxact index --dictionary` does, and prints the largest difference of a feature relative to the largest
feature, and how many features are on in one and off in the other. The exit code is 1 when a difference is
above 1e-5. `--record` keeps the files, inputs and features, as the tests have them in
tests/fixtures/dictionaries, of 6 channels and 10 features. `--recorded` reads them from there, and compares
with the features that were recorded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ALLOWED = 1e-5
LIBRARIES = {"saelens": "SAELens", "overcomplete": "Overcomplete"}
K = 4


def saelens_cases(channels: int, features: int):
    """Name, autoencoder and how it saves itself."""
    from sae_lens.saes import batchtopk_sae, gated_sae, jumprelu_sae, standard_sae, topk_sae, transcoder

    size = {"d_in": channels, "d_sae": features, "apply_b_dec_to_input": True}
    inference = {
        "standard": (standard_sae.StandardSAE, standard_sae.StandardSAEConfig, {}),
        "standard, raw input": (
            standard_sae.StandardSAE,
            standard_sae.StandardSAEConfig,
            {"apply_b_dec_to_input": False},
        ),
        "standard, layer norm": (
            standard_sae.StandardSAE,
            standard_sae.StandardSAEConfig,
            {"normalize_activations": "layer_norm"},
        ),
        "standard, constant norm": (
            standard_sae.StandardSAE,
            standard_sae.StandardSAEConfig,
            {"normalize_activations": "constant_norm_rescale"},
        ),
        "topk": (topk_sae.TopKSAE, topk_sae.TopKSAEConfig, {"k": K}),
        "topk, decoder norm": (
            topk_sae.TopKSAE,
            topk_sae.TopKSAEConfig,
            {"k": K, "rescale_acts_by_decoder_norm": True},
        ),
        "jumprelu": (jumprelu_sae.JumpReLUSAE, jumprelu_sae.JumpReLUSAEConfig, {}),
        "gated": (gated_sae.GatedSAE, gated_sae.GatedSAEConfig, {}),
        "transcoder": (
            transcoder.Transcoder,
            transcoder.TranscoderConfig,
            {"d_out": channels, "apply_b_dec_to_input": False},
        ),
    }
    for name, (kind, config, options) in inference.items():
        yield name, kind(config(**{**size, **options}))
    config = batchtopk_sae.BatchTopKTrainingSAEConfig(**size, k=K, rescale_acts_by_decoder_norm=True)
    yield "batchtopk", batchtopk_sae.BatchTopKTrainingSAE(config)


def saelens(channels: int, features: int, folder: Path) -> Iterator[tuple[str, Path, Callable]]:
    """Name, saved folder and encoder of every architecture of SAELens."""
    import torch
    from sae_lens import SAE

    for name, made in saelens_cases(channels, features):
        fill(made)
        place = folder / f"saelens-{name.replace(', ', '-').replace(' ', '-')}"
        made.save_model(place)
        encode = made.encode
        if name == "batchtopk":
            made.topk_threshold = torch.tensor(0.8, dtype=torch.double)
            made.save_model(place)
            with tempfile.TemporaryDirectory() as other:
                made.save_inference_model(other)
                encode = SAE.load_from_disk(other).encode
        yield f"SAELens {name}", place, encode


def overcomplete(channels: int, features: int, folder: Path) -> Iterator[tuple[str, Path, Callable]]:
    """Name, saved file and encoder of every autoencoder of Overcomplete that has linear codes."""
    import torch
    from overcomplete.sae import SAE, BatchTopKSAE, JumpSAE, RATopKSAE, TopKSAE
    from safetensors.torch import save_file

    points = torch.randn(3 * features, channels)
    cases = {
        "SAE": (SAE(channels, features), {"activation": "relu"}),
        "SAE, untied": (SAE(channels, features).untied(bias=True), {"activation": "relu"}),
        "SAE, tied": (SAE(channels, features).tied(bias=True), {"activation": "relu"}),
        "SAE, batch norm": (SAE(channels, features, encoder_module="mlp_bn_1"), {"activation": "relu"}),
        "TopKSAE": (TopKSAE(channels, features, top_k=K), {"activation": "topk", "k": str(K)}),
        "BatchTopKSAE": (BatchTopKSAE(channels, features, top_k=K), {"activation": "batchtopk"}),
        "JumpSAE": (JumpSAE(channels, features), {}),
        "RATopKSAE": (
            RATopKSAE(channels, features, points=points, top_k=K),
            {"activation": "topk", "k": str(K)},
        ),
    }
    for name, (made, metadata) in cases.items():
        fill(made)
        made.train()
        with torch.no_grad():
            made(torch.randn(200, channels))
        made.eval()
        if name == "BatchTopKSAE":
            made.running_threshold = torch.tensor(0.7)
            metadata["threshold"] = repr(made.running_threshold.item())
        path = folder / f"overcomplete-{name.replace(', ', '-').replace(' ', '-').lower()}"
        # The decoder of a tied encoder is in the state dict twice.
        state = {key: value.clone() for key, value in made.state_dict().items() if "tied_to" not in key}
        if name == "JumpSAE":
            path = path.with_suffix(".pt")
            torch.save(state, path)
        else:
            path = path.with_suffix(".safetensors")
            save_file(state, path, metadata)
        yield f"Overcomplete {name}", path, lambda inputs, made=made: made.encode(inputs)[1]


def fill(module) -> None:
    """Random weights, those of thresholds positive, so that about half of the features are on."""
    import torch

    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if name == "thresholds":  # logarithms
                tensor.copy_(torch.rand_like(tensor) - 1.5)
            elif name == "threshold":
                tensor.copy_(torch.rand_like(tensor))
            elif tensor.dim() == 2:
                tensor.copy_(torch.randn_like(tensor) / min(tensor.shape) ** 0.5)
            else:
                tensor.copy_(torch.randn_like(tensor) * 0.1)


def compare(name: str, path: Path, encode: Callable, channels: int, record: bool) -> float:
    """Print a row of the table; returns the difference."""
    import torch
    from safetensors.torch import save_file

    from pipeline.networks.dictionary_files import read_dictionary

    inputs = torch.randn(64 if not record else 12, channels)
    with torch.no_grad():
        expected = encode(inputs).float()
        found = read_dictionary(path)(inputs)
    difference = print_row(name, found, expected)
    if record:
        tensors = {"inputs": inputs, "features": expected.contiguous()}
        save_file(tensors, path.parent / f"{path.name}.expected.safetensors")
    return difference


def print_row(name: str, found, expected) -> float:
    """Print the row of two (input, feature) tensors; returns the difference."""
    difference = float((found - expected).abs().max() / expected.abs().max())
    switched = int(((found > 0) != (expected > 0)).sum())
    on = float((expected > 0).float().mean())
    print(f"| {name} | {on:.3f} | {difference:.1e} | {switched} |")
    return difference


def compare_recorded(folder: Path) -> float:
    """Print a row for every autoencoder that `--record` left in a folder; returns the largest difference."""
    import torch
    from safetensors.torch import load_file

    from pipeline.networks.dictionary_files import read_dictionary

    ending = ".expected.safetensors"
    recorded = sorted(folder.glob(f"*{ending}"))
    if not recorded:
        sys.exit(f"{folder} has no file *{ending}; name a folder that --record wrote")
    worst = 0.0
    for path in recorded:
        saved = folder / path.name.removesuffix(ending)
        tensors = load_file(path)
        with torch.no_grad():
            found = read_dictionary(saved)(tensors["inputs"])
        library, _, name = saved.name.partition("-")
        title = f"{LIBRARIES[library]} {name.partition('.')[0].replace('-', ' ')}"
        worst = max(worst, print_row(title, found, tensors["features"]))
    return worst


def compare_made(channels: int, features: int, record: Path | None) -> float:
    """Print a row for every autoencoder that the libraries make; returns the largest difference."""
    from pipeline.vision_libraries import prepare_torchvision

    prepare_torchvision()  # both libraries import it
    worst = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = record or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for library in (saelens, overcomplete):
            for name, path, encode in library(channels, features, folder):
                worst = max(worst, compare(name, path, encode, channels, record is not None))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--channels", type=int, default=96)
    parser.add_argument("--features", type=int, default=5000)
    parser.add_argument("--record", type=Path, help="folder for the files, inputs and features")
    parser.add_argument("--recorded", type=Path, help="folder that --record wrote; needs no other library")
    arguments = parser.parse_args()
    import torch

    torch.manual_seed(0)
    if arguments.recorded is not None:
        print("Compared with the features that the libraries gave when they were recorded.\n")
    print("| autoencoder | on | difference | switched |")
    print("|---|---|---|---|")
    if arguments.recorded is not None:
        worst = compare_recorded(arguments.recorded)
    else:
        worst = compare_made(arguments.channels, arguments.features, arguments.record)
    sys.exit(0 if worst <= ALLOWED else f"the largest difference is {worst:.1e}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
