"""LitServe: batches of what arrives within a millisecond, one worker."""

import os

import joblib
import litserve as ls
import numpy as np


class Model(ls.LitAPI):
    def setup(self, device):
        self.model = joblib.load(os.environ["MODEL"])

    def decode_request(self, request):
        return np.asarray(request["instances"][0])

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, rows):
        return self.model.predict_proba(rows)[:, 1]

    def unbatch(self, scores):
        return list(scores)

    def encode_response(self, score):
        return {"score": float(score)}


if __name__ == "__main__":
    api = Model(max_batch_size=64, batch_timeout=0.001)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        port=int(os.environ["PORT"]), host="127.0.0.1", log_level="warning", generate_client_file=False
    )
