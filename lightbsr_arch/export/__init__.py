"""Networks for programs that do not have this package: ONNX and ``torch.export``. Needs the extra ``export`` for ONNX."""
