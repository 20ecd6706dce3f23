"""A run by a version whose trunks numbered their layers, packed into one file.

Made once, at the last commit before layers had names, by

    python -m tests.earlier_run

`FILE` holds the run's folder as it was after 2 of its 4 steps ("run/"), the parameters after all 4
by their earlier names ("after.npz"), and the label map that the run at 2 steps predicts for the
first case ("predicted.npy").
"""

import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from invseg_jax.configuration import Config
from invseg_jax.predict import predict
from invseg_jax.train import train
from tests.tiny_run import load, parameters, tiny_config, write_balls

FILE = Path(__file__).parent / "fixtures" / "earlier_run.zip"


def config() -> Config:
    """Odd and even channels, whose couplings are a chain and a loop; and an auxiliary head."""
    config = tiny_config()
    config.update_from_flattened_dict(
        {"model.settings.channels": (5, 8), "model.settings.couplings": 2}
    )
    return config


def unpack(folder: Path) -> tuple[Path, dict[str, np.ndarray], np.ndarray]:
    """The run's folder below `folder`, the parameters after 4 steps, and the label map."""
    with zipfile.ZipFile(FILE) as packed:
        packed.extractall(folder)
    with np.load(folder / "after.npz") as after:
        return folder / "run", dict(after), np.load(folder / "predicted.npy")


def _pack() -> None:
    root, run = Path(tempfile.gettempdir()) / "balls", Path(tempfile.mkdtemp()) / "run"
    write_balls(root)
    train(config(), run, str(root))
    after = {name: a for name, a in parameters(run).items() if name.startswith("params.")}
    shutil.rmtree(run / "checkpoints" / "4")
    (target,) = predict([run], root / "imagesTr" / "ball_000.nii.gz", run.parent / "maps")
    with zipfile.ZipFile(FILE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(run.rglob("*")):
            where = path.relative_to(run.parent)
            if path.is_file() and "tensorboard" not in where.parts and path.suffix != ".png":
                packed.write(path, where)
        _write(packed, "after.npz", lambda file: np.savez(file, allow_pickle=False, **after))
        labels = np.asarray(load(target).dataobj)
        _write(packed, "predicted.npy", lambda file: np.save(file, labels))


def _write(packed: zipfile.ZipFile, name: str, save: Callable[[io.BytesIO], None]) -> None:
    content = io.BytesIO()
    save(content)
    packed.writestr(name, content.getvalue())


if __name__ == "__main__":
    _pack()
