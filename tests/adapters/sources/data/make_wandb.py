"""Make offline runs of W&B: with some of everything, failed, and with a long record. See README.md."""

import os
import platform
import shutil
import sys
import zipfile
from pathlib import Path

os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_HOST": "host", "WANDB_USERNAME": "ana"}

import numpy as np
import wandb

BASE = Path("/srv/wandb")
OUT = Path(sys.argv[1])


def main() -> None:
    platform.platform = lambda *_, **__: "Linux"
    sys.executable = "/usr/bin/python"
    shutil.rmtree(BASE, ignore_errors=True)
    BASE.mkdir(parents=True)
    os.chdir(BASE)
    run = wandb.init(
        project="demo",
        entity="ana-team",
        id="abcd1234",
        name="brave",
        group="g1",
        job_type="train",
        notes="some notes",
        tags=["a", "b"],
        config={
            "lr": 0.1,
            "layers": [1, 2],
            "opt": {"name": "adam", "eps": 1e-8},
            "flag": True,
            "none": None,
        },
    )
    for step in range(20):
        run.log(
            {
                "loss": 1 / (step + 1),
                "val": {"acc": step / 20},
                "acc@1": float(step),
                "ok": True,
                "text": "hi",
            }
        )
    run.log({"nan": float("nan"), "inf": float("inf"), "hist": wandb.Histogram(np.arange(10))}, step=30)
    run.log({"image": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8))}, step=31)
    run.log({"table": wandb.Table(columns=["a"], data=[[1]])}, step=32)
    run.config.update({"late": 5})
    run.summary["best"] = 0.9
    run.summary["verdict"] = "good"
    Path("saved.txt").write_text("saved")
    run.save("saved.txt")
    run.finish()
    run = wandb.init(
        project="demo", id="failed01", name="fails", settings=wandb.Settings(x_disable_stats=True)
    )
    run.log({"loss": 1.0})
    run.finish(exit_code=1)
    long = wandb.init(project="demo", id="long0001", settings=wandb.Settings(x_disable_stats=True))
    long.log({"wide": "w" * 70_000, "x": 1.0})  # one record over several blocks
    long.log({"x": 2.0})
    long.finish()
    with zipfile.ZipFile(OUT / "wandb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((BASE / "wandb").rglob("*")):
            if path.is_file() and not path.is_symlink() and path.suffix != ".log":
                archive.write(path, path.relative_to(BASE))


sys.exit(main())
