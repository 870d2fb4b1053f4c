"""Training objectives, one file a method or family; import them by file: ard.objectives.rslad.RSLAD.

In their formulas S is the student, T the teacher, x an image, x' the attacked image, y its label. A network's name stands
for its logits, of which CE and KL take the softmax; KL(p ‖ q) sums over classes; a mean runs over the batch.
"""
