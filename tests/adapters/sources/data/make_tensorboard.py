"""Make TensorBoard logs, by TensorBoard's own writer and by tensorboardX. Run by a Python with both; see README.md."""

import shutil
import socket
import sys
import zipfile
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboardX import SummaryWriter

BASE = Path("/srv/tensorboard")
OUT = Path(sys.argv[1])
AT = 1_700_000_000.25


def main() -> None:
    socket.gethostname = lambda: "host"
    shutil.rmtree(BASE, ignore_errors=True)
    writer = EventFileWriter(str(BASE / "logs" / "train"))
    events = [
        (step, Summary(value=[Summary.Value(tag="loss", simple_value=1 / (step + 1))])) for step in range(5)
    ]
    events += [(step, Summary(value=[Summary.Value(tag="acc@1", simple_value=step)])) for step in range(5)]
    events += [(step, scalar_pb("as_tensor", float(step))) for step in range(3)]
    events += [(1, histogram_pb("weights", np.arange(10.0))), (1, text_pb("note", "hello"))]
    events += [(0, hparams_pb({"lr": 0.1, "layers": 3, "name": "adam", "flag": True}, trial_id="trial"))]
    for number, (step, summary) in enumerate(events):
        writer.add_event(Event(wall_time=AT + number, step=step, summary=summary))
    writer.flush()
    writer.close()
    other = SummaryWriter(str(BASE / "logs" / "other"))
    other.add_scalar("a/b", 1.5, 3, walltime=AT)
    other.add_scalar("nan", float("nan"), 3, walltime=AT)
    other.add_histogram("h", np.arange(5), 1)
    other.add_image("i", np.zeros((3, 4, 4)), 1)
    other.add_hparams({"p": 1, "q": "z"}, {"m": 2.0}, name="tried")
    other.close()
    with zipfile.ZipFile(OUT / "tensorboard.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((BASE / "logs").rglob("*")):
            archive.write(path, path.relative_to(BASE))


sys.exit(main())
