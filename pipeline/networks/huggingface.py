"""Vision models of transformers, by name or from a folder.

A folder holds config.json, weights (safetensors) and preprocessor_config.json, as `save_pretrained`
writes them. Of a model with two towers only the vision tower is built. Code that comes with a model
is never run.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError, UnknownNetwork, WeightsError
from pipeline.images.preprocess import Preprocess
from pipeline.networks.adapter import Adapter
from pipeline.networks.blueprint import Blueprint
from pipeline.networks.huggingface_inputs import Patches, PixelValues
from pipeline.networks.huggingface_preprocess import processor_preprocess
from pipeline.networks.seeding import seeded
from pipeline.vision_libraries import transformers

__all__ = ["huggingface_blueprint"]

T = TypeVar("T")

FOLDER = "a folder with config.json, safetensors and preprocessor_config.json"

UNNAMED = re.compile(r"LABEL_\d+")
"""Class names that transformers makes up."""

STAGED: Mapping[str, str] = {
    "pvt_v2": "encoder.layers.{}.blocks.{}",
    "segformer": "stages.{}.blocks.{}",
    "swin": "encoder.layers.{}.blocks.{}",
    "swinv2": "encoder.layers.{}.blocks.{}",
}
"""Where the blocks are in models whose stages do more than to run them, so that `find_default_layers`
would take the stages."""

CLASSIFIERS: Mapping[str, str] = {
    "ForImageClassification": "classifier",
    "ForSemanticSegmentation": "decode_head.classifier",
}
"""The classifier of those models, by the ending of their class's name."""

SHOWN_WEIGHTS = 3


def huggingface_blueprint(source: str) -> Blueprint:
    """The blueprint of a vision model of transformers.

    Args:
        source: the name of a model on the Hugging Face Hub, or a folder.

    Raises:
        NetworkError: if there is no such model or folder, it cannot be downloaded, or is not a
            vision model of transformers.
    """
    library = transformers()
    name = f"hf:{source}"
    local = Path(source).expanduser().is_dir()
    if not local and (source.startswith((".", "/", "~")) or source.count("/") > 1):
        raise UnknownNetwork(f"{name}: there is no such folder; expected {FOLDER}")
    place = str(Path(source).expanduser()) if local else source
    whole = _load(name, local, lambda: library.AutoConfig.from_pretrained(place, trust_remote_code=False))
    kind, config = _find_class(library, whole, name)
    default = _default_preprocess(config)
    preprocess, notes = _preprocess(library, place, default)
    parts = kind.__name__ if config is whole else f"{kind.__name__}, the vision tower"

    def build(_: Preprocess) -> nn.Module:
        module: nn.Module = kind(config)
        return module

    def load() -> tuple[nn.Module, str]:
        try:
            return _pretrained(kind, config, place, name)
        except WeightsError:
            if config is whole:
                raise
            # The names of this tower's weights are known to the whole model only.
            owner, _ = _pretrained(_named_class(library, whole), whole, place, name)
            return next(part for part in owner.modules() if type(part) is kind), ""

    def publish(_: Preprocess) -> tuple[nn.Module, str]:
        module, remark = _load(name, local, load)
        return module, f"transformers {source} ({parts}{remark})"

    def from_state(state: Mapping[str, Tensor], file: str) -> nn.Module:
        return _load(file, True, lambda: _pretrained(kind, config, None, file, state))[0]

    return Blueprint(
        name=name,
        build=build,
        publish=publish,
        source="the folder" if local else "downloaded by transformers",
        preprocess=preprocess,
        classes=_class_names(config),
        default_layers=_staged_blocks(library, kind, config),
        from_state=from_state,
        adapter=_adapter(kind, config),
        notes=tuple(f"{name}: its image processor cannot be followed exactly: {note}" for note in notes),
    )


def _load(name: str, local: bool, action: Callable[[], T]) -> T:
    """Run a call of the library; any failure becomes a NetworkError of one line."""
    try:
        return action()
    except WeightsError:
        raise
    # The library raises OSError, ValueError, KeyError, and what its readers and downloads raise.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        verb = "read" if local else "download"
        raise NetworkError(f"could not {verb} {name}: {reason}; expected {FOLDER}, or a name") from error


def _find_class(library: Any, config: Any, name: str) -> tuple[Any, Any]:
    """The class of the module to build, and its configuration.

    The class that the configuration names, but the encoder alone of one that is for pretraining,
    and the vision tower alone of one with a second tower.
    """
    named = _named_class(library, config)
    label = named.__name__ if named else type(config).__name__
    vision = getattr(config, "vision_config", None)
    if vision is not None and not label.endswith("ForImageClassification"):
        named, config = None, vision
    if named is None or label.endswith("ForPreTraining"):
        named = _encoder_class(library, config)
    if named is None:
        raise NetworkError(f"{name}: transformers has no vision model for {type(config).__name__}")
    if "pixel_values" not in inspect.signature(named.forward).parameters:
        taken = getattr(named, "main_input_name", "other inputs")
        raise NetworkError(f"{name} is a {named.__name__}, which takes {taken}; expected a vision model")
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0
    return named, config


def _named_class(library: Any, config: Any) -> Any:
    """The class that a configuration names, or None."""
    found = (getattr(library, each, None) for each in config.architectures or ())
    return next((each for each in found if each is not None), None)


def _encoder_class(library: Any, config: Any) -> Any:
    """The class of the model without a head, or None."""
    try:
        found = library.MODEL_MAPPING[type(config)]
    except KeyError:
        # Towers that the library does not list are named like their configuration.
        return getattr(library, type(config).__name__.replace("Config", "Model"), None)
    return found[0] if isinstance(found, tuple) else found


def _pretrained(
    kind: Any, config: Any, place: str | None, files: str, state: Mapping[str, Tensor] | None = None
) -> tuple[nn.Module, str]:
    """The module with its weights, in float32, and a remark on those that the files lack.

    Only a pooler may be missing, which the library initialises: many encoders are published without.

    Args:
        kind: class of the module.
        config: its configuration.
        place: name or folder that the library reads; None with a state.
        files: where the weights come from, for messages.
        state: tensors in place of files; the library knows the names that older versions gave them.
    """
    with seeded(0):
        module, report = kind.from_pretrained(
            place,
            config=config,
            state_dict=None if state is None else dict(state),
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    needed = [key for key in missing if "pooler" not in key.split(".")]
    if needed:
        more = f" and {len(needed) - SHOWN_WEIGHTS} more" if len(needed) > SHOWN_WEIGHTS else ""
        raise WeightsError(
            f"{files} lacks {', '.join(needed[:SHOWN_WEIGHTS])}{more} of {kind.__name__}; "
            "give complete weights, or --weights random"
        )
    return module, "; its pooler is untrained" if missing else ""


def _sides(value: Any) -> tuple[int, int] | None:
    """Rows and columns from a number or a pair in a configuration."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2:
        return int(value[0]), int(value[1])
    return None


def _default_preprocess(config: Any) -> Preprocess:
    """The preprocessing of a model without an image processor, from the size in its configuration."""
    height, width = _sides(getattr(config, "image_size", None)) or (224, 224)
    patch = _sides(getattr(config, "patch_size", None))
    patches = getattr(config, "num_patches", None)
    if patch and isinstance(patches, int) and not hasattr(config, "image_size"):
        height = width = int(patches**0.5) * patch[0]
    grey = getattr(config, "num_channels", 3) == 1
    numbers = {"mean": (127.5,), "std": (127.5,), "channels": "grey"} if grey else {}
    return Preprocess(height, width, max(height, width), "bicubic", fit="crop_floor", **numbers)  # type: ignore[arg-type]


def _preprocess(library: Any, place: str, default: Preprocess) -> tuple[Preprocess, tuple[str, ...]]:
    """The preprocessing of the image processor that comes with a model."""
    try:
        processor = library.AutoImageProcessor.from_pretrained(
            place, backend="torchvision", trust_remote_code=False
        )
    # As for the model; without a processor the configuration gives the size.
    except Exception:
        mean, std = (", ".join(f"{each:g}" for each in numbers) for numbers in (default.mean, default.std))
        return default, (
            f"there is no preprocessor_config.json that can be read; {default.width}x{default.height} px, "
            f"mean {mean}, std {std} (on 0..255) are used; give --input to change them",
        )
    return processor_preprocess(processor, default)


def _class_names(config: Any) -> tuple[str, ...] | None:
    """Names of the classes, in order, unless transformers made them up."""
    labels: Mapping[int, str] = getattr(config, "id2label", None) or {}
    names = tuple(str(labels[index]) for index in sorted(labels))
    if not names or all(UNNAMED.fullmatch(name) for name in names):
        return None
    return names


def _adapter(kind: Any, config: Any) -> Adapter:
    """How a batch becomes the arguments of a model's call."""
    parameters = inspect.signature(kind.forward).parameters
    patch = _sides(getattr(config, "patch_size", None))
    if "spatial_shapes" in parameters and patch:
        return Patches(patch[0])
    native = _sides(getattr(config, "image_size", None)) if "interpolate_pos_encoding" in parameters else None
    masked = "noise" in parameters and hasattr(config, "mask_ratio") and patch is not None
    return PixelValues(native, patch[0] if masked and patch else None)


def _staged_blocks(library: Any, kind: Any, config: Any) -> tuple[str, ...]:
    """Names of the blocks and the classifier of a model in `STAGED`; none of others."""
    place = STAGED.get(getattr(config, "model_type", ""))
    if place is None:
        return ()
    alone = _encoder_class(library, config) is kind
    prefix = "" if alone else f"{kind.base_model_prefix}."
    counts = enumerate(config.depths)
    blocks = [prefix + place.format(stage, block) for stage, count in counts for block in range(count)]
    return (*blocks, *(name for ending, name in CLASSIFIERS.items() if kind.__name__.endswith(ending)))
