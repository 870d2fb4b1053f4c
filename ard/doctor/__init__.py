"""Is this machine fit for training, and would this run go well?"""
