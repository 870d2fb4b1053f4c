"""A student from timm, distilled by RSLAD from a robust teacher; needs `pip install timm`."""

import importlib.util

import pytorch_lightning as pl

import ard

if importlib.util.find_spec("timm") is None:
    raise SystemExit("this example needs timm: pip install timm")
import timm

data, threat = ard.data.Digits(), ard.Linf(0.15)  # your own: any loaders of images in [0, 1]
teacher = ard.models.ResNet(num_classes=10, in_channels=1, width=16, blocks=[1, 1])  # your own: any robust nn.Module
student = timm.create_model("mobilenetv3_small_050", num_classes=10, in_chans=1)

for module in (
    ard.Distillation(student=teacher, objective="pgd_at", threat=threat),
    ard.Distillation(student=student, teacher=teacher, objective="rslad", threat=threat),
):
    pl.Trainer(max_epochs=5, logger=False).fit(module, datamodule=data)

ard.evaluate(student, data, threat=threat)
